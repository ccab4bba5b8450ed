"""Dense and lexical search together.

Candidates of both are scored by both. BM25 is added to the dense score: less of it, the surer the dense score is of its best row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.corpus import scan, search
from medembed.corpus.search import Index
from medembed.errors import SettingError
from medembed.search.bm25 import Bm25
from medembed.search.ranking import ndcg
from medembed.search.shares import HYBRID_WEIGHT
from medembed.search.topk import Floats, Integers

# The rows whose dense scores tell how far a query's scores are apart.
SPREAD_ROWS = 1_000
# The best row is held against the one in this place, or at this part of the rows where they are fewer than a thousand.
LEAD_PLACE, LEAD_PART = 100, 10
# BM25 counts whole up to this lead, and by a factor of e less for each further 1 / FALL. Chosen with HYBRID_WEIGHT.
DOUBTFUL, FALL = 1.5, 1.5
WEIGHTS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True)
class Hybrid:
    """Settings for dense and lexical search together.

    Attributes:
        weight: Share of BM25: one of its points counts this many standard deviations of the query's dense scores, at most. The
            unit makes the same weight fit models whose cosines lie close together. See :meth:`EmbeddedCorpus.choose_weight`.
        depth: Candidates of each side, at least ``k``.

    Raises:
        SettingError: A value outside these.
    """

    weight: float = HYBRID_WEIGHT
    depth: int = 100

    def __post_init__(self) -> None:
        """Check the values."""
        if not (isfinite(self.weight) and self.weight >= 0):
            raise SettingError(f"weight={self.weight}: give what BM25 counts, from 0, for instance {HYBRID_WEIGHT}")
        if self.depth < 1:
            raise SettingError(f"depth={self.depth}: give at least 1 candidate a side")


def check(hybrid: object) -> None:
    """Refuse what is neither settings nor None.

    Raises:
        SettingError: It is something else, such as True.
    """
    if not isinstance(hybrid, Hybrid | None):
        raise SettingError(f"hybrid is a {type(hybrid).__name__}: give hybrid=Hybrid(), from medembed import Hybrid")


def usual(*, text_stored: bool) -> Hybrid | None:
    """The way of the command, the server and its tools where nothing is said.

    It is hybrid search, and vectors alone for a store that keeps no texts.
    """
    return Hybrid() if text_stored else None


@dataclass(frozen=True)
class Candidates:
    """Rows that either side found for one query. Each row has both scores.

    Attributes:
        rows: Row numbers, ascending. *Shape:* ``(n,)``.
        dense: Dense scores. *Shape:* ``(n,)``.
        lexical: BM25 scores. *Shape:* ``(n,)``.
        spread: Standard deviation of the query's dense scores over rows of the whole corpus.
        lead: How many spreads the best dense score lies above that of the hundredth row. Where fewer than a thousand rows may be
            found it is the row at a tenth of them, and below twenty there is no lead.
    """

    rows: Integers
    dense: Floats
    lexical: Floats
    spread: float
    lead: float = 0.0


def candidates(index: Index, words: Bm25, queries: Sequence[str], vectors: Floats, depth: int) -> list[Candidates]:
    """Rows that either side puts among its best. The scores of both sides come with them.

    Args:
        index: The vectors, and which rows may be found.
        words: BM25 over the same rows.
        queries: Texts of the queries.
        vectors: Their vectors. *Shape:* ``(len(queries), dimension)``.
        depth: Candidates of each side.
    """
    place = _place(index)
    found, reached = search.top_k(index, vectors, max(depth, place))
    sample = _sample(index)  # read once for all queries
    made = []
    for query, vector, nearest, near in zip(queries, vectors, found, reached, strict=True):
        scores = words.scores(query)
        if index.allowed is not None:
            scores = np.where(index.allowed, scores, np.float32(0))
        # a row that shares no word with the query is not a candidate of BM25
        best = np.argsort(-scores, kind="stable")[:depth] if len(scores) <= depth else _best(scores, depth)
        rows = np.union1d(nearest[:depth], best[scores[best] > 0])
        spread = float(scan.exact_scores(vector, sample, index.kind, index.ranges).std()) if len(sample) else 0.0
        lead = float(near[0] - near[min(place, len(near)) - 1]) / spread if spread and len(near) else 0.0
        made.append(Candidates(rows, search.scores_of(index, vector, rows), scores[rows], spread, lead))
    return made


def _place(index: Index) -> int:
    """The place of the row that the best one is held against, from 1."""
    allowed = scan.row_count(index.stored) if index.allowed is None else int(np.count_nonzero(index.allowed))
    return max(1, min(LEAD_PLACE, allowed // LEAD_PART))


def _sample(index: Index) -> NDArray[Any]:
    """Stored vectors of rows spread evenly over the corpus: the same ones for every query. *Shape:* ``(n, columns)``."""
    total = scan.row_count(index.stored)
    if not total:
        return np.empty((0, 0), dtype=np.float32)
    rows = np.unique(np.linspace(0, total - 1, min(total, SPREAD_ROWS)).astype(np.int64))
    return scan.take(index.stored, rows)


def _best(scores: Floats, depth: int) -> Integers:
    kept = np.argpartition(-scores, depth)[:depth]
    return kept[np.lexsort((kept, -scores[kept]))]


def fused(found: Candidates, how: Hybrid) -> Floats:
    """One score for each candidate, higher is better.

    It is ``dense + weight · doubt · spread · BM25``, in the unit of the dense score. The doubt is 1 where no row stands out, and
    falls as the lead grows. A long query of rare words has a high BM25 score and counts more by itself.

    Example:
        >>> both = Candidates(np.arange(2), np.array([0.5, 0.25], np.float32), np.array([0.0, 10.0], np.float32), spread=0.25)
        >>> fused(both, Hybrid(weight=0.25)).tolist()
        [0.5, 0.875]
    """
    doubt = exp(min(0.0, FALL * (DOUBTFUL - found.lead)))
    return np.asarray(found.dense + np.float32(how.weight * doubt * found.spread) * found.lexical, dtype=np.float32)


def ranked(found: Candidates, how: Hybrid, k: int) -> tuple[Integers, Floats]:
    """The best ``k`` candidates and their fused scores. The best come first, ties by row number."""
    scores = fused(found, how)
    order = np.lexsort((found.rows, -scores))[:k]
    return found.rows[order], scores[order]


def mean_ndcg(
    found: Sequence[Candidates], how: Hybrid, ids: Sequence[str], relevant: Sequence[Mapping[str, int]], k: int = 10
) -> float:
    """Mean nDCG@k over queries whose relevant rows are known."""
    values = [
        ndcg([ids[row] for row in ranked(item, how, k)[0]], known, k)
        for item, known in zip(found, relevant, strict=True)
    ]
    return float(np.mean(values))
