"""Vectors after the model: cut dimensions, quantize to int8, uint8 or bits and back, compare. Pure numpy.

Quantization ranges belong to the *model*, never to the batch at hand: one vector alone quantizes exactly as it would
among a million (compare sentence-transformers#2837, where one vector quantized to zeros).
"""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medembed.errors import VectorError
from medembed.per_process import computing

VectorKind = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]
"""How a vector is stored: as computed, in half precision, one byte per dimension, or one bit per dimension (packed;
signed or unsigned)."""

Floats = NDArray[np.float32]
# below this width a dimension carries nothing a byte could keep
NARROWEST = 1e-4
LEVELS = 255  # steps between the lowest and the highest of 256 values
# bytes of bits compared at once in `similarity`: 4 MiB stays within a core's cache slices and keeps memory flat
BIT_BLOCK_BYTES = 4 << 20


def as_floats(vectors: Any) -> Floats:
    """Check that vectors are finite floats: the rule of every function here that takes vectors.

    Args:
        vectors: An array, or what numpy makes one of. *Shape:* ``(dim,)`` or ``(n, dim)``.

    Returns:
        The same as float32; the array itself where it is that already.

    Raises:
        VectorError: Integers, which are quantized vectors, or bits; NaN or infinity; another shape.

    Example:
        >>> as_floats(np.array([0.5, 0.25], dtype=np.float16))
        array([0.5 , 0.25], dtype=float32)
    """
    try:
        array = np.asarray(vectors)
    except ValueError:
        # numpy's own message may quote what it was given
        raise VectorError("vectors of different lengths were given: encode all with one model") from None
    if array.dtype.kind != "f":
        raise VectorError(
            f"vectors have dtype {array.dtype}, but floats are needed: turn quantized ones back with medembed.vectors.to_float(...), "
            "or compare them as they are with medembed.vectors.similarity(..., kind='int8')"
        )
    if array.ndim not in (1, 2):
        raise VectorError(f"vectors have shape {array.shape}, but (dim,) or (n, dim) is needed")
    _check_finite(array)
    return np.asarray(array, dtype=np.float32)


def _check_finite(array: NDArray[Any]) -> None:
    # A sum is NaN or infinite when any term is, and needs no mask of the array's size; one that overflows is looked at again.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(array.sum(dtype=np.float32))
    if not finite and not np.isfinite(array).all():
        rows: NDArray[np.bool_] = np.any(np.atleast_2d(~np.isfinite(array)), axis=-1)
        raise VectorError(
            f"{int(rows.sum())} of {len(rows)} vectors hold NaN or infinity, first vector {int(rows.argmax())}: leave them out, or "
            "encode their texts again"
        )


def normalize(vectors: Floats) -> Floats:
    """Scale each vector to unit length. A zero vector stays zero.

    Args:
        vectors: *Shape:* ``(dim,)`` or ``(n, dim)``.

    Returns:
        float32 of the same shape.

    Raises:
        VectorError: Not finite floats.
    """
    vectors = as_floats(vectors)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def cut(vectors: Floats, dimension: int) -> Floats:
    """Keep the first ``dimension`` components and scale back to unit length (Matryoshka truncation).

    Args:
        vectors: *Shape:* ``(dim,)`` or ``(n, dim)``.
        dimension: Components to keep, from 1 to ``dim``.

    Returns:
        float32, *Shape:* ``(dimension,)`` or ``(n, dimension)``.

    Raises:
        VectorError: ``dimension`` is below 1 or above what there is, or not finite floats.

    Example:
        >>> cut(np.array([3.0, 4.0, 12.0], dtype=np.float32), 2)
        array([0.6, 0.8], dtype=float32)
    """
    vectors = as_floats(vectors)
    if not 1 <= dimension <= vectors.shape[-1]:
        raise VectorError(
            f"cannot cut to {dimension} dimensions: the vectors have {vectors.shape[-1]}; choose 1 to that"
        )
    return normalize(vectors[..., :dimension])


def calibrate(vectors: Floats, *, tail: float = 0.0) -> Floats:
    """Ranges for ``to_int8`` and ``to_uint8`` from a sample of a model's vectors.

    Args:
        vectors: At least 100 vectors of real texts. *Shape:* ``(n, dim)``.
        tail: Share of values left outside at each end, where they are clipped. 255 steps are fine enough that clipping
            costs more than it gains, unless a sample has wild outliers.

    Returns:
        Lowest and highest value per dimension. *Shape:* ``(2, dim)``, float32.

    Raises:
        VectorError: Fewer than 100 vectors, vectors that are nearly all the same, or not finite floats.
    """
    vectors = as_floats(vectors)
    if vectors.ndim != 2 or len(vectors) < 100:
        raise VectorError(f"calibration got vectors of shape {vectors.shape}; it needs (n, dim) with n at least 100")
    ranges = np.quantile(vectors, [tail, 1.0 - tail], axis=0).astype(np.float32)
    dead = ranges[1] - ranges[0] < NARROWEST
    if dead.mean() > 0.5:
        raise VectorError(
            f"{dead.sum()} of {dead.size} dimensions hardly vary in these {len(vectors)} vectors: calibrate on more varied texts"
        )
    # a trained model may have a few dimensions that never move (MiniLM has three); they still need a width to divide by
    ranges += np.where(dead, NARROWEST, 0) * np.array([[-1], [1]], dtype=np.float32)
    return ranges


def to_uint8(vectors: Floats, ranges: Floats) -> NDArray[np.uint8]:
    """Quantize to one byte per dimension: ``round((v - low) / (high - low) · 255)``, clipped to 0…255.

    Args:
        vectors: *Shape:* ``(dim,)`` or ``(n, dim)``.
        ranges: The model's ranges. *Shape:* ``(2, dim)``.

    Returns:
        uint8 of the same shape.

    Raises:
        VectorError: ``ranges`` do not fit the vectors, or not finite floats.
    """
    vectors = as_floats(vectors)
    low, high = _checked_ranges(vectors.shape[-1], ranges)
    levels = np.rint((vectors - low) / (high - low) * LEVELS)
    return np.asarray(np.clip(levels, 0, LEVELS), dtype=np.uint8)


def to_int8(vectors: Floats, ranges: Floats) -> NDArray[np.int8]:
    """Quantize to one signed byte per dimension: ``to_uint8`` shifted by 128.

    Args:
        vectors: *Shape:* ``(dim,)`` or ``(n, dim)``.
        ranges: The model's ranges. *Shape:* ``(2, dim)``.

    Returns:
        int8 of the same shape.

    Raises:
        VectorError: ``ranges`` do not fit the vectors.

    Example:
        >>> to_int8(np.array([-1.0, 0.0, 1.0], dtype=np.float32), np.array([[-1, -1, -1], [1, 1, 1]], dtype=np.float32))
        array([-128,    0,  127], dtype=int8)
    """
    return (to_uint8(vectors, ranges) ^ np.uint8(128)).view(np.int8)


def to_ubinary(vectors: Floats) -> NDArray[np.uint8]:
    """Keep one bit per dimension (1 where positive), eight to a byte, first dimension in the highest bit.

    Args:
        vectors: ``dim`` a multiple of 8. *Shape:* ``(dim,)`` or ``(n, dim)``.

    Returns:
        uint8, *Shape:* ``(dim / 8,)`` or ``(n, dim / 8)``.

    Raises:
        VectorError: ``dim`` is not a multiple of 8, or not finite floats.
    """
    vectors = as_floats(vectors)
    if vectors.shape[-1] % 8:
        raise VectorError(
            f"binary vectors need a dimension that is a multiple of 8, not {vectors.shape[-1]}: cut them first"
        )
    return np.packbits(vectors > 0, axis=-1)


def to_binary(vectors: Floats) -> NDArray[np.int8]:
    """``to_ubinary`` shifted into the signed byte that some vector stores ask for.

    Args:
        vectors: ``dim`` a multiple of 8. *Shape:* ``(dim,)`` or ``(n, dim)``.

    Returns:
        int8, *Shape:* ``(dim / 8,)`` or ``(n, dim / 8)``.

    Raises:
        VectorError: ``dim`` is not a multiple of 8.
    """
    return (to_ubinary(vectors) ^ np.uint8(128)).view(np.int8)


def quantize(vectors: Floats, kind: VectorKind, ranges: Floats | None = None) -> NDArray[Any]:
    """Store float vectors as ``kind``.

    Args:
        vectors: *Shape:* ``(dim,)`` or ``(n, dim)``.
        kind: One of ``VectorKind``.
        ranges: The model's ranges, needed for int8 and uint8. *Shape:* ``(2, dim)``.

    Returns:
        Array of the kind's dtype; binary kinds have ``dim / 8`` columns.

    Raises:
        VectorError: Unknown kind, missing or unfitting ranges, or not finite floats.
    """
    vectors = as_floats(vectors)
    if _checked_kind(kind) in ("int8", "uint8"):
        known = _needed_ranges(kind, ranges)
        return to_int8(vectors, known) if kind == "int8" else to_uint8(vectors, known)
    if kind in ("float32", "float16"):
        return _half(vectors) if kind == "float16" else vectors
    return to_binary(vectors) if kind == "binary" else to_ubinary(vectors)


def _half(vectors: Floats) -> NDArray[np.float16]:
    largest = float(np.finfo(np.float16).max)
    if vectors.size and np.abs(vectors).max() > largest:
        raise VectorError(
            f"float16 holds values up to {largest:.0f}, and these vectors have larger ones: store them as float32"
        )
    return vectors.astype(np.float16)


def to_float(stored: NDArray[Any], kind: VectorKind, ranges: Floats | None = None) -> Floats:
    """Convert a stored kind back to float32.

    Each value becomes the middle of its step. Bits become ±1/√dim.

    Args:
        stored: What ``quantize`` returned. *Shape:* ``(columns,)`` or ``(n, columns)``.
        kind: The kind it was stored as.
        ranges: The ranges it was quantized with, for int8 and uint8. *Shape:* ``(2, dim)``.

    Returns:
        float32, *Shape:* ``(dim,)`` or ``(n, dim)``.

    Raises:
        VectorError: Unknown kind, wrong dtype, values that are not finite, missing or unfitting ranges.
    """
    _check_stored(stored, kind)
    if kind in ("float32", "float16"):
        return np.asarray(stored, dtype=np.float32)
    if kind in ("int8", "uint8"):
        levels = _unsigned(stored).astype(np.float32)
        low, high = _checked_ranges(stored.shape[-1], _needed_ranges(kind, ranges))
        return np.asarray(low + levels * ((high - low) / LEVELS), dtype=np.float32)
    signs = np.unpackbits(_unsigned(stored), axis=-1).astype(np.float32) * 2 - 1
    return np.asarray(signs / np.sqrt(np.float32(signs.shape[-1])), dtype=np.float32)


def similarity(a: NDArray[Any], b: NDArray[Any], kind: VectorKind = "float32", ranges: Floats | None = None) -> Floats:
    """Compare every vector of ``a`` with every vector of ``b``.

    float32 and float16: the dot product, which is the cosine for unit vectors. int8 and uint8: the cosine of the values they stand
    for. Bits: ``1 − 2 · hamming / dim``, the cosine of the ±1 vectors.

    Args:
        a: *Shape:* ``(columns,)`` or ``(n, columns)``.
        b: *Shape:* ``(columns,)`` or ``(m, columns)``.
        kind: How both are stored.
        ranges: The ranges both were quantized with, for int8 and uint8. *Shape:* ``(2, dim)``.

    Returns:
        *Shape:* ``(n, m)``, float32. Higher is more alike.

    Raises:
        VectorError: Unknown kind, wrong dtype, values that are not finite, or shapes or ranges that do not fit.

    Example:
        >>> bits = to_ubinary(np.array([[1, -1] * 4, [1, 1] * 4], dtype=np.float32))
        >>> similarity(bits, bits, "ubinary")
        array([[1., 0.],
               [0., 1.]], dtype=float32)
    """
    _check_stored(a, kind)
    _check_stored(b, kind)
    left, right = np.atleast_2d(a), np.atleast_2d(b)
    _check_columns(left, right)
    if kind in ("binary", "ubinary"):
        return _bit_similarity(_unsigned(left), _unsigned(right))
    if kind in ("float32", "float16"):
        left, right = np.asarray(left, dtype=np.float32), np.asarray(right, dtype=np.float32)
    else:
        left, right = normalize(to_float(left, kind, ranges)), normalize(to_float(right, kind, ranges))
    with computing():
        return np.asarray(left @ right.T, dtype=np.float32)


def similarity_pairwise(a: Floats, b: Floats) -> Floats:
    """Compare each vector of ``a`` with the one at the same place of ``b``: the dot product, the cosine for unit vectors.

    Args:
        a: *Shape:* ``(dim,)`` or ``(n, dim)``.
        b: The same shape.

    Returns:
        *Shape:* ``(n,)``, float32. Higher is more alike.

    Raises:
        VectorError: Shapes that differ, or not finite floats.

    Example:
        >>> east, north = np.array([1, 0], dtype=np.float32), np.array([0, 1], dtype=np.float32)
        >>> similarity_pairwise(np.stack([east, north]), np.stack([east, east]))
        array([1., 0.], dtype=float32)
    """
    left, right = np.atleast_2d(as_floats(a)), np.atleast_2d(as_floats(b))
    _check_columns(left, right)
    if len(left) != len(right):
        raise VectorError(f"{len(left)} and {len(right)} vectors cannot be compared pair by pair: give as many of each")
    return np.asarray(np.einsum("ij,ij->i", left, right), dtype=np.float32)


def _check_columns(left: NDArray[Any], right: NDArray[Any]) -> None:
    if left.shape[-1] != right.shape[-1]:
        raise VectorError(
            f"vectors of {left.shape[-1]} and {right.shape[-1]} columns cannot be compared: encode both with one model"
        )


def _bit_similarity(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> Floats:
    out = np.empty((len(left), len(right)), dtype=np.float32)
    rows = max(1, BIT_BLOCK_BYTES // max(1, right.size))
    for start in range(0, len(left), rows):
        differing = left[start : start + rows, None, :] ^ right[None, :, :]
        out[start : start + rows] = np.bitwise_count(differing).sum(axis=-1, dtype=np.int32)
    return np.asarray(1 - out * (2 / (8 * left.shape[-1])), dtype=np.float32)


def _unsigned(stored: NDArray[Any]) -> NDArray[np.uint8]:
    return stored.view(np.uint8) ^ np.uint8(128) if stored.dtype == np.int8 else stored


def _checked_kind(kind: VectorKind) -> VectorKind:
    if kind not in get_args(VectorKind):
        raise VectorError(f"unknown vector kind {kind!r}; choose one of {', '.join(get_args(VectorKind))}")
    return kind


def _check_stored(stored: NDArray[Any], kind: VectorKind) -> None:
    bits = {"binary": "int8", "ubinary": "uint8"}
    wanted = bits.get(_checked_kind(kind), kind)
    if stored.dtype != wanted:
        raise VectorError(
            f"{kind} vectors have dtype {wanted}, but these have {stored.dtype}: pass the kind they were stored as"
        )
    if stored.ndim not in (1, 2):
        raise VectorError(f"vectors have shape {stored.shape}, but (columns,) or (n, columns) is needed")
    if wanted in ("float32", "float16"):
        _check_finite(stored)


def _needed_ranges(kind: VectorKind, ranges: Floats | None) -> Floats:
    if ranges is None:
        raise VectorError(
            f"{kind} vectors need the model's ranges: pass model.vector_ranges, or calibrate(sample_vectors)"
        )
    return ranges


def _checked_ranges(dimension: int, ranges: Floats) -> tuple[Floats, Floats]:
    if ranges.shape != (2, dimension):
        raise VectorError(
            f"ranges have shape {ranges.shape}, but these vectors need (2, {dimension}): take the ranges of the same model and cut"
        )
    low, high = as_floats(ranges)
    if not (low < high).all():
        raise VectorError(
            "ranges need a low value below the high one in every dimension: make them with calibrate(vectors)"
        )
    return low, high
