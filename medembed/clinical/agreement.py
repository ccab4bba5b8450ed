"""Scores of passages, lowered by what they assert against the query."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from medembed.clinical.asked import Wish, distance, stem
from medembed.clinical.assertions import Scope, kinds_at, scopes, sentence_ends

# share of its score that a passage loses which asserts something else of all of the query's words; see docs/experiments.md
LOSS = 0.5


@dataclass(frozen=True)
class Verdict:
    """What a passage asserts of a query's words.

    Attributes:
        wrong: 0 it asserts what is asked, or says none of the words; 1 it asserts something else of all of them.
        scopes: The scopes that its words are in, where it says most of them.
    """

    wrong: float
    scopes: tuple[Scope, ...] = ()


def verdict(wishes: Sequence[Wish], text: str, found: Sequence[Scope] | None = None) -> Verdict:
    """Judge a passage. What counts is the sentence that says most of the query's words, of several the best.

    Args:
        wishes: From :func:`medembed.clinical.asked.asked`.
        text: The passage.
        found: Its scopes; None to find them here.
    """
    if not wishes:
        return Verdict(0.0)
    by_stem = {wish.stem: wish for wish in wishes}
    said = [(match.start(), by_stem[stem]) for match, stem in _said(text, tuple(by_stem))]
    # where it says fewer than half of the words it speaks of something else
    if 2 * len({wish.stem for _, wish in said}) < len(by_stem):
        return Verdict(0.0)
    best = _best_sentence(said, text, scopes(text) if found is None else found)
    if 2 * len(best) < len(by_stem):
        return Verdict(0.0)
    wrong = sum(far for far, _ in best.values()) / len(by_stem)
    return Verdict(wrong, tuple(sorted({scope for _, inside in best.values() for scope in inside})))


def _said(text: str, stems: tuple[str, ...]) -> Iterator[tuple[re.Match[str], str]]:
    """Where a text says words with these stems."""
    for match in _any_of(stems).finditer(text):
        if (found := stem(match.group())) in stems:
            yield match, found


def _best_sentence(
    said: Sequence[tuple[int, Wish]], text: str, found: Sequence[Scope]
) -> dict[str, tuple[float, tuple[Scope, ...]]]:
    """By word, how far the sentence is from what is asked that says most of the words; of several the nearest one."""
    ends = list(sentence_ends(text))
    sentences: dict[int, dict[str, tuple[float, tuple[Scope, ...]]]] = {}
    for place, wish in said:
        kinds = kinds_at(found, place)
        judged = distance(wish, kinds, text), tuple(sorted(kinds.values()))
        words_of = sentences.setdefault(bisect_right(ends, place), {})
        if wish.stem not in words_of or judged[0] < words_of[wish.stem][0]:
            words_of[wish.stem] = judged
    return max(sentences.values(), key=lambda of: (len(of), -sum(far for far, _ in of.values())))


@lru_cache(maxsize=64)
def _any_of(stems: tuple[str, ...]) -> re.Pattern[str]:
    """Finds words that may have one of these stems. A stem is how the word begins, but for a *y* that was an *i*."""
    begins = sorted({re.escape(known.removesuffix("y")) for known in stems}, reverse=True)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(begins)})[^\W_]*", re.IGNORECASE)


def lowered(score: float, wrong: float, loss: float = LOSS) -> float:
    """A score, less what the passage asserts wrongly.

    Example:
        >>> lowered(0.8, 1.0, 0.5)
        0.4
    """
    return score - loss * abs(score) * wrong
