"""Places of a query's words in a text."""

import re

from medembed.search.words import words

_WORD = re.compile(r"\w+(?:['’.-]\w+)*")


def marks(query: str, text: str) -> list[tuple[int, int]]:
    """Places of a query's words in a text, whatever their ending, as BM25 takes them for the same.

    Args:
        query: The query.
        text: The text.

    Returns:
        Offsets of words, in order.

    Example:
        >>> marks("allergy to penicillins", "Allergies: penicillin")
        [(0, 9), (11, 21)]
    """
    wanted = set(words(query))
    return [match.span() for match in _WORD.finditer(text) if not wanted.isdisjoint(words(match.group()))]
