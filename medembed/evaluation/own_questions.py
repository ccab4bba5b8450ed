"""Questions made of notes by rule, each cut out of the note that it is to find.

Words taken from a note share the names of things with the rest of it, so word search finds them more easily than it finds what people
ask. So questions and key words are made of the sentences that share the fewest words with the rest of their note.
"""

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from medembed.clinical.bounds import bounds
from medembed.clinical.questions import keywords, questions
from medembed.clinical.sections import normalized
from medembed.search.words import words

Span = tuple[int, int]
# a question, and the stretch of the text that gives it away; None where it is the title
Draft = tuple[str, Span | None]

# words of a question, of a sentence that is asked, and of what must be left of its note
QUESTION_WORDS, SENTENCE_WORDS, LEFT_WORDS = (2, 40), (6, 40), 20
# a text whose sentences begin in small letters is cut at every mark, if it has fewer sentences than this
FEWEST_SENTENCES = 3
_MARK = re.compile(r"(?<=[.!?])\s+")
_HEADING = re.compile(
    r"^(?:#{1,6}[ \t]+(?P<marked>\S.*?)|(?P<capitals>[A-Z][A-Z0-9 ,/()&-]{6,80}))[ \t]*:?[ \t\r]*$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class OwnNote:
    """A note of the user.

    Attributes:
        id: Its id.
        text: Its text, without the title.
        title: Its title; empty for none.
    """

    id: str
    text: str
    title: str = ""

    @property
    def whole(self) -> str:
        """Title and text, as they are searched."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class OwnQuestion:
    """A question and the note that it is to find.

    Attributes:
        kind: The rule that made it, or ``"llm"``.
        text: The question.
        note_id: The note.
    """

    kind: str
    text: str
    note_id: str


@dataclass(frozen=True)
class Trial:
    """Questions and the texts they are asked of.

    Attributes:
        texts: Text of each note by its id, without what a question took from it.
        questions: At most one for each note.
    """

    texts: dict[str, str]
    questions: list[OwnQuestion] = field(default_factory=list)


def by_rule(notes: Sequence[OwnNote], most: int, kinds: Iterable[str], *, seed: int = 0) -> Trial:
    """Make questions of some of the notes. Each kind gets as many as the notes allow.

    Args:
        notes: The notes, each id once.
        most: Questions at most.
        kinds: Names of rules.
        seed: Chooses the notes that are asked for.
    """
    listed = list(kinds)
    common = _common_headings(notes) if "heading" in listed else frozenset()
    made: list[tuple[OwnQuestion, str]] = []
    counts: Counter[str] = Counter()
    for note in chosen(notes, len(notes), seed):
        if len(made) == most:
            break
        if drafts := _drafts(note, listed, common):
            kind = min(drafts, key=lambda name: (counts[name], listed.index(name)))
            counts[kind] += 1
            question, left = drafts[kind]
            made.append((OwnQuestion(kind, question, note.id), left))
    # a question that is made of two notes names neither
    times = Counter(item.text.casefold() for item, _ in made)
    alone = [(item, left) for item, left in made if times[item.text.casefold()] == 1]
    texts = {note.id: note.whole for note in notes} | {item.note_id: left for item, left in alone}
    return Trial(texts, [item for item, _ in alone])


def chosen(notes: Iterable[OwnNote], most: int, seed: int) -> list[OwnNote]:
    """At most so many notes, drawn at random, in random order. No more than those are held."""
    return heapq.nsmallest(most, notes, key=lambda note: _chance(seed, note.id))


def _chance(seed: int, name: str) -> bytes:
    """The place of a note in a random order that does not depend on the other notes."""
    return hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()


def _drafts(note: OwnNote, kinds: Sequence[str], common: frozenset[str]) -> dict[str, tuple[str, str]]:
    """Question and remaining text by kind, of those kinds that the note allows."""
    parts = sentences(note.text)
    found: dict[str, tuple[str, str]] = {}
    for kind in kinds:
        for question, span in RULES[kind](note, parts):
            left = _left(note, span)
            if (kind == "heading" and question.casefold() in common) or _stays(note, span, left):
                continue
            if _fits(question, QUESTION_WORDS) and len(left.split()) >= LEFT_WORDS:
                found[kind] = question, left
                break
    return found


def _left(note: OwnNote, span: Span | None) -> str:
    if span is None:
        return note.text
    return f"{note.title} {note.text[: span[0]].rstrip()} {note.text[span[1] :].lstrip()}".strip()


def _stays(note: OwnNote, span: Span | None, left: str) -> bool:
    """Tell whether what is asked stands in its note once more."""
    gone = note.title if span is None else note.text[slice(*span)]
    return _plain(gone) in _plain(left)


def _plain(text: str) -> str:
    return " ".join(words(text))


def _fits(text: str, limits: tuple[int, int]) -> bool:
    return limits[0] <= len(text.split()) <= limits[1]


def sentences(text: str) -> list[Span]:
    """Places of a text's sentences, in order.

    Example:
        >>> sentences("Seen by Dr. May. Better now. Home.")
        [(0, 17), (17, 29), (29, 34)]
    """
    places = [place for place, _ in bounds(text, 0, len(text))]
    if len(places) + 1 < FEWEST_SENTENCES:
        places = [match.end() for match in _MARK.finditer(text) if match.end() < len(text)]
    return list(zip([0, *places], [*places, len(text)], strict=True))


def _title(note: OwnNote, _parts: Sequence[Span]) -> Iterator[Draft]:
    """The title."""
    if note.title:
        yield note.title, None


def _heading(note: OwnNote, _parts: Sequence[Span]) -> Iterator[Draft]:
    """A heading that says more than the usual ones do."""
    for match in _HEADING.finditer(note.text):
        heading = " ".join((match["marked"] or match["capitals"]).split())
        if normalized(heading) is None:
            yield heading, match.span()


def _common_headings(notes: Iterable[OwnNote]) -> frozenset[str]:
    """Headings of more than one note, which name none of them."""
    found = Counter(
        heading for note in notes for heading in {question.casefold() for question, _ in _heading(note, ())}
    )
    return frozenset(heading for heading, count in found.items() if count > 1)


def _lead(note: OwnNote, parts: Sequence[Span]) -> Iterator[Draft]:
    """The first sentence, which says what the note is about."""
    for span in parts[:1]:
        if _fits(said := _said(note, span), SENTENCE_WORDS):
            yield said, span


def _cropped(note: OwnNote, parts: Sequence[Span]) -> Iterator[Draft]:
    """A sentence as it is, any but the first."""
    for span in sorted(parts[1:], key=lambda span: _chance(span[0], note.id)):
        if _fits(said := _said(note, span), SENTENCE_WORDS):
            yield said, span


def _asked(note: OwnNote, parts: Sequence[Span]) -> Iterator[Draft]:
    """A question that a sentence answers."""
    for span in _least_like_the_rest(note, parts):
        forms = list(questions(_said(note, span)))
        if forms:
            yield forms[span[0] % len(forms)], span


def _keyword(note: OwnNote, parts: Sequence[Span]) -> Iterator[Draft]:
    """The longest words of a sentence."""
    for span in _least_like_the_rest(note, parts):
        if picked := keywords(_said(note, span)):
            yield picked, span


def _said(note: OwnNote, span: Span) -> str:
    return " ".join(note.text[slice(*span)].split())


def _least_like_the_rest(note: OwnNote, parts: Sequence[Span]) -> list[Span]:
    """Sentences of a fitting length. First comes the one that shares the smallest part of its words with the others."""
    listed = {span: set(words(note.text[slice(*span)])) for span in parts}
    counts = Counter(word for own in listed.values() for word in own)
    in_title = set(words(note.title))

    def shared(span: Span) -> float:
        own = listed[span]
        return sum(counts[word] > 1 or word in in_title for word in own) / max(1, len(own))

    return sorted((span for span in parts if _fits(_said(note, span), SENTENCE_WORDS)), key=lambda s: (shared(s), s))


RULES: dict[str, Callable[[OwnNote, Sequence[Span]], Iterator[Draft]]] = {
    "title": _title,
    "heading": _heading,
    "lead": _lead,
    "asked": _asked,
    "cropped": _cropped,
    "keyword": _keyword,
}
