"""Exact search over mapped vectors, and a faster first pass.

The first pass goes over bytes or bits. Its candidates are scored again in floats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medembed.corpus import scan as scanning
from medembed.corpus.layout import Stored
from medembed.corpus.scan import Block
from medembed.errors import CorpusError, SettingError
from medembed.search.topk import Best, Floats, Integers

ScanKind = Literal["auto", "exact", "int8", "binary"]
# Candidates scored in floats, as a multiple of k. recall@10 over a million vectors: see docs/guides/corpora.md
OVERSAMPLE: dict[Stored, int] = {"int8": 4, "binary": 40}
QUERIES_A_BLOCK = 256


@dataclass(frozen=True)
class Index:
    """Vectors that are searched, and rows that may be found.

    Attributes:
        stored: Vectors as the corpus keeps them.
        kind: Their kind.
        first: Vectors of the first pass; the same as ``stored`` where there is only one.
        first_kind: Their kind.
        ranges: The corpus's ranges. *Shape:* ``(2, dimension)``.
        allowed: Which rows may be found; None for all. *Shape:* ``(rows,)``.
    """

    stored: Sequence[Block]
    kind: Stored
    first: Sequence[Block]
    first_kind: Stored
    ranges: Floats | None
    allowed: NDArray[np.bool_] | None


def first_kind(asked: ScanKind, stored: Stored) -> Stored:
    """Kind of vectors that the first pass runs over.

    Raises:
        SettingError: An unknown word.
        CorpusError: The corpus stores less than the pass needs.
    """
    if asked not in get_args(ScanKind):
        raise SettingError(f"scan={asked!r}: choose one of {', '.join(get_args(ScanKind))}")
    if asked == "auto" or (asked == "exact" and stored in ("float32", "float16")):
        return stored
    if asked == "exact" or (stored == "binary" and asked != "binary"):
        raise CorpusError(f"scan={asked!r}: this corpus stores {stored} vectors; leave scan out, or index as float32")
    return asked


def top_k(index: Index, queries: Floats, k: int) -> tuple[list[Integers], list[Floats]]:
    """The best rows of each query.

    Args:
        index: What is searched.
        queries: *Shape:* ``(n, dimension)``.
        k: How many, at least 1.

    Returns:
        Row numbers and scores of each query, best first, ties by row number; fewer than k where fewer are allowed.
    """
    rows: list[Integers] = []
    scores: list[Floats] = []
    for start in range(0, len(queries), QUERIES_A_BLOCK):
        group = queries[start : start + QUERIES_A_BLOCK]
        found = _candidates(index, group, k * OVERSAMPLE.get(index.first_kind, 1))
        if index.first_kind in OVERSAMPLE:
            found = _rescored(index, group, found[0], k)
        rows += found[0]
        scores += found[1]
    return rows, scores


def _candidates(index: Index, queries: Floats, depth: int) -> tuple[list[Integers], list[Floats]]:
    best = Best(len(queries), depth)
    for start, scores in scanning.scores(index.first_kind, queries, index.first, index.ranges):
        if index.allowed is not None:
            scores[:, ~index.allowed[start : start + scores.shape[1]]] = -np.inf
        best.add(scores, start)
    return best.ranked()


def _rescored(index: Index, queries: Floats, candidates: list[Integers], k: int) -> tuple[list[Integers], list[Floats]]:
    rows, scores = [], []
    for query, numbers in zip(queries, candidates, strict=True):
        exact = scores_of(index, query, numbers)
        order = np.lexsort((numbers, -exact))[:k]
        rows.append(numbers[order])
        scores.append(exact[order])
    return rows, scores


def scores_of(index: Index, query: Floats, rows: Integers) -> Floats:
    """Scores of chosen rows for one query, in floats. *Shape:* ``(len(rows),)``."""
    if not len(rows):
        return np.empty(0, dtype=np.float32)
    return scanning.exact_scores(query, scanning.take(index.stored, rows), index.kind, index.ranges)
