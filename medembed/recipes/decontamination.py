"""Overlap with evaluation sets: equal texts and shared runs of words. Pure, except for reading the sets."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from medembed.rows import beir

_WORD = re.compile(r"[^\W_]+")


class Overlap:
    """Knows the texts of evaluation sets by the hashes of their n-grams.

    Args:
        texts: Queries and documents of the evaluation sets.
        ngram: Words in a row that may not be shared; shorter texts are compared whole.

    Example:
        >>> Overlap(["Bread is baked in an oven."], ngram=3).reason("How bread is baked best")
        'shares 3 words in a row with an evaluation text'
    """

    def __init__(self, texts: Iterable[str], ngram: int) -> None:
        self._n = ngram
        self._whole: set[int] = set()
        self._grams: set[int] = set()
        for text in texts:
            words = normal_words(text)
            self._whole.add(hash(tuple(words)))
            self._grams.update(self._hashes(words))

    def reason(self, text: str) -> str | None:
        """The reason not to train on a text, or None."""
        words = normal_words(text)
        if words and hash(tuple(words)) in self._whole:
            return "equals an evaluation text"
        if any(gram in self._grams for gram in self._hashes(words)):
            return f"shares {self._n} words in a row with an evaluation text"
        return None

    def _hashes(self, words: list[str]) -> Iterator[int]:
        return (hash(tuple(words[start : start + self._n])) for start in range(len(words) - self._n + 1))


def normal_words(text: str) -> list[str]:
    """Words of a text without case and punctuation."""
    return _WORD.findall(text.lower())


def beir_texts(folder: Path) -> Iterator[str]:
    """All queries and documents of a BEIR folder. Titles count as texts of their own.

    Raises:
        TaskDataError: A file is missing or malformed.
    """
    files = beir.open_folder(folder)
    for query in beir.read_queries(files):
        yield query.text
    for document in beir.read_documents(files):
        yield from (text for text in (document.title, document.text) if text)
