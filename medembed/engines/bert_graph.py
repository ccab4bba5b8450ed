"""BERT as an OpenVINO graph, built from config.json and safetensors: no torch, no export step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from medembed.errors import BadWeightsError
from medembed.pooling import Pooling

Weights = Mapping[str, NDArray[np.float32]]
Node = Any  # openvino's nodes and outputs carry no useful static types

# below every real score also in bf16, and far from its overflow
MASKED = -1e9


class BertShape:
    """The numbers of a BERT's ``config.json`` that its graph needs.

    Args:
        config: ``config.json`` of a model whose ``model_type`` is ``"bert"``.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Read the numbers."""
        self.hidden = int(config["hidden_size"])
        self.heads = int(config["num_attention_heads"])
        self.layers = int(config["num_hidden_layers"])
        self.inner = int(config["intermediate_size"])
        self.vocabulary = int(config["vocab_size"])
        self.positions = int(config["max_position_embeddings"])
        self.types = int(config.get("type_vocab_size", 2))
        self.epsilon = float(config.get("layer_norm_eps", 1e-12))
        self.activation = str(config.get("hidden_act", "gelu"))

    def expected(self) -> dict[str, tuple[int, ...]]:
        """Every weight the graph uses, with its shape."""
        hidden, inner = self.hidden, self.inner
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.vocabulary, hidden),
            "embeddings.position_embeddings.weight": (self.positions, hidden),
            "embeddings.token_type_embeddings.weight": (self.types, hidden),
        }
        dense = {
            "attention.self.query": (hidden, hidden),
            "attention.self.key": (hidden, hidden),
            "attention.self.value": (hidden, hidden),
        }
        dense |= {
            "attention.output.dense": (hidden, hidden),
            "intermediate.dense": (inner, hidden),
            "output.dense": (hidden, inner),
        }
        norms = ["embeddings.LayerNorm"]
        for layer in range(self.layers):
            lead = f"encoder.layer.{layer}."
            for name, shape in dense.items():
                shapes |= {f"{lead}{name}.weight": shape, f"{lead}{name}.bias": shape[:1]}
            norms += [f"{lead}attention.output.LayerNorm", f"{lead}output.LayerNorm"]
        for norm in norms:
            shapes |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
        return shapes


def fitting(weights: Weights, shape: BertShape, source: str) -> Weights:
    """Weights under their plain names, checked against the configuration.

    Args:
        weights: Name → array, with or without the leading ``bert.`` of a task head's checkpoint.
        shape: What the configuration asks for.
        source: Named in errors.

    Returns:
        The weights the graph uses.

    Raises:
        BadWeightsError: A weight is missing or has another shape.
    """
    plain = {name.removeprefix("bert."): array for name, array in weights.items()}
    # names as TensorFlow's first BERT release wrote them
    plain = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): array
        for name, array in plain.items()
    }
    for name, wanted in shape.expected().items():
        if name not in plain:
            raise BadWeightsError(
                f"{source} lacks weight {name!r}, which its config.json calls for (shape {wanted}): weights and config do not belong together"
            )
        if plain[name].shape != wanted:
            raise BadWeightsError(
                f"{source}: weight {name!r} has shape {plain[name].shape}, but config.json calls for {wanted}: they do not belong together"
            )
    return plain


def build(weights: Weights, shape: BertShape, pooling: Pooling | None) -> ov.Model:
    """Build the graph.

    Inputs: ``ids`` int32 ``(n, tokens)`` and ``lengths`` int32 ``(n,)``. Output: pooled vectors ``(n, hidden)``, not
    normalised; or, with ``pooling=None``, the final states ``(n, tokens, hidden)``. float32 either way.

    Args:
        weights: From :func:`fitting`.
        shape: The model's numbers.
        pooling: ``"mean"``, ``"cls"``, or None for token states.

    Returns:
        The model, not yet compiled.
    """
    graph = _Graph(weights, shape)
    ids = op.parameter([-1, -1], np.int32, "ids")
    lengths = op.parameter([-1], np.int32, "lengths")
    real = graph.real_tokens(ids, lengths)
    states = graph.embeddings(ids)
    bias = graph.attention_bias(real)
    for layer in range(shape.layers):
        states = graph.block(states, bias, f"encoder.layer.{layer}.")
    out = states if pooling is None else graph.pooled(states, real, pooling)
    return ov.Model([out], [ids, lengths], "bert")


class _Graph:
    """Nodes of one BERT; each method adds a part and returns its output."""

    def __init__(self, weights: Weights, shape: BertShape) -> None:
        self.weights, self.shape = weights, shape

    def constant(self, array: Any) -> Node:
        return op.constant(np.ascontiguousarray(array))

    def axes(self, *axes: int) -> Node:
        return op.constant(np.array(axes, dtype=np.int64))

    def scalar(self, value: int) -> Node:
        return op.constant(np.int64(value))

    def width(self, ids: Node) -> Node:
        """Tokens per row, of the batch at hand."""
        return op.gather(op.shape_of(ids), self.scalar(1), self.scalar(0))

    def real_tokens(self, ids: Node, lengths: Node) -> Node:
        """1.0 where a token is real: (n, tokens)."""
        positions = op.range(
            op.constant(np.int32(0)), op.convert(self.width(ids), "i32"), op.constant(np.int32(1)), "i32"
        )
        return op.convert(op.less(op.unsqueeze(positions, self.axes(0)), op.unsqueeze(lengths, self.axes(1))), "f32")

    def attention_bias(self, real: Node) -> Node:
        """0 for real keys, a large negative number for padding: (n, 1, 1, tokens)."""
        return op.multiply(
            op.unsqueeze(op.subtract(op.constant(np.float32(1)), real), self.axes(1, 2)),
            op.constant(np.float32(MASKED)),
        )

    def embeddings(self, ids: Node) -> Node:
        """Word, position and type embeddings, normalised: (n, tokens, hidden)."""
        # every text is one segment, so the first type's row is part of each position's
        places = (
            self.weights["embeddings.position_embeddings.weight"]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        )
        positions = op.range(self.scalar(0), self.width(ids), self.scalar(1), "i64")
        words = op.gather(self.constant(self.weights["embeddings.word_embeddings.weight"]), ids, self.scalar(0))
        return self.norm(
            op.add(words, op.gather(self.constant(places), positions, self.scalar(0))), "embeddings.LayerNorm"
        )

    def dense(self, x: Node, name: str) -> Node:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return op.add(op.matmul(x, self.constant(weight), False, True), self.constant(bias))

    def norm(self, x: Node, name: str) -> Node:
        centred = op.mvn(x, self.axes(-1), True, self.shape.epsilon, "inside_sqrt")
        return op.add(
            op.multiply(centred, self.constant(self.weights[f"{name}.weight"])),
            self.constant(self.weights[f"{name}.bias"]),
        )

    def split_heads(self, x: Node) -> Node:
        """Give each head its own axis: (n, heads, tokens, hidden / heads)."""
        heads = [0, 0, self.shape.heads, self.shape.hidden // self.shape.heads]
        return op.transpose(op.reshape(x, op.constant(np.array(heads, dtype=np.int64)), True), self.axes(0, 2, 1, 3))

    def attention(self, x: Node, bias: Node, lead: str) -> Node:
        query, key, value = (
            self.split_heads(self.dense(x, f"{lead}attention.self.{part}")) for part in ("query", "key", "value")
        )
        mixed = op.transpose(op.scaled_dot_product_attention(query, key, value, bias), self.axes(0, 2, 1, 3))
        return op.reshape(mixed, op.constant(np.array([0, 0, self.shape.hidden], dtype=np.int64)), True)

    def activation(self, x: Node) -> Node:
        if self.shape.activation == "relu":
            return op.relu(x)
        return op.gelu(x, "erf" if self.shape.activation == "gelu" else "tanh")

    def block(self, x: Node, bias: Node, lead: str) -> Node:
        """One transformer layer, normalised after each half as BERT does."""
        attended = self.dense(self.attention(x, bias, lead), f"{lead}attention.output.dense")
        x = self.norm(op.add(attended, x), f"{lead}attention.output.LayerNorm")
        inner = self.activation(self.dense(x, f"{lead}intermediate.dense"))
        return self.norm(op.add(self.dense(inner, f"{lead}output.dense"), x), f"{lead}output.LayerNorm")

    def pooled(self, states: Node, real: Node, pooling: Pooling) -> Node:
        """One vector a text: (n, hidden)."""
        if pooling == "cls":
            return op.gather(states, self.scalar(0), self.scalar(1))
        weights = op.unsqueeze(real, self.axes(2))
        summed = op.reduce_sum(op.multiply(states, weights), self.axes(1))
        return op.divide(summed, op.reduce_sum(weights, self.axes(1)))
