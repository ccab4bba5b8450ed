"""The numbers and weights of a BERT: what its config.json calls for, and whether its weights fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed import border
from medembed.checkpoints import tensors
from medembed.errors import BadWeightsError, CorruptFileError

Weights = Mapping[str, NDArray[Any]]
"""float32 arrays by plain name. A compact table is int8 there, beside its scale."""
WORDS = "embeddings.word_embeddings.weight"

# The largest numbers of any BERT, with room to spare; what is below is held against the shapes of the weights before use.
MOST = {
    "hidden_size": 1 << 16, "num_attention_heads": 1024, "num_hidden_layers": 1024, "intermediate_size": 1 << 18,
    "vocab_size": 1 << 22, "max_position_embeddings": 1 << 24, "type_vocab_size": 1024,
}  # fmt: skip


class BertShape:
    """The numbers of a BERT's ``config.json`` that its graph needs.

    Args:
        config: ``config.json`` of a model whose ``model_type`` is ``"bert"``.

    Raises:
        CorruptFileError: A number is missing, is none or is beyond all bounds.
        BadWeightsError: The hidden size cannot be cut into that many heads.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Read the numbers."""
        self.hidden = _number(config, "hidden_size")
        self.heads = _number(config, "num_attention_heads")
        self.layers = _number(config, "num_hidden_layers")
        self.inner = _number(config, "intermediate_size")
        self.vocabulary = _number(config, "vocab_size")
        self.positions = _number(config, "max_position_embeddings")
        self.types = _number(config, "type_vocab_size", 2)
        self.epsilon = _small(config, "layer_norm_eps", 1e-12)
        self.activation = str(config.get("hidden_act", "gelu"))
        if self.hidden % self.heads:
            raise BadWeightsError(
                f"config.json asks for {self.heads} heads of a hidden size of {self.hidden}, which do not divide: it is damaged"
            )

    def expected(self) -> dict[str, tuple[int, ...]]:
        """Every weight the graph uses, with its shape."""
        hidden, inner = self.hidden, self.inner
        shapes: dict[str, tuple[int, ...]] = {
            WORDS: (self.vocabulary, hidden),
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


def is_plain(config: Mapping[str, Any]) -> bool:
    """Tell whether a ``config.json`` is of a BERT that encodes, with absolute positions."""
    return (
        config.get("model_type") == "bert"
        # null is transformers' word for its default
        and config.get("position_embedding_type") in (None, "absolute")
        and not config.get("is_decoder", False)
    )


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
    # names as TensorFlow's first BERT release wrote them
    plain = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): array
        for name, array in tensors.plain(weights).items()
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


def with_scaled_queries(weights: Weights, shape: BertShape) -> Weights:
    """Weights whose queries come divided by the root of a head's width, as attention wants them.

    Args:
        weights: From ``fitting``.
        shape: The model's numbers.

    Returns:
        The same arrays but for those of the queries.
    """
    scale = np.float32((shape.hidden // shape.heads) ** -0.5)
    queries = [f"encoder.layer.{layer}.attention.self.query" for layer in range(shape.layers)]
    return {
        **weights,
        **{f"{name}.{part}": weights[f"{name}.{part}"] * scale for name in queries for part in ("weight", "bias")},
    }


def _number(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    most = MOST[key]
    value = config.get(key, default)
    return border.whole_number(value, named=f"{key} of config.json", least=1, most=most, error=CorruptFileError)


def _small(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise CorruptFileError(f"config.json: {key} is not a number from 0 to 1: download the model again")
    return float(value)
