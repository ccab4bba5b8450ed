"""A note → passages with exact offsets, cut where sections, paragraphs and sentences end."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medembed.clinical.bounds import Bound, bounds
from medembed.clinical.sections import sections
from medembed.errors import InputTypeError, SettingError

# tokens of a passage where nothing else is asked for; see docs/experiments.md
MAX_TOKENS = 128
LEAST_TOKENS = 8
# a paragraph below this share of the limit is put together with the next one
SHORT = 4
_WORD = re.compile(r"\S+")


class Tokens(Protocol):
    """A model, or anything else that tells where its tokens end."""

    @property
    def room(self) -> int:
        """Tokens of a document's text that the model reads."""

    def token_ends(self, text: str) -> NDArray[np.int64]:
        """The end of each token of a text, in characters."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a note.

    Attributes:
        text: The stretch itself: ``note[start:end]``.
        start: Where it begins in the note, in characters.
        end: Where it ends.
        section: Normalized name of the section that it lies in; None where no heading stands before.
        heading: The section's heading as it is written.
    """

    text: str
    start: int
    end: int
    section: str | None
    heading: str | None


@dataclass(frozen=True)
class Splitting:
    """Settings for cutting notes into passages.

    Attributes:
        max_tokens: Tokens of a passage at most, without prompt and special tokens; None for 128, or what the model reads if that
            is less.
        overlap: Tokens at most that a passage repeats of the one before, in whole sentences, where one paragraph is cut.
    """

    max_tokens: int | None = None
    overlap: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value, least in (("max_tokens", self.max_tokens, LEAST_TOKENS), ("overlap", self.overlap, 0)):
            if value is not None and (type(value) is not int or value < least):
                raise SettingError(f"{name}={value!r}: give a whole number from {least}")
        if self.overlap * 2 > (self.max_tokens or MAX_TOKENS):
            raise SettingError(
                f"overlap={self.overlap}: give at most half of the {self.max_tokens or MAX_TOKENS} tokens of a passage"
            )

    def limit(self, tokenizer: Tokens) -> int:
        """Tokens of a passage of this model.

        Raises:
            SettingError: More than the model reads.
        """
        if self.max_tokens is None:
            return max(1, min(MAX_TOKENS, tokenizer.room))
        if self.max_tokens > tokenizer.room:
            raise SettingError(
                f"max_tokens={self.max_tokens}: the model reads {tokenizer.room} tokens beside prompt and special tokens; "
                "give at most that"
            )
        return self.max_tokens


def split(text: str, tokenizer: Tokens, *, max_tokens: int | None = None, overlap: int = 0) -> list[Passage]:
    r"""Cut a note into passages, at the ends of sections, paragraphs, list items and sentences.

    No passage goes over a heading. A paragraph that fits is never cut, and the same paragraph gives the same passages wherever it is
    copied to. A sentence above the limit is cut between words, and only a word above the limit is cut inside.

    Args:
        text: The note.
        tokenizer: A :class:`medembed.MedEmbed` or :class:`medembed.MedColBERT`: tokens are those of its model.
        max_tokens: Tokens of a passage at most; None for 128, or what the model reads if that is less.
        overlap: Tokens at most that a passage repeats of the one before, in whole sentences, where one paragraph is cut.

    Returns:
        Passages in order; all that is not blank lies in one. None for a blank note.

    Raises:
        InputTypeError: The note is not a ``str``.
        SettingError: ``max_tokens`` or ``overlap`` does not fit the model.

    Example:
        >>> from medembed import FakeEngine, MedEmbed, split
        >>> note = "HPI: Chest pain since Monday.\n\nALLERGIES: penicillin"
        >>> with MedEmbed(engine=FakeEngine()) as model:
        ...     tuple((passage.section, passage.text) for passage in split(note, model))
        (('history_of_present_illness', 'HPI: Chest pain since Monday.'), ('allergies', 'ALLERGIES: penicillin'))
    """
    if not isinstance(text, str):
        raise InputTypeError(f"a note is a {type(text).__name__}; expected a str")
    settings = Splitting(max_tokens, overlap)
    return list(passages(text, tokenizer, settings))


def passages(text: str, tokenizer: Tokens, settings: Splitting) -> Iterator[Passage]:
    """:func:`split` with settings that are checked already, one passage at a time."""
    limit = settings.limit(tokenizer)
    if not text.strip():
        return
    ends = tokenizer.token_ends(text)
    found = sections(text)
    stops = [*(part.start for part in found[1:]), len(text)]
    for part, stop in zip(found, stops, strict=True):
        for window in _Stretch.of_section(text, part.start, stop, ends).windows(limit, settings.overlap):
            start, end = _stripped(text, *window)
            if start < end:
                yield Passage(text[start:end], start, end, part.name, part.heading)


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


@dataclass(frozen=True)
class _Stretch:
    """A stretch of a text with the places where it may be cut.

    Attributes:
        text: The whole text.
        ends: Where each token of it ends.
        places: Where its pieces begin, and where the last one ends.
        kinds: The kind of bound at each place.
        tokens: Tokens before each place.
    """

    text: str
    ends: NDArray[np.int64]
    places: Sequence[int]
    kinds: Sequence[int]
    tokens: Sequence[int]

    @classmethod
    def of(cls, text: str, ends: NDArray[np.int64], places: Sequence[int], kinds: Sequence[int]) -> "_Stretch":
        """The stretch with these places."""
        return cls(text, ends, places, kinds, np.searchsorted(ends, places, side="right").tolist())

    @classmethod
    def of_section(cls, text: str, start: int, end: int, ends: NDArray[np.int64]) -> "_Stretch":
        """A section, which may be cut where sentences, lines and paragraphs end."""
        inner: list[Any] = list(bounds(text, start, end))
        places = [start, *(place for place, _ in inner), end]
        return cls.of(text, ends, places, [Bound.PARAGRAPH, *(kind for _, kind in inner), Bound.PARAGRAPH])

    def of_words(self, first: int) -> "_Stretch":
        """One piece, which may be cut between words, best behind a comma or a semicolon."""
        start, end = self.places[first], self.places[first + 1]
        words = [match.start() for match in _WORD.finditer(self.text, start, end)]
        places = [start, *words[1:], end]
        kinds = [int(self.text[max(0, place - 2) : place].rstrip()[-1:] in (",", ";")) for place in places]
        return self.of(self.text, self.ends, places, kinds)

    def of_characters(self, first: int) -> "_Stretch":
        """One word, which may be cut between tokens."""
        start, end = self.places[first], self.places[first + 1]
        inside = np.unique(self.ends[self.tokens[first] : self.tokens[first + 1]]).tolist()
        places = [start, *(place for place in inside if start < place < end), end]
        return self.of(self.text, self.ends, places, [0] * len(places))

    def windows(self, limit: int, overlap: int) -> Iterator[tuple[int, int]]:
        """Offsets of passages: paragraphs that fit, short ones with the next, long ones cut."""
        for first, last in self._paragraphs(limit):
            yield from self._cut(first, last, limit, overlap, (_Stretch.of_words, _Stretch.of_characters))

    def _count(self, first: int, last: int) -> int:
        return self.tokens[last] - self.tokens[first]

    def _paragraphs(self, limit: int) -> list[tuple[int, int]]:
        """Paragraphs, the short ones together with what follows.

        Each bound depends on the paragraphs beside it alone, so that copied ones give equal passages.
        """
        short = max(1, limit // SHORT)
        at = [place for place, kind in enumerate(self.kinds) if kind == Bound.PARAGRAPH]
        found: list[tuple[int, int]] = []
        begun = at[0]
        for first, last in pairwise(at):
            if begun < first and self._count(begun, last) > limit:
                found.append((begun, first))
                begun = first
            if self._count(first, last) >= short:
                found.append((begun, last))
                begun = last
        if begun < at[-1]:
            if found and found[-1][1] == begun and self._count(found[-1][0], at[-1]) <= limit:
                begun = found.pop()[0]
            found.append((begun, at[-1]))
        return found

    def _cut(self, first: int, last: int, limit: int, overlap: int, finer: Sequence[Any]) -> Iterator[tuple[int, int]]:
        """Offsets of windows over pieces. A piece above the limit is cut in a finer way."""
        start = first
        while self._count(start, last) > limit:
            end = bisect_right(self.tokens, self.tokens[start] + limit, start, last) - 1
            if end == start:
                yield from self._cut_piece(start, limit, overlap, finer)
                start += 1
                continue
            end = self._best(start, end, limit)
            yield self.places[start], self.places[end]
            start = self._overlapped(start, end, limit, overlap)
        if start < last:
            yield self.places[start], self.places[last]

    def _cut_piece(self, piece: int, limit: int, overlap: int, finer: Sequence[Any]) -> Iterator[tuple[int, int]]:
        if not finer:  # several tokens that end at the same character
            yield self.places[piece], self.places[piece + 1]
            return
        inner = finer[0](self, piece)
        yield from inner._cut(0, len(inner.places) - 1, limit, overlap, finer[1:])

    def _best(self, start: int, end: int, limit: int) -> int:
        """The last of the best bounds of a window, in its second half."""
        half = bisect_left(self.tokens, self.tokens[start] + limit // 2, start + 1, end)
        return max(range(half, end + 1), key=lambda place: (self.kinds[place], place))

    def _overlapped(self, start: int, end: int, limit: int, overlap: int) -> int:
        """Beginning of the next window: whole pieces back, so far as they fit."""
        back = bisect_left(self.tokens, self.tokens[end] - overlap, start + 1, end)
        return back if self._count(back, end + 1) <= limit else end
