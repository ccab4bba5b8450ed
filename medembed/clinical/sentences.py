"""Cleaning of text and cutting at sentence ends. Pure, and linear in the length of the text."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_BOUND = re.compile(r"(?<=[.!?])([\"')\]]*)[ \n]+(?=[\"'(\[]*[A-Z0-9])|\n+")
# words before a full stop that ends no sentence
ABBREVIATIONS = (
    *("Dr", "Mr", "Mrs", "Ms", "Prof", "vs", "e.g", "i.e", "cf", "etc", "et al", "Fig", "Figs", "Tab", "No"),
    *("approx", "ca", "St"),
)
# none of these is longer, with its full stop and the letter before it
_TAIL = 12


@dataclass(frozen=True)
class Abbreviations:
    """Abbreviations and single capitals, with the full stop after them.

    Attributes:
        ending: A pattern that ends where a text ends.
        tail: Characters of the longest. To look further back would make cutting quadratic.
    """

    ending: re.Pattern[str]
    tail: int


def abbreviations(words: Iterable[str]) -> Abbreviations:
    """Abbreviations of these words and any single capital. Case counts."""
    known = list(words)
    return Abbreviations(
        re.compile(rf"\b(?:{'|'.join([*map(re.escape, known), '[A-Z]'])})\.$"),
        max([_TAIL, *(len(word) + 2 for word in known)]),
    )


ENGLISH = abbreviations(ABBREVIATIONS)


def clean(text: str) -> str:
    r"""Normalize Unicode, drop control characters, and collapse blanks. Paragraphs become lines.

    Example:
        >>> clean("Rain.\x00  Then\tsome snow.\r\n\r\n Better.")
        'Rain. Then some snow.\nBetter.'
    """
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    kept = "".join(character if character.isprintable() or character == "\n" else " " for character in text)
    paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n[ \t]*\n", kept))
    return "\n".join(paragraph for paragraph in paragraphs if paragraph)


def sentence_spans(text: str, known: Abbreviations = ENGLISH) -> Iterator[tuple[int, int]]:
    """Offsets of the sentences of a cleaned text, in order. The blanks between them belong to none.

    Args:
        text: The cleaned text.
        known: Abbreviations, which end no sentence.

    Example:
        >>> [*sentence_spans("Seen by Dr. May. Better now.")]
        [(0, 16), (17, 28)]
    """
    start = 0
    for match in _BOUND.finditer(text):
        if "\n" not in match.group() and known.ending.search(
            text, max(start, match.start() - known.tail), match.start()
        ):
            continue
        end = match.end(1) if match.group(1) is not None else match.start()  # closing quotes belong to the sentence
        if end > start:
            yield start, end
        start = match.end()
    if start < len(text):
        yield start, len(text)


def windows(text: str, max_words: int, known: Abbreviations = ENGLISH) -> Iterator[tuple[int, int]]:
    """Cut a cleaned text into stretches of at most ``max_words`` words that end where sentences end.

    A single sentence above the limit is cut between words. A short last window is left to the caller.

    Args:
        text: The cleaned text.
        max_words: Words per window.
        known: Abbreviations, which end no sentence.

    Returns:
        Offsets of the windows, in order.
    """
    start, end, held = 0, 0, 0
    for first, last in _pieces(text, max_words, known):
        more = len(text[first:last].split())
        if held and held + more > max_words:
            yield start, end
            held = 0
        if not held:
            start = first
        end, held = last, held + more
    if held:
        yield start, end


def _pieces(text: str, max_words: int, known: Abbreviations) -> Iterator[tuple[int, int]]:
    """Sentences, the overlong ones in pieces."""
    for first, last in sentence_spans(text, known):
        if (
            last - first <= 2 * max_words or len(text[first:last].split()) <= max_words
        ):  # n words take at least 2n-1 characters
            yield first, last
            continue
        words = [(match.start(), match.end()) for match in re.finditer(r"\S+", text[first:last])]
        for index in range(0, len(words), max_words):
            chunk = words[index : index + max_words]
            yield first + chunk[0][0], first + chunk[-1][1]
