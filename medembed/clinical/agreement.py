"""Scores of passages, lowered by what they assert against the query."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from medembed.clinical.asked import Wish, distance, stem
from medembed.clinical.assertions import Scope, in_small_letters, kinds_at, scopes, sentence_ends

# share of its score that a passage loses which asserts something else of all of the query's words; see docs/experiments.md
LOSS = 0.5


@dataclass(frozen=True)
class Verdict:
    """Judgment of what a passage asserts of a query's words.

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
    small = in_small_letters(text)
    said = [(place, by_stem[stem]) for place, stem in _said(small, tuple(by_stem))]
    # where it says fewer than half of the words it speaks of something else
    if 2 * len({wish.stem for _, wish in said}) < len(by_stem):
        return Verdict(0.0)
    sentences = _fullest(said, small)
    if found is None:
        found = scopes(text, sentences)
    best = _nearest(sentences.values(), text, found)
    if 2 * len(best) < len(by_stem):
        return Verdict(0.0)
    wrong = sum(far for far, _ in best.values()) / len(by_stem)
    return Verdict(wrong, tuple(sorted({scope for _, inside in best.values() for scope in inside})))


def _said(small: str, stems: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Places of words with these stems."""
    for match in _any_of(stems).finditer(small):
        if (found := stem(match.group())) in stems:
            yield match.start(), found


def _fullest(said: Sequence[tuple[int, Wish]], small: str) -> dict[int, list[tuple[int, Wish]]]:
    """The sentences that say most of the words, by number; no other can count, so no other is read for scopes."""
    ends = list(sentence_ends(small))
    sentences: dict[int, list[tuple[int, Wish]]] = {}
    for place, wish in said:
        sentences.setdefault(bisect_right(ends, place), []).append((place, wish))
    words = {number: len({wish.stem for _, wish in inside}) for number, inside in sentences.items()}
    most = max(words.values())
    return {number: inside for number, inside in sentences.items() if words[number] == most}


def _nearest(
    sentences: Iterable[Sequence[tuple[int, Wish]]], text: str, found: Sequence[Scope]
) -> dict[str, tuple[float, tuple[Scope, ...]]]:
    """By word, how far the sentence is from what is asked that is nearest to it."""
    judged: list[dict[str, tuple[float, tuple[Scope, ...]]]] = []
    for inside in sentences:
        words: dict[str, tuple[float, tuple[Scope, ...]]] = {}
        for place, wish in inside:
            kinds = kinds_at(found, place)
            far = distance(wish, kinds, text), tuple(sorted(kinds.values()))
            if wish.stem not in words or far[0] < words[wish.stem][0]:
                words[wish.stem] = far
        judged.append(words)
    return min(judged, key=lambda words: sum(far for far, _ in words.values()))


@lru_cache(maxsize=64)
def _any_of(stems: tuple[str, ...]) -> re.Pattern[str]:
    """Finds words that may have one of these stems. A stem is how the word begins, but for a *y* that was an *i*."""
    begins = sorted({known.removesuffix("y") for known in stems}, reverse=True)
    # the letters first and what is before them then, twice as fast
    return re.compile("|".join(rf"{re.escape(word)}(?<![^\W_].{{{len(word)}}})[^\W_]*" for word in begins))


def lowered(score: float, wrong: float, loss: float = LOSS) -> float:
    """A score, less what the passage asserts wrongly.

    Example:
        >>> lowered(0.8, 1.0, 0.5)
        0.4
    """
    return score - loss * abs(score) * wrong
