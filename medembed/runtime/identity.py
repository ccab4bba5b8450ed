"""Fingerprints of vectors: equal where vectors may be compared, different where they may not."""

import hashlib
import json
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints.registry import ModelSpec

# raised when the same facts begin to give another fingerprint; every stamp in a store is then refused
VERSION = 1
# engines that run a checkpoint's own weights; any other is part of what the vectors are
FAITHFUL_ENGINES = ("openvino", "kernels", "torch")


class Comparable(Protocol):
    """What decides the float vectors of a model."""

    @property
    def spec(self) -> ModelSpec:
        """Its pooling, prompts and normalization."""

    @property
    def files_hash(self) -> str:
        """Hash of its weights, tokenizer and configuration."""

    @property
    def engine_name(self) -> str:
        """Name of the engine. One that runs other weights than the folder's makes other vectors."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    def max_seq_length(self) -> int:
        """Tokens read of each text."""

    @property
    def overlong(self) -> str:
        """The treatment of longer texts."""


def fingerprint(model: Comparable, directions: NDArray[np.float32] | None) -> str:
    """Short stable hash of what decides a model's float vectors.

    Args:
        model: The model.
        directions: What shorter vectors are made with; None for whole vectors and for first components. *Shape:* ``(n, n)``.

    Returns:
        Sixteen hexadecimal digits.
    """
    spec, engine = model.spec, model.engine_name
    return _short(
        {
            "version": VERSION,
            "weights": model.files_hash,
            "engine": None if engine in FAITHFUL_ENGINES else engine,
            "pooling": spec.pooling,
            "normalized": spec.normalized,
            "prompts": dict(spec.prompts),
            "default_prompt": spec.default_prompt,
            "dimension": model.dimension,
            "max_seq_length": model.max_seq_length,
            "overlong": model.overlong,
            "directions": None if directions is None else hashlib.sha256(directions.tobytes()).hexdigest(),
        }
    )


def of_kind(floats: str, kind: str, ranges: NDArray[np.float32] | None) -> str:
    """Fingerprint of quantized vectors.

    Args:
        floats: Fingerprint of the float vectors that they are made of.
        kind: A :data:`medembed.vectors.VectorKind`; half precision compares with float32, so it has the same fingerprint.
        ranges: The ranges of int8 and uint8. *Shape:* ``(2, dimension)``.

    Returns:
        Sixteen hexadecimal digits.
    """
    if kind in ("float32", "float16"):
        return floats
    told = None if ranges is None else hashlib.sha256(np.asarray(ranges, dtype=np.float32).tobytes()).hexdigest()
    return _short({"floats": floats, "kind": kind, "ranges": told})


def _short(facts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
