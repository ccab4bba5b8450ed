"""BERT in torch over ragged rows: all tokens of a batch in one matrix, so that none is padding."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from medembed.engines.interface import TokenIds
from medembed.extras import require

Tensor = Any  # torch is optional, so its types are not imported here
Attention = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""(query, key, value: (tokens, heads, size); starts: (n + 1,) int32; longest) → (tokens, heads, size)"""


def varlen_attention() -> Attention | None:
    """Torch's variable-length flash attention for CUDA, or None where this torch has none."""
    try:
        varlen = require("torch.nn.attention.varlen")
    except ImportError:
        return None

    def attend(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int) -> Tensor:
        return varlen.varlen_attn(query, key, value, starts, starts, longest, longest)

    return attend


def row_by_row_attention(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int) -> Tensor:
    """The same by plain attention over one row after another: slow, exact, runs anywhere. The reference in tests."""
    del longest
    torch = require("torch")
    edges = starts.tolist()
    rows = []
    for start, end in itertools.pairwise(edges):
        q, k, v = (part[start:end].transpose(0, 1)[None] for part in (query, key, value))
        rows.append(torch.nn.functional.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1))
    return torch.cat(rows)


class RaggedBert:
    """A BERT whose batch is one long matrix of tokens, cut into rows only inside attention.

    Args:
        weights: Plain names → tensors, as in ``engines/bert_graph.py``'s list.
        config: ``config.json`` of a BERT.
        attention: How rows attend to themselves.
    """

    def __init__(self, weights: Mapping[str, Tensor], config: Mapping[str, Any], attention: Attention) -> None:
        """Join the query, key and value matrices of each layer, so that one product computes all three."""
        torch = require("torch")
        self._functional = torch.nn.functional
        self._heads, self._epsilon = int(config["num_attention_heads"]), float(config.get("layer_norm_eps", 1e-12))
        self._layers = int(config["num_hidden_layers"])
        self._attention = attention
        self._gelu = "none" if config.get("hidden_act", "gelu") == "gelu" else "tanh"
        self._relu = config.get("hidden_act") == "relu"
        self._weights = dict(weights)
        for layer in range(self._layers):
            lead = f"encoder.layer.{layer}.attention.self."
            for kind in ("weight", "bias"):
                parts = [self._weights.pop(f"{lead}{part}.{kind}") for part in ("query", "key", "value")]
                self._weights[f"{lead}joined.{kind}"] = torch.cat(parts)

    def __call__(self, ids: TokenIds) -> tuple[Tensor, list[int]]:
        """Run a batch.

        Args:
            ids: Rows of token ids.

        Returns:
            Final states of all tokens, *Shape:* ``(tokens, hidden)``, and the length of each row.
        """
        torch = require("torch")
        device = self._weights["embeddings.word_embeddings.weight"].device
        lengths = [len(row) for row in ids]
        flat = torch.tensor([token for row in ids for token in row], device=device)
        positions = torch.tensor([place for length in lengths for place in range(length)], device=device)
        starts = torch.tensor([0, *lengths], device=device).cumsum(0).to(torch.int32)
        states = self._embedded(flat, positions)
        for layer in range(self._layers):
            states = self._block(states, starts, max(lengths), f"encoder.layer.{layer}.")
        return states, lengths

    def _embedded(self, flat: Tensor, positions: Tensor) -> Tensor:
        words, places, types = (
            self._weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
        )
        return self._norm(words[flat] + places[positions] + types[0], "embeddings.LayerNorm")

    def _dense(self, x: Tensor, name: str) -> Tensor:
        return self._functional.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return self._functional.layer_norm(x, x.shape[-1:], weight, bias, self._epsilon)

    def _block(self, x: Tensor, starts: Tensor, longest: int, lead: str) -> Tensor:
        joined = self._dense(x, f"{lead}attention.self.joined").view(len(x), 3, self._heads, -1)
        mixed = self._attention(joined[:, 0], joined[:, 1], joined[:, 2], starts, longest).reshape(len(x), -1)
        x = self._norm(self._dense(mixed, f"{lead}attention.output.dense") + x, f"{lead}attention.output.LayerNorm")
        inner = self._dense(x, f"{lead}intermediate.dense")
        inner = self._functional.relu(inner) if self._relu else self._functional.gelu(inner, approximate=self._gelu)
        return self._norm(self._dense(inner, f"{lead}output.dense") + x, f"{lead}output.LayerNorm")
