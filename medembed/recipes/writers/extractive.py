"""Pairs by rule: titles, headings, definitions and sentences asked of the text around them. Deterministic, no model."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from medembed.clinical.sentences import sentence_spans
from medembed.recipes.records import Note, Pair, content_id
from medembed.recipes.schema import Extractive, ExtractiveKind
from medembed.recipes.words import ENGLISH, Words
from medembed.recipes.writers import sentence_rules, statements
from medembed.recipes.writers.interface import Written

Span = tuple[int, int]
Draft = tuple[str, Span]
Rule = Callable[[Note, list[Span], bool, Words], Iterator[Draft]]

_DEFINITION = re.compile(
    r"(?:An? |The )?([A-Z][\w’'()/-]*(?: [\w’'()/-]+){0,5}?) (?:is|are|refers to|means|describes) (?:an?|the|any|when)\b"
)
_NO_TERM = re.compile(
    r"^(?:it|this|that|these|those|there|here|which|what|such|one|he|she|they|we|our|his|her|their|table|figure)\b",
    re.IGNORECASE,
)
_FIRST_SECTION = re.compile(r"abstract|introduction|overview|summary", re.IGNORECASE)
_TITLE_EVERY = 8  # of the windows outside an abstract, one in eight is asked for by the title
_MAX_TOPIC_WORDS = 6
QUERY_WORDS, MIN_PASSAGE_WORDS = (2, 32), 12


class ExtractiveWriter:
    """Writes pairs by rule.

    Args:
        settings: Which kinds, and how many of each per note.
        words: The words of the notes' field.
    """

    def __init__(self, settings: Extractive, words: Words = ENGLISH) -> None:
        self._settings, self._words = settings, words
        self._rules: list[tuple[str, Rule]] = [(kind, RULES[kind]) for kind in settings.kinds]

    def write(self, notes: Sequence[Note]) -> Iterator[Written]:
        """Pairs of each note, in the order of the notes."""
        before = ("", "")
        for note in notes:
            section = (note.doc_id, note.heading)
            yield Written(note.note_id, self._pairs(note, section != before))
            before = section

    def close(self) -> None:
        """Nothing to give back."""

    def _pairs(self, note: Note, opens: bool) -> list[Pair]:
        sentences = list(sentence_spans(note.text, self._words.abbreviated))
        pairs: list[Pair] = []
        for kind, rule in self._rules:
            left = self._settings.per_note
            for query, span in rule(note, sentences, opens, self._words):
                if left == 0:
                    break
                if self._fits(note, query, span):
                    pairs.append(_pair(note, kind, query, span))
                    left -= 1
        return pairs

    @staticmethod
    def _fits(note: Note, query: str, span: Span) -> bool:
        fewest, most = QUERY_WORDS
        return fewest <= len(query.split()) <= most and len(note.text[slice(*span)].split()) >= MIN_PASSAGE_WORDS


def _pair(note: Note, kind: str, query: str, span: Span) -> Pair:
    passage = note.text[slice(*span)]
    return Pair(
        pair_id=content_id(query, passage),
        note_id=note.note_id,
        doc_id=note.doc_id,
        source=f"{note.source}:{kind}",
        query=query,
        query_type=kind,
        passage=passage,
        start=span[0],
        end=span[1],
        relevance_score=5,
    )


def _title(note: Note, _sentences: list[Span], opens: bool, _words: Words) -> Iterator[Draft]:
    """Pair the document's title with its abstract or opening. Now and then the passage is a window further in."""
    at_the_top = opens and _FIRST_SECTION.search(note.heading or "abstract")
    if note.title and (at_the_top or int(note.note_id[:8], 16) % _TITLE_EVERY == 0):
        yield note.title, (0, len(note.text))


def _heading(note: Note, _sentences: list[Span], opens: bool, _words: Words) -> Iterator[Draft]:
    """Pair a section's heading with the section's first window.

    The title is added where the heading says too little alone.
    """
    leaf = note.heading.rpartition(" > ")[2]
    if opens and leaf:
        yield leaf if len(leaf.split()) > 2 else f"{note.title} {leaf}".strip(), (0, len(note.text))


def _question(note: Note, sentences: list[Span], opens: bool, words: Words) -> Iterator[Draft]:
    """Pair the questions of the heading and of the text with passages.

    The heading asks them of a short topic. The text asks them itself and then answers them.
    """
    leaf, topic = note.heading.rpartition(" > ")[2], note.title.rstrip(".")
    if opens and leaf and 0 < len(topic.split()) <= _MAX_TOPIC_WORDS:
        for pattern, question in words.asked:
            if pattern.search(leaf):
                yield question.replace("{}", topic), (0, len(note.text))
                break
    for (start, end), (after, _) in pairwise(sentences):
        if note.text[end - 1] == "?":
            yield note.text[start:end], (after, len(note.text))


def _term(note: Note, sentences: list[Span], _opens: bool, _words: Words) -> Iterator[Draft]:
    """Pair a term that the text defines with its definition.

    The passage goes on with what follows, three sentences at most.
    """
    for index, (start, end) in enumerate(sentences):
        match = _DEFINITION.match(note.text, start, end)
        if match and not _NO_TERM.match(match.group(1)):
            yield match.group(1), (start, sentences[min(index + 2, len(sentences) - 1)][1])


def _lead(note: Note, sentences: list[Span], _opens: bool, _words: Words) -> Iterator[Draft]:
    """Pair the first sentence with the rest."""
    if len(sentences) > 2:
        yield note.text[slice(*sentences[0])], (sentences[1][0], sentences[-1][1])


def _cropped(note: Note, sentences: list[Span], _opens: bool, _words: Words) -> Iterator[Draft]:
    """Pair a sentence with the longer side of its surroundings (inverse cloze).

    The sentence is chosen by the note's hash.
    """
    if len(sentences) < 4:
        return
    first = int(note.note_id[:8], 16)
    for step in range(1, len(sentences)):
        chosen = 1 + (first + step) % (len(sentences) - 1)  # never the first: that is the lead
        yield note.text[slice(*sentences[chosen])], sentence_rules.longer_side(sentences, chosen)


RULES: dict[ExtractiveKind, Rule] = {
    "title": _title,
    "heading": _heading,
    "question": _question,
    "term": _term,
    "lead": _lead,
    "cropped": _cropped,
    "keyword": sentence_rules.keyword,
    "acronym": sentence_rules.acronym,
    "claim": sentence_rules.claim,
    "asked": statements.asked,
}
