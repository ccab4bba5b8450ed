"""BERT in torch over ragged rows: all tokens of a batch in one matrix, so that none is padding."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from medembed.extras import require
from medembed.runtime.engines.interface import TokenIds

Tensor = Any  # torch is optional, so its types are not imported here
Attention = Callable[[Tensor, Tensor, Tensor, "Rows", "Rows"], Tensor]
"""(query: (tokens, heads, size); key, value: (seen, heads, size); rows of queries; rows of keys) → (tokens, heads, size)"""


class Rows(NamedTuple):
    """The places of rows in a long matrix.

    ``starts`` is (n + 1,) int32. ``longest`` counts the tokens of the longest row.
    """

    starts: Tensor
    longest: int


def varlen_attention() -> Attention | None:
    """Torch's variable-length flash attention for CUDA, or None where this torch has none."""
    try:
        varlen = require("torch.nn.attention.varlen")
    except ImportError:
        return None

    def attend(query: Tensor, key: Tensor, value: Tensor, asking: Rows, seen: Rows) -> Tensor:
        return varlen.varlen_attn(query, key, value, asking.starts, seen.starts, asking.longest, seen.longest)

    return attend


def row_by_row_attention(query: Tensor, key: Tensor, value: Tensor, asking: Rows, seen: Rows) -> Tensor:
    """The same by plain attention over one row after another: slow, exact, runs anywhere. The reference in tests."""
    torch = require("torch")
    places, others = (list(itertools.pairwise(rows.starts.tolist())) for rows in (asking, seen))
    rows = []
    for (start, end), (first, last) in zip(places, others, strict=True):
        q = query[start:end].transpose(0, 1)[None]
        k, v = (part[first:last].transpose(0, 1)[None] for part in (key, value))
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

    def __call__(self, ids: TokenIds, attended: Sequence[int] | None = None) -> tuple[Tensor, list[int]]:
        """Run a batch.

        Args:
            ids: Rows of token ids.
            attended: How many of each row's first tokens are attended to; None for all.

        Returns:
            Final states of all tokens, *Shape:* ``(tokens, hidden)``, and the length of each row.
        """
        torch = require("torch")
        device = self._weights["embeddings.word_embeddings.weight"].device
        lengths = [len(row) for row in ids]
        flat = torch.tensor([token for row in ids for token in row], device=device)
        positions = torch.tensor([place for length in lengths for place in range(length)], device=device)
        asking, keys, seen = _rows(lengths, device), None, _rows(attended or lengths, device)
        if attended is not None and list(attended) != lengths:
            keys = torch.tensor(
                [place < first for length, first in zip(lengths, attended, strict=True) for place in range(length)],
                device=device,
            )
        states = self._embedded(flat, positions)
        for layer in range(self._layers):
            states = self._block(states, keys, asking, seen, f"encoder.layer.{layer}.")
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

    def _block(self, x: Tensor, keys: Tensor | None, asking: Rows, seen: Rows, lead: str) -> Tensor:
        joined = self._dense(x, f"{lead}attention.self.joined").view(len(x), 3, self._heads, -1)
        others = joined if keys is None else joined[keys]  # what is attended to
        mixed = self._attention(joined[:, 0], others[:, 1], others[:, 2], asking, seen).reshape(len(x), -1)
        x = self._norm(self._dense(mixed, f"{lead}attention.output.dense") + x, f"{lead}attention.output.LayerNorm")
        inner = self._dense(x, f"{lead}intermediate.dense")
        inner = self._functional.relu(inner) if self._relu else self._functional.gelu(inner, approximate=self._gelu)
        return self._norm(self._dense(inner, f"{lead}output.dense") + x, f"{lead}output.LayerNorm")


def _rows(lengths: Sequence[int], device: Any) -> Rows:
    torch = require("torch")
    return Rows(torch.tensor([0, *lengths], device=device).cumsum(0).to(torch.int32), max(lengths))
