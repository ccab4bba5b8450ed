"""Places where a clinical text may be cut, and how good each is. Pure, and linear in the length of the text."""

import re
from collections.abc import Iterator
from enum import IntEnum


class Bound(IntEnum):
    """The kinds of bounds, from the worst to the best."""

    LEAD = -1  # behind "Medications:", before what it leads to
    LISTED = 0  # between the items of a list that a negation leads to
    SENTENCE = 1
    LINE = 2
    PARAGRAPH = 3


# a paragraph's end, a line's end, or blanks behind the end of a sentence, with closing quotes and brackets before them
_PLACE = re.compile(
    r"(?P<lines>(?<![ \t\r])[ \t\r]*\n[ \t\r]*(?:\n\s*)?)|(?<=[.!?])[\"')\]]*[ \t]+(?=[\"'(\[]*(?:[A-Z0-9]|_{2}|[-*•] ))"
)
# letters before a full stop that ends no sentence: titles, Latin, units, ways of giving a drug, initials
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[/])(?:Drs?|Mrs?|Ms|Prof|Sr|Jr|St|Mt|vs|[eE]\.g|[iI]\.e|cf|viz|al|[fF]igs?|Tab|No|Nos|approx|ca|wk|yr|hr|min|mg|mcg|ml|"
    r"dept|resp|temp|abd|ext|neuro|pts?|hx|dx|tx|rx|sx|fx|[pP]\.?[oO]|[iI]\.?[vV]|[iI]\.?[mM]|s\.?[cl]|subq|n\.?p\.?o|"
    r"[A-Z](?:\.[A-Z])*)\.$"
)
# a number that begins an item: at the beginning of a line, or behind the end of a clause
_NUMBER = re.compile(r"(?:^|[\n:;,.!?])[ \t]*\(?\d{1,2}[.)]$")
_ITEM = re.compile(r"[ \t]*(?:\d{1,2}[.)]|[-*•#]|\(?[a-z][.)])[ \t]")
_MARK = re.compile(r"\S")
_NEGATION = re.compile(
    r"\b(?:denie[sd]|denying|negative|no|not|none|never|without|absen\w+|free of|rule[sd]? out)\b", re.IGNORECASE
)
# the longest tail that is looked at: looking further back would make the whole quadratic
_TAIL = 16
# a line of so many characters that ends without a mark was wrapped, if the next one goes on in small letters
WRAPPED = 40
# a lead-in longer than this is a sentence of its own
LEAD_IN = 200


def bounds(text: str, start: int, end: int) -> Iterator[tuple[int, Bound]]:
    """Places inside a stretch of a text where it may be cut, in order.

    Args:
        text: The whole text.
        start: Where the stretch begins.
        end: Where it ends.

    Yields:
        Where the next piece begins, and the kind of bound before it.

    Example:
        >>> text = "Plan: 1. Aspirin 81 mg p.o. b.i.d. 2. See Dr. May."
        >>> [text[place:] for place, _ in bounds(text, 0, len(text))]
        ['2. See Dr. May.']
    """
    begun, negated = start, False
    for match in _PLACE.finditer(text, start, end):
        place = match.end()
        if place >= end or _MARK.search(text, begun, match.start()) is None:
            continue
        lines = match["lines"]
        if lines is None and _is_inside(text, begun, match.start()):
            continue
        if lines is not None and lines.count("\n") == 1 and _is_wrapped(text, begun, match.start(), place):
            continue
        kind = Bound.SENTENCE if lines is None else Bound.LINE if lines.count("\n") == 1 else Bound.PARAGRAPH
        if text[match.start() - 1] == ":" and match.start() - begun <= LEAD_IN:
            negated = bool(_NEGATION.search(text, begun, match.start()))
            kind = Bound.LEAD
        elif negated and kind != Bound.PARAGRAPH and _ITEM.match(text, place):
            kind = Bound.LISTED
        elif kind >= Bound.LINE:
            negated = False
        yield place, kind
        begun = place


def _is_inside(text: str, begun: int, place: int) -> bool:
    """Tell whether a full stop belongs to an abbreviation or to the number of an item."""
    tail = text[max(begun, place - _TAIL) : place]
    return bool(_ABBREVIATION.search(tail) or _NUMBER.search(tail))


def _is_wrapped(text: str, begun: int, stop: int, place: int) -> bool:
    """Tell whether a line only goes on in the next one."""
    if _ITEM.match(text, place):
        return False
    last, following = text[stop - 1], text[place]
    if last == "," or following.islower():
        line = max(text.rfind("\n", begun, stop) + 1, begun)
        return last == "," or (last not in ".!?:;" and stop - line >= WRAPPED)
    return False
