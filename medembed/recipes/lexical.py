"""BM25 over passages, with bm25s."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medembed.extras import require


class Bm25:
    """An index of passages in memory.

    Args:
        passages: The passages; row numbers are their places here.
    """

    def __init__(self, passages: Sequence[str]) -> None:
        self._bm25s = require("bm25s")
        self._index = self._bm25s.BM25()
        tokens = self._bm25s.tokenize(list(passages), stopwords="en", show_progress=False)
        self._index.index(tokens, show_progress=False)
        self._size = len(passages)

    def search(self, queries: Sequence[str], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best passages of each query.

        Returns:
            Row numbers and scores, best first. *Shape:* ``(n, min(k, passages))``.
        """
        tokens = self._bm25s.tokenize(list(queries), stopwords="en", show_progress=False, return_ids=False)
        rows, scores = self._index.retrieve(tokens, k=min(k, self._size), show_progress=False, sorted=True)
        return np.asarray(rows, dtype=np.int64), np.asarray(scores, dtype=np.float32)

    def score_of(self, query: str, row: int) -> float:
        """Score of one passage for one query."""
        [tokens] = self._bm25s.tokenize([query], stopwords="en", show_progress=False, return_ids=False)
        known = [token for token in tokens if token in self._index.vocab_dict]
        return float(self._index.get_scores(known)[row]) if known else 0.0
