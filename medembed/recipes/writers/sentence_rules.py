"""Queries about one statement of a passage: its key words, an abbreviation it explains, or what it found.

People who search the literature ask for a fact that one sentence in a page holds. Titles and headings teach what a page is
about; these rules teach to find the page that says it, among others of the same article.
"""

import re
from collections.abc import Iterator

from medembed.clinical.questions import ANNOUNCED, CITED, POINTS_BACK, keywords
from medembed.recipes.records import Note
from medembed.recipes.words import Words

Span = tuple[int, int]
Draft = tuple[str, Span]

_SHORT = re.compile(r"\(([A-Z][A-Za-z0-9-]{1,9})\)")
_WORDS_BEFORE = re.compile(r"(?:[A-Za-z][\w-]*[ -])+$")
_LONG_FORM_CHARS = 160
_MIN_CLAIM_WORDS = 6
_ABOUT_SHORT = ("What is {short}?", "What does {short} stand for?", "{short} {long}", "What is {long}?")


def keyword(note: Note, sentences: list[Span], _opens: bool, words: Words) -> Iterator[Draft]:
    """Pair the longest words of a sentence with the whole window.

    The note's hash chooses the sentence. The words keep their order.
    """
    for start, end in from_chosen(note, sentences):
        if picked := keywords(note.text[start:end], words.says_little):
            yield picked, (0, len(note.text))


def acronym(note: Note, _sentences: list[Span], _opens: bool, _words: Words) -> Iterator[Draft]:
    """Pair an abbreviation that the text explains with the whole window. The text explains it as ``long form (LF)``."""
    for match in _SHORT.finditer(note.text):
        before = _WORDS_BEFORE.search(note.text, max(0, match.start() - _LONG_FORM_CHARS), match.start())
        words, short = before.group().replace("-", " - ").split() if before else [], match.group(1)
        firsts = [place for place, word in enumerate(words) if word[0].casefold() == short[0].casefold()]
        fitting = [place for place in firsts if len(words) - place <= len(short) + 2]
        if fitting and sum(character.isupper() for character in short) >= 2:
            long_form = " ".join(words[fitting[0] :]).replace(" - ", "-")
            template = _ABOUT_SHORT[int(note.note_id[8:16], 16) % len(_ABOUT_SHORT)]
            yield template.format(short=short, long=long_form), (0, len(note.text))


def claim(note: Note, sentences: list[Span], _opens: bool, _words: Words) -> Iterator[Draft]:
    """Pair a sentence's finding with the longer side of its surroundings.

    The words that announce the finding are left out.
    """
    for chosen in range(len(sentences) - 1, -1, -1):  # conclusions stand last
        start, end = sentences[chosen]
        announced = ANNOUNCED.match(note.text, start, end)
        if announced is None:
            continue
        found = CITED.sub("", note.text[announced.end() : end])
        if len(found.split()) >= _MIN_CLAIM_WORDS and not POINTS_BACK.search(found):
            yield found[0].upper() + found[1:], longer_side(sentences, chosen)


def from_chosen(note: Note, sentences: list[Span]) -> Iterator[Span]:
    """All sentences, beginning with the one that the note's hash chooses."""
    first = int(note.note_id[:8], 16)
    for step in range(len(sentences)):
        yield sentences[(first + step) % len(sentences)]


def longer_side(sentences: list[Span], chosen: int) -> Span:
    """The text before or after a sentence, whichever is longer. It is empty where the sentence stands alone."""
    start, end = sentences[chosen]
    before = (sentences[0][0], sentences[chosen - 1][1]) if chosen else (start, start)
    after = (sentences[chosen + 1][0], sentences[-1][1]) if chosen + 1 < len(sentences) else (end, end)
    return max(before, after, key=lambda span: span[1] - span[0])
