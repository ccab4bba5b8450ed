"""Exact top-k of dot products over vectors on disk, in blocks of bounded memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

QUERIES_A_BLOCK = 2048
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def search(queries: Floats, documents: Sequence[Path], k: int) -> tuple[Integers, Floats]:
    """The best documents of each query.

    Every block of scores is compared with the worst score kept so far, so that after the first blocks only a few
    candidates a row are sorted; sorting all of them costs more than the products.

    Args:
        queries: *Shape:* ``(n, dim)``; at most some thousands, since their scores against a part are held at once.
        documents: ``.npy`` parts as :func:`medembed.recipes.models.encode_in_parts` leaves them.
        k: How many.

    Returns:
        Row numbers of documents and their scores, best first, ties by row number. *Shape:* ``(n, min(k, documents))``.
    """
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    offset = 0
    for path in documents:
        vectors = np.load(path)
        block = queries @ vectors.T
        _merge(rows, scores, block, offset, k)
        offset += len(vectors)
    order = np.lexsort((rows, -scores), axis=1)[:, : min(k, offset)]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _merge(rows: Integers, scores: Floats, block: Floats, offset: int, k: int) -> None:
    """Take over a block's candidates into the running best, in place."""
    if offset == 0 and block.shape[1] > k:
        best = np.argpartition(block, -k, axis=1)[:, -k:]
        rows[:], scores[:] = best, np.take_along_axis(block, best, axis=1)
        return
    better = np.flatnonzero(block > scores.min(axis=1, keepdims=True))
    query, document = np.divmod(better, block.shape[1])
    bounds = np.searchsorted(query, np.arange(len(rows) + 1))
    values = block.ravel()[better]
    for row in np.unique(query):
        span = slice(bounds[row], bounds[row + 1])
        candidates = np.concatenate([scores[row], values[span]])
        numbers = np.concatenate([rows[row], document[span] + offset])
        best = np.argpartition(candidates, -k)[-k:]
        rows[row], scores[row] = numbers[best], candidates[best]


def ranks_of(
    queries: Sequence[Path], documents: Sequence[Path], wanted: Sequence[int]
) -> Iterator[tuple[int, Integers]]:
    """Rank of one wanted document for each query, 1 for the best.

    Args:
        queries: Parts of query vectors.
        documents: Parts of document vectors.
        wanted: Row number of the document each query should find.

    Yields:
        Number of the first query of a block, and the ranks of the block.
    """
    offset = 0
    targets = np.asarray(wanted, dtype=np.int64)
    for path in queries:
        part = np.load(path)
        for start in range(0, len(part), QUERIES_A_BLOCK):
            block = part[start : start + QUERIES_A_BLOCK]
            rows = targets[offset : offset + len(block)]
            yield offset, _ranks(block, documents, rows)
            offset += len(block)


def _ranks(queries: Floats, documents: Sequence[Path], wanted: Integers) -> Integers:
    own = np.einsum("nd,nd->n", queries, vectors_at(documents, wanted))
    ranks = np.ones(len(queries), dtype=np.int64)
    for path in documents:
        # half a unit in the sixth place: the same product summed in another order is no better document
        ranks += np.count_nonzero(queries @ np.load(path).T > own[:, None] + 5e-7, axis=1)
    return ranks


def vectors_at(parts: Sequence[Path], rows: Integers) -> Floats:
    """Vectors by row number, read from the parts that hold them. *Shape:* ``(n, dim)``."""
    found: Floats | None = None
    offset = 0
    for path in parts:
        vectors = np.load(path, mmap_mode="r")
        here = (rows >= offset) & (rows < offset + len(vectors))
        if found is None:
            found = np.empty((len(rows), vectors.shape[1]), dtype=np.float32)
        found[here] = vectors[rows[here] - offset]
        offset += len(vectors)
    if found is None:
        raise AssertionError("vectors_at needs at least one part")
    return found
