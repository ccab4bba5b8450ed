"""BERT as an OpenVINO graph, built from config.json and safetensors: no torch, no export step."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints.registry import Pooling
from medembed.checkpoints.tensors import SCALE
from medembed.runtime.engines.bert_shape import WORDS, BertShape, Weights
from medembed.runtime.engines.silent_openvino import op, ov

Node = Any  # openvino's nodes and outputs carry no useful static types

# below every real score also in bf16, and far from its overflow
MASKED = -1e9


def build(
    weights: Weights, shape: BertShape, pooling: Pooling | None, *, int8_group: int = 0, bare: bool = False
) -> ov.Model:
    """Build the graph.

    Inputs: ``ids`` int32 ``(n, tokens)`` and ``lengths`` int32 ``(n,)``. Output: pooled vectors ``(n, hidden)``, not
    normalized; or, with ``pooling=None``, the final states ``(n, tokens, hidden)``. float32 either way.

    Args:
        weights: From ``bert_shape.fitting``.
        shape: The model's numbers.
        pooling: ``"mean"``, ``"cls"``, or None for token states.
        int8_group: Store the layers' matrices as int8 with one scale per this many inputs; 0 for float.
        bare: The weights are from ``with_scaled_queries``, and no product may take up what follows it. OpenVINO packs the matrix
            of a bare float32 product once; that of a product with an activation once more for each kind of batch.

    Returns:
        The model, not yet compiled.
    """
    graph = _Graph(weights, shape, int8_group, bare)
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
    """Nodes of one BERT. Each method adds a part and returns its output."""

    def __init__(self, weights: Weights, shape: BertShape, int8_group: int, bare: bool) -> None:
        self.weights, self.shape, self.int8_group, self.bare = weights, shape, int8_group, bare

    def constant(self, array: Any) -> Node:
        # shared: the graph reads the array where it lies and keeps it alive, instead of copying all weights once more
        return op.constant(np.ascontiguousarray(array), shared_memory=True)

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
        """Word, position and type embeddings, normalized: (n, tokens, hidden)."""
        # every text is one segment, so the first type's row is part of each position's
        places = (
            self.weights["embeddings.position_embeddings.weight"]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        )
        positions = op.range(self.scalar(0), self.width(ids), self.scalar(1), "i64")
        places_here = op.gather(self.constant(places), positions, self.scalar(0))
        return self.norm(op.add(self.words(ids), places_here), "embeddings.LayerNorm")

    def words(self, ids: Node) -> Node:
        """Word embeddings: (n, tokens, hidden). Of a compact table only the rows at hand are restored."""
        table, scale = self.weights[WORDS], self.weights.get(WORDS + SCALE)
        rows = op.gather(self.constant(table), ids, self.scalar(0))
        if scale is None:
            return rows
        scales = op.convert(op.gather(self.constant(scale), ids, self.scalar(0)), "f32")
        groups = [0, 0, scale.shape[1], table.shape[1] // scale.shape[1]]
        levels = op.reshape(op.convert(rows, "f32"), op.constant(np.array(groups, dtype=np.int64)), True)
        restored = op.multiply(levels, op.unsqueeze(scales, self.axes(3)))
        return op.reshape(restored, op.constant(np.array([0, 0, table.shape[1]], dtype=np.int64)), True)

    def dense(self, x: Node, name: str) -> Node:
        weight = self.weights[f"{name}.weight"]
        stored = self.int8(weight) if self.int8_group else self.constant(weight)
        return op.add(op.matmul(x, stored, False, True), self.constant(self.weights[f"{name}.bias"]))

    def int8(self, weight: NDArray[np.float32]) -> Node:
        """A matrix as int8 times scales, in the form OpenVINO multiplies with int8 instructions: (outputs, inputs)."""
        groups = weight.reshape(len(weight), -1, self.int8_group)
        scale = np.maximum(np.abs(groups).max(axis=2, keepdims=True), 1e-12).astype(np.float32) / np.float32(127)
        levels = np.rint(groups / scale).astype(np.int8)
        restored = op.multiply(op.convert(self.constant(levels), "f32"), self.constant(scale))
        return op.reshape(restored, op.constant(np.array(weight.shape, dtype=np.int64)), False)

    def norm(self, x: Node, name: str) -> Node:
        centered = op.mvn(x, self.axes(-1), True, self.shape.epsilon, "inside_sqrt")
        return op.add(
            op.multiply(centered, self.constant(self.weights[f"{name}.weight"])),
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
        scale = [op.constant(np.float32(1))] if self.bare else []
        attended = op.scaled_dot_product_attention(query, key, value, bias, *scale)
        mixed = op.transpose(attended, self.axes(0, 2, 1, 3))
        return op.reshape(mixed, op.constant(np.array([0, 0, self.shape.hidden], dtype=np.int64)), True)

    def activation(self, x: Node) -> Node:
        if self.shape.activation == "relu":
            return op.relu(x)
        if self.bare and self.shape.activation == "gelu":
            # a form that OpenVINO does not recognise and so does not draw into the product before it
            share = op.erf(op.multiply(x, op.constant(np.float32(0.5**0.5))))
            return op.multiply(op.add(op.multiply(x, share), x), op.constant(np.float32(0.5)))
        return op.gelu(x, "erf" if self.shape.activation == "gelu" else "tanh")

    def block(self, x: Node, bias: Node, lead: str) -> Node:
        """One transformer layer, normalized after each half as BERT does."""
        attended = self.dense(self.attention(x, bias, lead), f"{lead}attention.output.dense")
        x = self.norm(op.add(attended, x), f"{lead}attention.output.LayerNorm")
        inner = self.activation(self.dense(x, f"{lead}intermediate.dense"))
        return self.norm(op.add(self.dense(inner, f"{lead}output.dense"), x), f"{lead}output.LayerNorm")

    def pooled(self, states: Node, real: Node, pooling: Pooling) -> Node:
        """One vector per text: (n, hidden)."""
        if pooling == "cls":
            return op.gather(states, self.scalar(0), self.scalar(1))
        weights = op.unsqueeze(real, self.axes(2))
        summed = op.reduce_sum(op.multiply(states, weights), self.axes(1))
        return op.divide(summed, op.reduce_sum(weights, self.axes(1)))
