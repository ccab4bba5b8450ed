"""BM25 over texts, with bm25s."""

import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from medembed.corpus.layout import MAPS, Manifest
from medembed.errors import CorpusError
from medembed.extras import require

log = logging.getLogger("medembed")
# written last: an index without it is not whole
WHOLE = "whole"


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


def lexical_index(folder: Path, manifest: Manifest, tables: Sequence[Any]) -> Bm25:
    """BM25 over the texts of a corpus; made once and kept beside its maps.

    Args:
        folder: The corpus.
        manifest: Its manifest.
        tables: Its row tables, in order.

    Raises:
        CorpusError: The corpus was made without texts.
    """
    if not manifest.text_stored:
        raise CorpusError(f"{folder} holds no texts, which hybrid search needs: index again with --store-text")
    key = hashlib.sha256("".join(shard.sha256 for shard in manifest.shards).encode()).hexdigest()[:16]
    kept = folder / MAPS / f"bm25-{key}"
    if (kept / WHOLE).is_file():
        return Bm25.load(kept)
    made = Bm25([text for table in tables for text in table.column("text").to_pylist()])
    aside = folder / MAPS / f"bm25-{key}.{os.getpid()}.aside"
    try:
        aside.mkdir(parents=True)
        made.save(aside)
        (aside / WHOLE).touch()
        for outdated in (folder / MAPS).glob("bm25-*"):
            if outdated != aside:
                shutil.rmtree(outdated, ignore_errors=True)
        aside.replace(kept)
    except OSError as error:
        # a corpus on a read-only or full disk can be searched all the same
        log.warning("%s: the BM25 index cannot be kept (%s) and is made at every start", folder, type(error).__name__)
        shutil.rmtree(aside, ignore_errors=True)
    return made
