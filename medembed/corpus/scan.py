"""Scores of queries against stored vectors: the inner loop of search."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.corpus.layout import Stored
from medembed.errors import VectorError
from medembed.extras import require
from medembed.per_process import PerProcess
from medembed.runtime import hardware
from medembed.workers import Result, Workers

Floats = NDArray[np.float32]

# rows a thread takes at a time: at most so many, and few enough that every core has its turn; below the least, handing a piece
# over (70 µs) costs more than comparing it
MOST, LEAST = 16_384, 2_048
# rows multiplied at a time where the product has threads of its own
TOGETHER = 32_768
# pieces that wait while every core has one, so that none stands still while the best of another piece are chosen
WAITING = 2
# From so many queries on, packing them for a product of bytes is faster than comparing bytes query by query. 200,000 × 384 bytes
# on AVX2 in CPU time: 1 query 17 ms packed and 11 one by one, 4 queries 14 and 39, 64 queries 168 and 639, and 252 as floats.
PACKED_QUERIES = 3
# rows turned to floats at a time, so that they are still in the core's cache when they are multiplied: 0.71 µs per row for 64 queries
# of 384 dimensions, 0.97 µs where 16,384 are turned at once
CONVERTED = 512

Score = Callable[[NDArray[Any]], Floats]


@dataclass(frozen=True)
class Block:
    """Vectors of consecutive rows, mapped. *Shape:* ``(n, columns)``."""

    start: int
    vectors: NDArray[Any]


def row_count(blocks: Sequence[Block]) -> int:
    """Rows of all blocks together."""
    return sum(len(block.vectors) for block in blocks)


@cache
def _cores() -> int:
    return hardware.usable_cores()  # reads some files: half a millisecond, which a search would spend for every block


_workers = PerProcess(lambda: Workers(_cores()))


def scores(
    kind: Stored, queries: Floats, blocks: Sequence[Block], ranges: Floats | None
) -> Iterator[tuple[int, Floats]]:
    """Scores of queries against stored vectors, a piece at a time.

    Floats are scored exactly. int8 is scored with the query rounded to eight bits too, binary by the bits that differ: both
    order well enough to choose candidates, whose scores are then worked out in floats.

    Args:
        kind: How the vectors are stored.
        queries: *Shape:* ``(n, dimension)``.
        blocks: The vectors, one block after the other without gaps.
        ranges: The corpus's ranges, for int8. *Shape:* ``(2, dimension)``.

    Yields:
        Number of a piece's first row, in ascending order, and scores, *Shape:* ``(n, rows of the piece)`` float32; higher is more alike.
    """
    if kind == "float32" and len(queries) > 1:
        for piece in _pieces(blocks, TOGETHER):  # the product has threads of its own
            yield piece.start, _product(queries, piece)
        return
    score = scorer(kind, queries, ranges)
    size = min(MOST, max(LEAST, -(-row_count(blocks) // _cores())))
    running: deque[tuple[int, Result[Floats]]] = deque()
    for piece in _pieces(blocks, size):
        running.append((piece.start, _workers().submit(partial(_scored, score, piece))))
        if len(running) > _cores() + WAITING:
            start, found = running.popleft()
            yield start, found.get()
    for start, found in running:
        yield start, found.get()


@dataclass(frozen=True)
class _Piece:
    """Consecutive rows that are scored at once. They may lie in several shards."""

    start: int
    parts: tuple[NDArray[Any], ...]


def _pieces(blocks: Sequence[Block], size: int) -> Iterator[_Piece]:
    """Blocks cut or joined to pieces of at most ``size`` rows."""
    parts: list[NDArray[Any]] = []
    start, held = 0, 0
    for block in blocks:
        at = 0
        while at < len(block.vectors):
            part = block.vectors[at : at + size - held]
            start = start if parts else block.start + at
            parts.append(part)
            held, at = held + len(part), at + len(part)
            if held == size:
                yield _Piece(start, tuple(parts))
                parts, held = [], 0
    if parts:
        yield _Piece(start, tuple(parts))


def _product(queries: Floats, piece: _Piece) -> Floats:
    if len(piece.parts) == 1:
        return np.asarray((piece.parts[0] @ queries.T).T)
    out = np.empty((sum(map(len, piece.parts)), len(queries)), dtype=np.float32)
    at = 0
    for part in piece.parts:
        np.matmul(part, queries.T, out=out[at : at + len(part)])
        at += len(part)
    return out.T


def _scored(score: Score, piece: _Piece) -> Floats:
    found = [score(part) for part in piece.parts]
    return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


def scorer(kind: Stored, queries: Floats, ranges: Floats | None) -> Score:
    """A function that scores a piece of stored vectors. See :func:`scores`.

    It takes *Shape:* ``(rows, columns)`` and gives ``(n, rows)``.
    """
    if kind == "binary":
        return partial(_bit_scores, vectors.to_binary(queries))
    if kind == "float32":
        return partial(_dot, queries)
    if kind == "float16":
        return partial(_products, queries)
    low, high = ranges if ranges is not None else (None, None)
    if low is None or high is None:
        raise VectorError("int8 vectors need ranges, and this corpus has none")
    # v ≈ low + step · (byte + 128), so q·v = Σ (q·step) · byte + a constant of the query
    step = (high - low) / vectors.LEVELS
    folded = queries * step
    constant = (queries @ (low + 128 * step))[:, None]
    scale = np.maximum(np.abs(folded).max(axis=1, keepdims=True), 1e-12) / 127
    rounded = np.rint(folded / scale).astype(np.int8)
    if len(queries) >= PACKED_QUERIES:
        packed = require("numkong").dots_pack(rounded)
        return lambda piece: _byte_products(packed, piece) * scale + constant
    return lambda piece: _dot(rounded, piece) * scale + constant


def _dot(queries: NDArray[Any], piece: NDArray[Any]) -> Floats:
    return np.asarray(require("simsimd").cdist(queries, piece, metric="dot"), dtype=np.float32)


def _byte_products(packed: Any, piece: NDArray[np.int8]) -> Floats:
    """Products of packed queries and bytes, exact up to 1,024 dimensions. *Shape:* ``(n, rows)``."""
    return np.asarray(require("numkong").dots_packed(piece, packed)).astype(np.float32).T


def _products(queries: Floats, piece: NDArray[Any]) -> Floats:
    out = np.empty((len(piece), len(queries)), dtype=np.float32)
    converted = np.empty((min(CONVERTED, len(piece)), piece.shape[1]), dtype=np.float32)
    for at in range(0, len(piece), CONVERTED):
        rows = converted[: len(piece) - at]
        rows[...] = piece[at : at + CONVERTED]
        np.matmul(rows, queries.T, out=out[at : at + CONVERTED])
    return out.T


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
    """Vectors by row number from mapped blocks. Only their pages are read. *Shape:* ``(n, columns)``."""
    starts = np.array([block.start for block in blocks])
    homes = np.searchsorted(starts, rows, side="right") - 1
    out = np.empty((len(rows), blocks[0].vectors.shape[1]), dtype=blocks[0].vectors.dtype)
    for home in np.unique(homes):
        here = homes == home
        out[here] = blocks[home].vectors[rows[here] - starts[home]]
    return out
