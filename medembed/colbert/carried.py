"""The words of a document that carry its MaxSim with a query. Pure numpy."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Span = tuple[int, int] | None
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")


@dataclass(frozen=True)
class Carried:
    """A word of a document, and its part in the score.

    Attributes:
        text: The word.
        start: Its first character in the document.
        end: The character after its last.
        share: Part of the score that the query's tokens have from it, from 0 to 1.
    """

    text: str
    start: int
    end: int
    share: float


def carried(query: Floats, document: Floats, spans: Sequence[Span], text: str) -> list[Carried]:
    """Share a score out among the words that it comes from.

    Each token of a query takes its similarity from one token of the document: the nearest. What it takes from a token that
    stands for no word, such as the mark of the beginning, belongs to none.

    Args:
        query: *Shape:* ``(query tokens, dim)``.
        document: *Shape:* ``(tokens, dim)``.
        spans: Where each token stands in the text; None for a token that stands for no word.
        text: The document.

    Returns:
        The words that carry something, in their order.

    Example:
        >>> unit = np.eye(2, dtype=np.float32)
        >>> [(word.text, word.share) for word in carried(unit[:1], unit, [(0, 5), (6, 10)], "chest pain")]
        [('chest', 1.0)]
    """
    near = query @ document.T
    nearest = near.argmax(axis=1)
    taken = np.maximum(near[np.arange(len(query)), nearest], 0)
    of_token = np.bincount(nearest, weights=taken, minlength=len(document))
    total = float(of_token.sum())
    found = []
    for match in _WORD.finditer(text):
        inside = [
            place
            for place, span in enumerate(spans)
            if span is not None and span[0] < match.end() and span[1] > match.start() and of_token[place] > 0
        ]
        if inside:
            share = float(of_token[inside].sum()) / total
            # rounded down: shares of a whole, rounded to the nearest, came to 1.0001 of it
            found.append(Carried(match.group(), match.start(), match.end(), floor(share * 10_000) / 10_000))
    return found
