"""Exact top-k of dot products over vectors on disk. They are read in blocks of bounded memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from medembed.search.topk import Best, Floats, Integers

QUERIES_A_BLOCK = 2048


def search(queries: Floats, documents: Sequence[Path], k: int) -> tuple[Integers, Floats]:
    """Find the best documents of each query.

    Args:
        queries: *Shape:* ``(n, dim)``; at most some thousands, since their scores against a part are held at once.
        documents: ``.npy`` parts as ``medembed.recipes.models.encode_in_parts`` leaves them.
        k: How many.

    Returns:
        Row numbers of documents and their scores, best first, ties by row number. *Shape:* ``(n, min(k, documents))``.
    """
    best, offset = Best(len(queries), k), 0
    for path in documents:
        vectors = np.load(path)
        best.add(queries @ vectors.T, offset)
        offset += len(vectors)
    rows, scores = best.ranked()
    return np.stack(rows), np.stack(scores)


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
        # half a unit in the sixth place: the same product summed in another order is not a better document
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
    outside = np.count_nonzero((rows < 0) | (rows >= offset))
    if found is None or outside:
        # what no part holds would be whatever lay in memory
        raise AssertionError(f"{outside:,} of {len(rows):,} rows lie outside of the {offset:,} in the parts")
    return found
