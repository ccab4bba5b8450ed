"""Scores of queries against a block of stored vectors: the inner loop of search."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed import hardware, vectors
from medembed.corpus.layout import Stored
from medembed.errors import VectorError
from medembed.extras import require

Floats = NDArray[np.float32]

# rows a thread takes at a time: at most so many, and few enough that every core has its turn within one block; below the
# least, handing a piece over (70 µs) costs more than comparing it
MOST, LEAST = 16_384, 2_048
# from so many queries on, turning bytes to floats for a matrix product is faster than comparing bytes query by query
MATRIX_QUERIES = 16


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(hardware.usable_cores(), thread_name_prefix="medembed-search")


def scorer(kind: Stored, queries: Floats, ranges: Floats | None) -> Callable[[NDArray[Any]], Floats]:
    """A function from a block of stored vectors to scores.

    Floats are scored exactly. int8 is scored with the query rounded to eight bits too, binary by the bits that differ: both
    order well enough to choose candidates, whose scores are then worked out in floats.

    Args:
        kind: How the vectors are stored.
        queries: *Shape:* ``(n, dimension)``.
        ranges: The corpus's ranges, for int8. *Shape:* ``(2, dimension)``.

    Returns:
        Takes *Shape:* ``(rows, columns)``, gives ``(n, rows)`` float32; higher is more alike.
    """
    if kind == "binary":
        bits = vectors.to_binary(queries)
        return lambda block: _in_pieces(block, lambda piece: _bit_scores(bits, piece))
    if kind != "int8":
        return lambda block: _float_scores(queries, block)
    low, high = ranges if ranges is not None else (None, None)
    if low is None or high is None:
        raise VectorError("int8 vectors need ranges, and this corpus has none")
    # v ≈ low + step · (byte + 128), so q·v = Σ (q·step) · byte + a constant of the query
    step = (high - low) / vectors.LEVELS
    folded = queries * step
    constant = queries @ (low + 128 * step)
    if len(queries) >= MATRIX_QUERIES:
        return lambda block: _in_pieces(block, lambda piece: _matrix_scores(folded, constant, piece))
    scale = np.maximum(np.abs(folded).max(axis=1, keepdims=True), 1e-12) / 127
    rounded = np.rint(folded / scale).astype(np.int8)
    return lambda block: _in_pieces(block, lambda piece: _byte_scores(rounded, scale, constant, piece))


def _in_pieces(block: NDArray[Any], score: Callable[[NDArray[Any]], Floats]) -> Floats:
    size = min(MOST, max(LEAST, -(-len(block) // hardware.usable_cores())))
    pieces = [block[start : start + size] for start in range(0, len(block), size)]
    return np.concatenate(list(_pool().map(score, pieces)), axis=1)


def _float_scores(queries: Floats, block: NDArray[Any]) -> Floats:
    if block.dtype != np.float32:
        return _in_pieces(block, lambda piece: queries @ piece.astype(np.float32).T)
    if len(queries) > 1:
        return np.asarray((block @ queries.T).T)
    return _in_pieces(block, lambda piece: _dot(queries, piece))


def _dot(queries: Floats, piece: Floats) -> Floats:
    return np.asarray(require("simsimd").cdist(queries, piece, metric="dot"), dtype=np.float32)


def _matrix_scores(folded: Floats, constant: Floats, piece: NDArray[np.int8]) -> Floats:
    return np.asarray(folded @ piece.astype(np.float32).T + constant[:, None], dtype=np.float32)


def _byte_scores(rounded: NDArray[np.int8], scale: Floats, constant: Floats, piece: NDArray[np.int8]) -> Floats:
    products = np.asarray(require("simsimd").cdist(rounded, piece, metric="dot"), dtype=np.float32)
    return np.asarray(products * scale + constant[:, None], dtype=np.float32)


def _bit_scores(bits: NDArray[np.int8], piece: NDArray[np.int8]) -> Floats:
    simsimd = require("simsimd")
    differing = simsimd.cdist(bits.view(np.uint8), piece.view(np.uint8), metric="hamming", dtype="bin8")
    return np.asarray(1 - np.asarray(differing, dtype=np.float32) * (2 / (8 * bits.shape[1])), dtype=np.float32)


def exact_scores(query: Floats, stored: NDArray[Any], kind: Stored, ranges: Floats | None) -> Floats:
    """Scores of one query against few stored vectors, in floats.

    Args:
        query: *Shape:* ``(dimension,)``.
        stored: *Shape:* ``(n, columns)``.
        kind: How they are stored.
        ranges: The corpus's ranges, for int8.

    Returns:
        *Shape:* ``(n,)``.
    """
    return vectors.to_float(stored, kind, ranges) @ query


def take(blocks: Sequence[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Vectors by row number from mapped blocks; only their pages are read. *Shape:* ``(n, columns)``."""
    starts = np.array([block.start for block in blocks])
    homes = np.searchsorted(starts, rows, side="right") - 1
    out = np.empty((len(rows), blocks[0].vectors.shape[1]), dtype=blocks[0].vectors.dtype)
    for home in np.unique(homes):
        here = homes == home
        out[here] = blocks[home].vectors[rows[here] - starts[home]]
    return out
