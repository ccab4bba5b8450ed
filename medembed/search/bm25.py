"""BM25 over texts, with bm25s."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

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

    def scores(self, query: str) -> NDArray[np.float32]:
        """Scores of all passages for one query. *Shape:* ``(passages,)``."""
        [tokens] = self._bm25s.tokenize([query], stopwords="en", show_progress=False, return_ids=False)
        known = [token for token in tokens if token in self._index.vocab_dict]
        if not known:
            return np.zeros(self._size, dtype=np.float32)
        return np.asarray(self._index.get_scores(known), dtype=np.float32)

    def score_of(self, query: str, row: int) -> float:
        """Score of one passage for one query."""
        return float(self.scores(query)[row])

    def save(self, folder: Path) -> None:
        """Write the index into a folder, for :meth:`load`."""
        self._index.save(str(folder))
        (folder / "size.txt").write_text(str(self._size))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """An index that was saved, its numbers mapped from disk."""
        loaded = cls.__new__(cls)
        loaded._bm25s = require("bm25s")
        loaded._index = loaded._bm25s.BM25.load(str(folder), mmap=True)
        loaded._size = int((folder / "size.txt").read_text())
        return loaded
