"""The phrases that decide what clinical text asserts, read from ``triggers.toml``."""

import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

# what the kinds of one axis have in common: a phrase ends the scope of an earlier one of its axis
AXES: Mapping[str, tuple[str, ...]] = {
    "existence": ("negated", "possible", "affirmed"),
    "subject": ("other", "patient"),
    "time": ("past", "hypothetical", "now"),
}
# stands for any number in a phrase
NUMBER = "#"
NEUTRAL = ("affirmed", "patient", "now")
Phrase = tuple[str, ...]
# in so many sentences that they tell nothing of whether a phrase is in one
_COMMON = frozenset(
    [
        "a",
        "an",
        "the",
        "in",
        "on",
        "to",
        "of",
        "for",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "has",
        "have",
        "had",
        "does",
        "do",
        "did",
        "will",
        "would",
        "can",
        "could",
        "with",
        "by",
        "it",
        "as",
        "you",
        "he",
        "she",
        "they",
        "her",
        "his",
        "and",
    ]
)


@dataclass(frozen=True)
class Trigger:
    """What a phrase decides.

    Attributes:
        kind: Of its scope, or a neutral kind that marks nothing.
        forward: Whether it decides about the words after it.
        backward: Whether it decides about the words before it.
    """

    kind: str
    forward: bool = False
    backward: bool = False

    @property
    def nothing(self) -> bool:
        """Whether it only looks like a phrase."""
        return not self.kind

    @property
    def neutral(self) -> bool:
        """Whether it only ends the scopes of others."""
        return self.kind in NEUTRAL


class Tree:
    """Phrases by their words: the branch of each next word, and what ends here."""

    __slots__ = ("branches", "found")

    def __init__(self) -> None:
        self.branches: dict[str, Tree] = {}
        self.found: Trigger | None = None

    def add(self, phrase: Phrase, trigger: Trigger) -> None:
        """Add a phrase. It replaces an equal one."""
        tree = self
        for word in phrase:
            tree = tree.branches.setdefault(word, Tree())
        tree.found = trigger

    def longest(self, words: Sequence[str], place: int) -> tuple[Trigger, int] | None:
        """The longest phrase that begins at a place, and the place after it."""
        tree, best = self, None
        for end in range(place, len(words)):
            branch = tree.branches.get(words[end]) or (tree.branches.get(NUMBER) if words[end][0].isdigit() else None)
            if branch is None:
                break
            tree = branch
            if tree.found is not None:
                best = tree.found, end + 1
        return best


@dataclass(frozen=True)
class Vocabulary:
    """All phrases, as they are looked up.

    Attributes:
        phrases: By axis.
        terminators: What ends a scope, by axis.
        headings: Kind of each heading.
        cues: A word of each phrase that marks something, not a common one: a sentence without them has no scope.
    """

    phrases: Mapping[str, Tree]
    terminators: Mapping[str, Tree]
    headings: Mapping[str, str]
    cues: frozenset[str]


@cache
def vocabulary() -> Vocabulary:
    """Read the phrases."""
    told = tomllib.loads((resources.files("medembed.clinical") / "triggers.toml").read_text(encoding="utf-8"))
    axis_of = {kind: axis for axis, kinds in AXES.items() for kind in kinds}
    directions: dict[str, dict[Phrase, dict[str, set[str]]]] = {axis: {} for axis in AXES}
    headings: dict[str, str] = {}
    for entry in told["triggers"]:
        kind = entry["kind"]
        headings |= dict.fromkeys(entry.get("heading", ()), kind)
        for direction in ("forward", "backward"):
            for phrase in _written_out(entry.get(direction, ()), told["lists"]):
                directions[axis_of[kind]].setdefault(phrase, {}).setdefault(kind, set()).add(direction)
    phrases, cues = {}, {str(year) for year in range(1900, 2100)}
    for axis, found in directions.items():
        phrases[axis] = Tree()
        for phrase, kinds in found.items():
            kind, ways = next(iter(kinds.items()))  # of several kinds the first in the file
            phrases[axis].add(phrase, Trigger(kind, "forward" in ways, "backward" in ways))
            if kind not in NEUTRAL:
                cues.add(next((word for word in phrase if word not in _COMMON), phrase[0]))
        for phrase in _written_out(told["looks"].get(axis, ()), told["lists"]):
            phrases[axis].add(phrase, Trigger(""))
    return Vocabulary(phrases, {axis: _tree(told["terminators"][axis]) for axis in AXES}, headings, frozenset(cues))


def _tree(phrases: Sequence[str]) -> Tree:
    tree = Tree()
    for phrase in phrases:
        tree.add(tuple(phrase.split()), Trigger("affirmed"))
    return tree


def _written_out(phrases: Sequence[str], lists: Mapping[str, Sequence[str]]) -> Iterator[Phrase]:
    for phrase in phrases:
        parts = [
            lists[part[1:-1]] if part.startswith("{") else [part] for part in re.split(r"(\{\w+\})", phrase) if part
        ]
        for chosen in itertools.product(*parts):
            yield tuple("".join(chosen).split())
