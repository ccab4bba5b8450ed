"""What the words of a clinical text assert: spans that are negated, doubted, about somebody else, past or hypothetical.

A phrase such as *denies* decides about the words after it, one such as *was ruled out* about the words before it, and a heading such as
*Family history:* about all up to the next one. The phrases are in ``triggers.toml``; how well they do is in docs/guides/assertions.md.
"""

import itertools
import re
from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from medembed.clinical import clauses
from medembed.clinical.triggers import AXES, Tree, Trigger, Vocabulary, vocabulary

Kind = Literal["negated", "possible", "other", "past", "hypothetical"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Number of the rules and phrases: a corpus keeps it beside the scopes that it stores. tests/clinical/rules.json tells when to raise it.
RULES = 2
_PUNCTUATION = frozenset(",:()-–")
# Numbers stay whole, w/o and h/o too; a dash counts between blanks only
TOKEN = re.compile(
    r"\d+(?:[.,/]\d+)*|(?:[whsrc]/[op]|and/or)\b|[^\W_]+(?:'[^\W_]+)*|(?<=\s)-ve\b|(?<=\s)[-–](?=\s)|[,:;()]"
)
# a line that goes on is the same sentence; what ends one is looked for first and what surrounds it then, ten times as fast
_END = re.compile(
    r"[.!?\n](?:(?<=\n)(?:(?=\s*\n)|(?![ \t]*[a-z]))|(?<!\n)(?=\s|$)(?<!\bdr.)(?<!\bmr.)(?<!\bmrs.)(?<!\bvs.))"
)
_COLON = re.compile(r":(?=\s|$)")
_HEADING = re.compile(r"(?:(?:^|(?<=\n)|(?<=[.;] ))[ \t]*([A-Z][A-Za-z/&' -]{1,40})|\b([A-Z][A-Z/]{1,14})):$")
# characters of the longest heading
_HEADING_LENGTH = 41
_SECTION_END = re.compile(r"\n\s*\n")
_IN_YEAR = Trigger("past", forward=True, backward=True)
_YEAR = re.compile(r"(?:19|20)\d\d")
# what may stand between a negation and the word that it makes false: "denies any known", "has not yet developed"
_BETWEEN = frozenset(
    ["any", "yet", "really", "ever", "been", "other", "recent", "further", "current", "personal", "had", "that", "he", "she", "they",
     "having", "is", "was", "are", "were"]
)  # fmt: skip
# what is true of a time in their clause is true only if: "if she still has pain"
_CONDITIONAL = frozenset(("if", "unless", "whenever"))
# a backward phrase that begins with one of these decides about what is before its comma
_RELATIVE = frozenset(("but", "which", "that", "and"))
_LISTING = frozenset(("and", "or", ",", "two", "three", "his", "her", "the", "their", "one", "several"))
# after these words nothing is left in its clause that a phrase could decide about
_AFTER = frozenset(
    ["on", "in", "at", "by", "overnight", "today", "during", "since", "for", "as", "with", "to", "this", "upon", "and", "or", "but"]
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Scope:
    """A part of a text that does not simply assert what it says.

    Attributes:
        start: Its first character.
        end: The character after its last.
        kind: ``"negated"``, ``"possible"``, ``"other"`` (about somebody else), ``"past"`` or ``"hypothetical"`` (planned, or only if).
        trigger_start: First character of the phrase that says so.
        trigger_end: The character after its last.
    """

    start: int
    end: int
    kind: Kind
    trigger_start: int
    trigger_end: int


@dataclass(frozen=True)
class _Found:
    """A phrase in a sentence, by the numbers of its first token and the one after its last."""

    trigger: Trigger
    first: int
    last: int


def scopes(text: str, sentences: Container[int] | None = None) -> list[Scope]:
    """Find the parts of a text that are not simply asserted. Pure.

    Args:
        text: A passage, English.
        sentences: Numbers of the sentences of :func:`sentence_ends` to look at, which is faster; None for all. Headings count always.

    Returns:
        By their start. Scopes of different kinds may overlap: *mother never had asthma*.

    Example:
        >>> text = "She denies chest pain but has a cough."
        >>> [(scope.kind, text[scope.start : scope.end]) for scope in scopes(text)]
        [('negated', 'chest pain')]
    """
    known = vocabulary()
    lowered = in_small_letters(text)
    found = list(_of_headings(text, lowered, known))
    start = 0
    for number, end in enumerate(sentence_ends(lowered)):
        wanted = sentences is None or number in sentences
        if wanted and not known.cues.isdisjoint(_words(lowered[start:end])):
            found += _of_sentence(list(TOKEN.finditer(lowered, start, end)), known)
        start = end
    return sorted(found)


def in_small_letters(text: str) -> str:
    """The text in small letters, character by character as long as it was."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = "".join(small if len(small := char.lower()) == 1 else char for char in text)
    return lowered.replace("’", "'")


_BLANKS = str.maketrans(dict.fromkeys(".,:;!?()-–•", " "))


def _words(sentence: str) -> set[str]:
    """Its words, fast; enough to tell whether any phrase can be in it."""
    words = set(sentence.translate(_BLANKS).split())
    if "'s" in sentence:
        words |= {word[:-2] for word in words if word.endswith("'s")}
    if "/" in sentence:
        words |= {part for word in words if "/" in word for part in word.split("/")}
    return words


def sentence_ends(lowered: str) -> Iterator[int]:
    """Ends of the sentences of a text in small letters, the last at its end."""
    yield from (match.end() for match in _END.finditer(lowered))
    yield len(lowered)


def _headings(text: str) -> Iterator[tuple[int, int]]:
    """Places of headings: of the first character, and of the colon that ends it."""
    last = 0
    for colon in _COLON.finditer(text):
        first = max(last, colon.start() - _HEADING_LENGTH)
        while first > last and text[first - 1] in " \t":
            first -= 1
        if match := _HEADING.search(text, first, colon.end()):
            yield match.start(match.lastindex or 0), match.end(match.lastindex or 0)
        last = colon.end()


def _of_headings(text: str, lowered: str, known: Vocabulary) -> Iterator[Scope]:
    """Scopes of headings: up to the next heading or the next blank line."""
    places = list(_headings(text))
    for number, (start, end) in enumerate(places):
        kind = known.headings.get(" ".join(lowered[start:end].split()))
        if kind is None:
            continue
        after = places[number + 1][0] if number + 1 < len(places) else len(text)
        section = _SECTION_END.search(text, end)
        if section is not None and section.start() < after and text[end + 1 : section.start()].strip():
            after = section.start()
        body = text[end + 1 : after]
        if inside := body.strip():
            first = end + 1 + body.index(inside[0])
            yield Scope(first, first + len(inside), kind, start, end)  # type: ignore[arg-type]


def words_of(tokens: Iterable[re.Match[str]]) -> list[str]:
    """The words of tokens, as phrases have them: *mother's* is *mother*."""
    return [token[0].removesuffix("'s") for token in tokens]


def _of_sentence(tokens: Sequence[re.Match[str]], known: Vocabulary) -> Iterator[Scope]:
    words = words_of(tokens)
    for axis in AXES:
        phrases = _settled(list(_phrases(words, known, axis)), words, axis)
        for number, found in enumerate(phrases):
            if found.trigger.neutral:
                continue
            before = phrases[number - 1].last if number else 0
            after = _next(phrases, number, words)
            for first, last in _reach(found, words, (before, after), known.terminators[axis]):
                if span := _trimmed(words, first, last):
                    yield Scope(
                        tokens[span[0]].start(),
                        tokens[span[1] - 1].end(),
                        found.trigger.kind,  # type: ignore[arg-type]  # the neutral kinds are left out above
                        tokens[found.first].start(),
                        tokens[found.last - 1].end(),
                    )


def _next(phrases: Sequence[_Found], number: int, words: Sequence[str]) -> int:
    """Where the next phrase of the axis begins; persons in a list share what follows: *mother and two aunts with asthma*."""
    own = phrases[number]
    conditional = _is_conditional(own, words)
    following = [
        one for one in phrases[number + 1 :] if not (one.trigger.neutral and (conditional or _told_of(one, words)))
    ]
    for last, found in itertools.pairwise([own, *following]):
        joined = all(word in _LISTING or word.isdigit() for word in words[last.last : found.first])
        if found.trigger.kind != "other" or not joined:
            return found.first
    return len(words)


def _is_conditional(found: _Found, words: Sequence[str]) -> bool:
    """Whether a phrase says *if*, or asks: *should she*."""
    return words[found.last - 1] in _CONDITIONAL or (words[found.first] == "should" and found.last - found.first > 1)


def _told_of(found: _Found, words: Sequence[str]) -> bool:
    """Whether a phrase stands in a clause of what is told: *was never told that she has*."""
    return found.first > 1 and words[found.first - 2] == "that" and words[found.first - 1] in clauses.SUBJECTS


def _phrases(words: Sequence[str], known: Vocabulary, axis: str) -> Iterator[_Found]:
    """The phrases of one axis, the longest at each place, none overlapping."""
    end, tree = 0, known.phrases[axis]
    for place, word in enumerate(words):
        if place < end:
            continue
        if word in tree.branches and (found := tree.longest(words, place)) is not None:
            trigger, end = found
            if not trigger.nothing:
                yield _Found(trigger, place, end)
        elif axis == "time" and place and words[place - 1] == "in" and _YEAR.fullmatch(word):
            yield _Found(_IN_YEAR, place - 1, place + 1)


def _settled(phrases: list[_Found], words: Sequence[str], axis: str) -> list[_Found]:
    """Phrases that stand beside each other as one: *denies having* negates, *no lack of* does not."""
    kept: list[_Found] = []
    for found in phrases:
        last = kept[-1] if kept else None
        if last is not None and _adjacent(last, found, words):
            if last.trigger.kind in ("negated", "possible") and last.trigger.forward:
                twice = (
                    found.trigger.kind == last.trigger.kind == "negated"
                    and found.first == last.last
                    and not found.trigger.backward
                )
                trigger = Trigger("affirmed", forward=True) if twice else last.trigger
                if found.trigger.forward:
                    kept[-1] = _Found(trigger, last.first, found.last)
                    continue
            if axis == "subject" and last.trigger.neutral and not found.trigger.neutral:
                kept.pop()
        kept.append(found)
    return kept


def _adjacent(last: _Found, found: _Found, words: Sequence[str]) -> bool:
    between = words[last.last : found.first]
    return len(between) <= 4 and all(word in _BETWEEN for word in between)


def _reach(
    found: _Found, words: Sequence[str], bounds: tuple[int, int], terminators: Tree
) -> Iterator[tuple[int, int]]:
    """The tokens that a phrase decides about: before it, after it, or both."""
    before, after = bounds
    ends = found.last == len(words) or words[found.last] in ",;:()" or words[found.last] in _AFTER
    backward, forward = found.trigger.backward, found.trigger.forward
    if found.trigger.kind == "other":
        backward = _is_told_before(found, words)
        forward = not backward
    elif backward and forward:
        forward = not ends or (found.last < len(words) and _opens(found, words))
        backward = not forward or found.trigger.kind in ("past", "hypothetical")
    elif (forward and found.last == len(words)) or (forward and words[found.last] == ";"):
        backward = found.first > 0 and words[found.first - 1] == ":"  # "Smoker: no"
    if backward:
        yield _backward(found, words, before, terminators), found.first
    if forward:
        first = clauses.lasting(words, found.last) if _is_conditional(found, words) else found.last
        yield first, _forward(found, words, after, terminators)


def _opens(found: _Found, words: Sequence[str]) -> bool:
    return found.first == 0 or words[found.first - 1] in ",;:"


def _is_told_before(found: _Found, words: Sequence[str]) -> bool:
    """Whether a person is named after what they have: *diabetes in her mother*, *diabetes (mother)*."""
    place = found.first - 1
    while place >= 0 and words[place] in clauses.DETERMINERS:
        place -= 1
    if place < 1:
        return False
    if words[place] in ("in", "on"):
        # "on her mother's side there is gout, on her father's asthma" names the person first
        return words[place - 1] not in ",;:"
    return words[place] in "-–(:" and (found.last == len(words) or words[found.last] in ",;)")


def _forward(found: _Found, words: Sequence[str], after: int, terminators: Tree) -> int:
    subject = found.trigger.kind == "other"
    for place in range(found.last, after):
        word = words[place]
        told_on = place > found.last and words[place - 1] != "that"  # "denies that he smokes and that he drinks"
        if told_on and word in terminators.branches and terminators.longest(words, place):
            return place
        if subject and (word != "," or words[place + 1 : place + 2] not in (["he"], ["she"], ["patient"], ["pt"])):
            continue
        if subject:
            return place
        if found.trigger.kind in AXES["existence"] and word in clauses.JOINING and clauses.joined(words, place):
            return place
        if word == ";" or (word == "," and _ends_at_comma(found, words, place)):
            return place
    return after


def _backward(found: _Found, words: Sequence[str], before: int, terminators: Tree) -> int:
    listed = words[found.first - 1] == ":" or found.trigger.kind == "other"
    first = found.first - (words[found.first] in _RELATIVE and words[found.first - 1] == ",")
    for place in range(first - 1, before - 1, -1):
        word = words[place]
        if word == ";" or (word == ":" and place < first - 1):
            return place + 1
        if word in terminators.branches and (ended := terminators.longest(words, place)):
            return ended[1]
        if word == ",":
            listed = listed or words[place + 1] in clauses.JOINING
            if not listed or words[place + 1] == "but":
                return place + 1
    return before


def _ends_at_comma(found: _Found, words: Sequence[str], place: int) -> bool:
    """Whether no list goes on behind a comma."""
    kind = found.trigger.kind
    return (
        kind == "possible" or clauses.apart(words, place + 1) or (kind == "negated" and clauses.found(words, place + 1))
    )


def _trimmed(words: Sequence[str], first: int, last: int) -> tuple[int, int] | None:
    """A span without punctuation and joining words at its ends; None where nothing is left."""
    while first < last and (words[first] in _PUNCTUATION or words[first] == ";" or words[first] in clauses.JOINING):
        first += 1
    while last > first and (
        words[last - 1] in _PUNCTUATION or words[last - 1] == ";" or words[last - 1] in clauses.JOINING
    ):
        last -= 1
    return (first, last) if first < last else None


def kinds_at(found: Sequence[Scope], place: int) -> dict[Kind, Scope]:
    """The shortest scope of each kind that covers a character.

    Args:
        found: From :func:`scopes`.
        place: The character's number.
    """
    last = bisect_right(found, place, key=lambda scope: scope.start)
    inside = [scope for scope in found[:last] if place < scope.end]
    return {scope.kind: scope for scope in sorted(inside, key=lambda scope: scope.start - scope.end)}
