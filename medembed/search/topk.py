"""The best k of scores that come block by block. No more than a block is ever held."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class Best:
    """The best candidates of each query so far.

    Every block is compared with the worst score kept, so that after the first blocks only a few candidates per row are
    sorted; sorting all of them costs more than the products.

    Args:
        n_queries: How many queries.
        k: How many candidates to keep of each.

    Example:
        >>> best = Best(1, 2)
        >>> best.add(np.array([[0.1, 0.9, 0.5]], dtype=np.float32), 10)
        >>> [numbers.tolist() for numbers in best.ranked()[0]]
        [[11, 12]]
    """

    def __init__(self, n_queries: int, k: int) -> None:
        """Begin with nothing found."""
        self._k = k
        self._rows: Integers = np.full((n_queries, k), -1, dtype=np.int64)
        self._scores: Floats = np.full((n_queries, k), -np.inf, dtype=np.float32)

    def add(self, scores: Floats, offset: int) -> None:
        """Take over the candidates of a block. ``-inf`` is not a candidate.

        Args:
            scores: *Shape:* ``(n_queries, rows of the block)``.
            offset: Number of the block's first row.
        """
        worst = self._scores[:, -1:]  # they are kept best first
        if np.isneginf(worst).all() and scores.shape[1] > self._k:
            # equal to the k-th stays in: row numbers decide which of equal scores are kept
            worst = np.partition(scores, -self._k, axis=1)[:, -self._k, None]
            query, row = _places((scores >= worst) & (scores > -np.inf))
        else:
            query, row = _places(scores > worst)
        if not len(query):
            return
        values = scores[query, row]
        bounds = np.searchsorted(query, np.arange(len(self._rows) + 1))
        for number in np.unique(query):
            span = slice(bounds[number], bounds[number + 1])
            self._merge(number, row[span] + offset, values[span])

    def _merge(self, query: int, rows: Integers, scores: Floats) -> None:
        candidates = np.concatenate([self._scores[query], scores])
        numbers = np.concatenate([self._rows[query], rows])
        # equal scores are ordered by row number, so that the answer does not depend on how rows fall into blocks
        best = np.lexsort((numbers, -candidates))[: self._k]
        self._rows[query], self._scores[query] = numbers[best], candidates[best]

    def ranked(self) -> tuple[list[Integers], list[Floats]]:
        """Row numbers and scores of each query, best first.

        Ties are ordered by row number. There are fewer than k where fewer were found.
        """
        found = [scores > -np.inf for scores in self._scores]
        rows = [numbers[here] for numbers, here in zip(self._rows, found, strict=True)]
        return rows, [scores[here] for scores, here in zip(self._scores, found, strict=True)]


def _places(mask: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Places of a matrix that are true, ordered by its first axis.

    A product's transpose is read as it lies in memory, six times as fast.
    """
    if mask.flags.c_contiguous:
        first, second = np.divmod(np.flatnonzero(mask), mask.shape[1])
        return first, second
    second, first = np.divmod(np.flatnonzero(mask.T), mask.shape[0])
    order = np.argsort(first, kind="stable")
    return first[order], second[order]
