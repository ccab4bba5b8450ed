"""BM25 over texts, on bm25s, with the words of clinical text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from medembed.extras import require
from medembed.search.words import words


class Bm25:
    """An index of passages in memory.

    Args:
        passages: The passages; row numbers are their places here.
    """

    def __init__(self, passages: Sequence[str]) -> None:
        self._index = require("bm25s").BM25()
        self._size = len(passages)
        split = [words(passage) for passage in passages]
        # bm25s cannot index a corpus without a single word: such an index finds nothing
        self._empty = not any(split)
        if not self._empty:
            self._index.index(split, show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best passages of each query.

        Args:
            queries: Texts.
            k: Passages per query.

        Returns:
            Row numbers and scores, best first, ties by row number. *Shape:* ``(n, min(k, passages))``.
        """
        k = min(k, self._size)
        rows = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        for number, query in enumerate(queries):
            every = self.scores(query)
            best = np.argpartition(-every, k - 1)[:k] if 0 < k < self._size else np.arange(self._size)[:k]
            rows[number] = best[np.lexsort((best, -every[best]))]
            scores[number] = every[rows[number]]
        return rows, scores

    def scores(self, query: str) -> NDArray[np.float32]:
        """Score all passages for one query. *Shape:* ``(passages,)``."""
        known = [] if self._empty else [word for word in words(query) if word in self._index.vocab_dict]
        if not known:
            return np.zeros(self._size, dtype=np.float32)
        return np.asarray(self._index.get_scores(known), dtype=np.float32)

    def score_of(self, query: str, row: int) -> float:
        """Score one passage for one query."""
        return float(self.scores(query)[row])

    def save(self, folder: Path) -> None:
        """Write the index into a folder, for :meth:`load`."""
        if not self._empty:
            self._index.save(str(folder))
        (folder / "size.txt").write_text(str(self._size))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open an index that was saved, its numbers mapped from disk."""
        loaded = cls([])
        loaded._size = int((folder / "size.txt").read_text())
        loaded._empty = not (folder / "params.index.json").is_file()
        if not loaded._empty:
            loaded._index = require("bm25s").BM25.load(str(folder), mmap=True)
            loaded._size = min(loaded._size, int(loaded._index.scores["num_docs"]))
        return loaded

    @property
    def size(self) -> int:
        """Number of passages."""
        return self._size
