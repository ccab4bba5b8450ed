"""Dense and lexical search together.

Candidates of both are scored by both, and fused by weight or by rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from medembed.corpus import search
from medembed.corpus.search import Index
from medembed.errors import SettingError
from medembed.search.bm25 import Bm25
from medembed.search.ranking import ndcg, weighted
from medembed.search.topk import Floats, Integers

Fusion = Literal["weighted", "rrf"]
# Cormack, Clarke and Büttcher 2009: a constant that keeps the first rank from outweighing everything
RRF_CONSTANT = 60
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))


@dataclass(frozen=True)
class Hybrid:
    """Settings for fusing dense and lexical search.

    Attributes:
        fusion: ``"weighted"`` adds scores, ``"rrf"`` adds 1 / (60 + rank), which needs no weight and wastes what scores say.
        weight: Share of the dense score, from 0 (BM25 alone) to 1 (dense alone); see :meth:`EmbeddedCorpus.choose_weight`.
        depth: Candidates of each side, at least ``k``.

    Raises:
        SettingError: A value outside these.
    """

    fusion: Fusion = "weighted"
    weight: float = 0.5
    depth: int = 100

    def __post_init__(self) -> None:
        """Check the values."""
        if self.fusion not in get_args(Fusion):
            raise SettingError(f"fusion={self.fusion!r}: choose one of {', '.join(get_args(Fusion))}")
        if not 0 <= self.weight <= 1:
            raise SettingError(f"weight={self.weight}: give a share of the dense score, from 0 to 1")
        if self.depth < 1:
            raise SettingError(f"depth={self.depth}: give at least 1 candidate a side")


@dataclass(frozen=True)
class Candidates:
    """Rows that either side found for one query. Each row has both scores.

    Attributes:
        rows: Row numbers, ascending. *Shape:* ``(n,)``.
        dense: Dense scores. *Shape:* ``(n,)``.
        lexical: BM25 scores. *Shape:* ``(n,)``.
    """

    rows: Integers
    dense: Floats
    lexical: Floats


def candidates(index: Index, words: Bm25, queries: Sequence[str], vectors: Floats, depth: int) -> list[Candidates]:
    """Rows that either side puts among its best. The scores of both sides come with them.

    Args:
        index: The vectors, and which rows may be found.
        words: BM25 over the same rows.
        queries: Texts of the queries.
        vectors: Their vectors. *Shape:* ``(len(queries), dimension)``.
        depth: Candidates of each side.
    """
    found, _ = search.top_k(index, vectors, depth)
    made = []
    for query, vector, dense in zip(queries, vectors, found, strict=True):
        scores = words.scores(query)
        if index.allowed is not None:
            scores = np.where(index.allowed, scores, np.float32(0))
        # a row that shares no word with the query is not a candidate of BM25
        best = np.argsort(-scores, kind="stable")[:depth] if len(scores) <= depth else _best(scores, depth)
        rows = np.union1d(dense, best[scores[best] > 0])
        made.append(Candidates(rows, search.scores_of(index, vector, rows), scores[rows]))
    return made


def _best(scores: Floats, depth: int) -> Integers:
    kept = np.argpartition(-scores, depth)[:depth]
    return kept[np.lexsort((kept, -scores[kept]))]


def fused(found: Candidates, how: Hybrid) -> Floats:
    """One score for each candidate, higher is better.

    Weighted: ``w · dense' + (1 − w) · lexical'``, each side stretched to 0…1 over this query's candidates. Reciprocal rank:
    ``1 / (60 + rank of dense) + 1 / (60 + rank of lexical)``.

    Example:
        >>> both = Candidates(np.arange(2), np.array([0.9, 0.5], np.float32), np.array([3.0, 6.0], np.float32))
        >>> fused(both, Hybrid(weight=0.75)).tolist()
        [0.75, 0.25]
    """
    if how.fusion == "rrf":
        return _reciprocal(found.dense) + _reciprocal(found.lexical)
    return weighted(found.lexical, found.dense, how.weight)


def _reciprocal(scores: Floats) -> Floats:
    ranks = np.empty(len(scores), dtype=np.float32)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return np.asarray(1 / (RRF_CONSTANT + ranks), dtype=np.float32)


def ranked(found: Candidates, how: Hybrid, k: int) -> tuple[Integers, Floats]:
    """The best ``k`` candidates and their fused scores. The best come first, ties by row number."""
    scores = fused(found, how)
    order = np.lexsort((found.rows, -scores))[:k]
    return found.rows[order], scores[order]


def mean_ndcg(
    found: Sequence[Candidates], how: Hybrid, ids: Sequence[str], relevant: Sequence[Mapping[str, int]], k: int = 10
) -> float:
    """Mean nDCG@k of a fusion over queries whose relevant rows are known."""
    values = [
        ndcg([ids[row] for row in ranked(item, how, k)[0]], known, k)
        for item, known in zip(found, relevant, strict=True)
    ]
    return float(np.mean(values))
