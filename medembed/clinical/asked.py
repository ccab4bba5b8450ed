"""What a query asks a passage to assert: that something is there, or not, of whom, and when."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from medembed.clinical.assertions import TOKEN, Scope, kinds_at, scopes, words_of
from medembed.clinical.triggers import vocabulary
from medembed.errors import SettingError
from medembed.search.words import STOP_WORDS

Assertion = Literal["affirmed", "negated", "any"]
Existence = Literal["affirmed", "possible", "negated"]
WORD = re.compile(r"[^\W_]+")
# a longer query tells of a topic: of six development sets, reading them lost up to .004 nDCG@10 (docs/experiments.md)
MOST_WORDS = 12
_OPENINGS = frozenset(
    ["what", "how", "why", "which", "where", "when", "do", "does", "is", "are", "can", "could", "should", "will", "did", "has", "have", "was",
     "were", "in", "at"]
)  # fmt: skip
_VERBS = frozenset(["is", "are", "was", "were", "has", "have", "had", "does", "do", "did", "can"])
MOST_AFTER_VERB = 4
_OF_SOMEBODY = frozenset(["who", "whom", "whose", "someone", "patient", "he", "she", "him", "her", "his", "hers"])
# somebody else, whoever it is
ANYBODY = "family"
_NAMES = {
    "mom": "mother", "mum": "mother", "mommy": "mother", "maternal": "mother", "dad": "father", "daddy": "father",
    "paternal": "father", "sisters": "sister", "brothers": "brother", "siblings": "sibling", "aunts": "aunt", "uncles": "uncle",
}  # fmt: skip
_PERSONS = frozenset(
    [
        "mother",
        "father",
        "sister",
        "brother",
        "sibling",
        "grandmother",
        "grandfather",
        "aunt",
        "uncle",
        "cousin",
        "son",
        "daughter",
        "wife",
        "husband",
    ]
)
# what is asked for as present is not answered by what is planned or only possible in future
_HAPPENED = frozenset(("now", "past"))
_APART = {
    frozenset(("now",)): 0.0,
    frozenset(("past",)): 0.0,
    frozenset(("hypothetical",)): 0.0,
    frozenset(("now", "past")): 0.8,
    frozenset(("now", "hypothetical")): 0.8,
    frozenset(("past", "hypothetical")): 1.0,
}
_SIBLINGS = frozenset(("sister", "brother", "sibling"))


@dataclass(frozen=True)
class Wish:
    """A word of a query, and what a passage has to assert of it.

    Attributes:
        stem: The word without its ending.
        existence: None where the query does not say.
        person: ``"patient"``, ``"mother"`` ..., :data:`ANYBODY` else; None where the query does not say.
        times: ``"now"``, ``"past"``, ``"hypothetical"``: any of them may hold; empty where the query does not say.
    """

    stem: str
    existence: Existence | None = None
    person: str | None = None
    times: frozenset[str] = frozenset()

    @property
    def says(self) -> bool:
        """Whether it asks for more than the word."""
        return self.existence is not None or self.person is not None or bool(self.times)


def asked(query: str, assertion: Assertion | None = None) -> list[Wish]:
    """Read what a query asks.

    Args:
        query: The query, English.
        assertion: What its words have to be; None to read it from the query, ``"any"`` for no wish at all.

    Returns:
        One wish for each word that a passage can answer; none where nothing is asked but words.

    Raises:
        SettingError: Another assertion.

    Example:
        >>> [(wish.stem, wish.existence) for wish in asked("patient without chest pain")]
        [('chest', 'negated'), ('pain', 'negated')]
    """
    if assertion is not None and assertion not in get_args(Assertion):
        raise SettingError(f"assertion={assertion!r}: choose one of {', '.join(get_args(Assertion))}, or leave it out")
    if assertion == "any" or (assertion is None and _is_of_knowledge(query)):
        return []
    wishes = list(_wishes(query, assertion))
    return wishes if any(wish.says for wish in wishes) else []


def stem(word: str) -> str:
    """A word in small letters without the endings of plural and participle: it needs no library, unlike BM25's words.

    Example:
        >>> stem("Allergies"), stem("swelling"), stem("gallstones")
        ('allergy', 'swell', 'gallstone')
    """
    word = word.lower()
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) >= len(ending) + 4:
            return word.removesuffix(ending)
    return word


def _is_of_knowledge(query: str) -> bool:
    """Whether a query asks for knowledge, not for patients: *why is gout not treated?*, or a claim in a whole sentence."""
    listed = [word.lower() for word in WORD.findall(query)]
    if len(listed) > MOST_WORDS:
        return True
    if not listed or not _OF_SOMEBODY.isdisjoint(listed):
        return False
    # "gout is suspected" asks for patients, "gout is not associated with breast cancer" is a claim
    verb = next((place for place, word in enumerate(listed) if place and word in _VERBS), len(listed))
    return listed[0] in _OPENINGS or len(listed) - verb > MOST_AFTER_VERB


def _wishes(query: str, assertion: Assertion | None) -> Iterator[Wish]:
    told, lowered = _told(), " ".join(query.lower().replace("’", "'").split())
    found = [
        scope for scope in scopes(lowered) if lowered[scope.trigger_start : scope.trigger_end] not in told["topical"]
    ]
    existence: Existence | None = "affirmed" if _says(lowered, told["affirmed"]) else None
    person = "patient" if _says(lowered, told["patient"]) else None
    now = frozenset(("now",)) if _says(lowered, told["now"]) else frozenset()
    inside = _in_phrases(lowered, told["topical"])
    for match in WORD.finditer(lowered):
        word = match.group()
        if word in STOP_WORDS or word in told["generic"] or match.start() in inside:
            continue
        kinds = kinds_at(found, match.start())
        here = existence
        times = _times(kinds, lowered) or now
        if "negated" in kinds or "possible" in kinds:
            here = "negated" if "negated" in kinds else "possible"
        yield Wish(
            stem(word),
            here if assertion is None else assertion,  # type: ignore[arg-type]  # "any" has left
            _person(kinds["other"], lowered) if "other" in kinds else person,
            times or (_HAPPENED if here == "affirmed" else frozenset()),
        )


def _times(kinds: Any, lowered: str) -> frozenset[str]:
    if "hypothetical" in kinds:
        return frozenset(("hypothetical",))
    if "past" not in kinds:
        return frozenset()
    scope = kinds["past"]
    # who asks for a history of gout is answered by gout
    lasting = lowered[scope.trigger_start : scope.trigger_end] in ("history of", "h/o", "hx of", "hx")
    return frozenset(("past", "now")) if lasting else frozenset(("past",))


def _in_phrases(lowered: str, topical: frozenset[str]) -> set[int]:
    """The characters of phrases that decide something: they are no words to look for."""
    matches = list(TOKEN.finditer(lowered))
    listed = words_of(matches)
    inside: set[int] = set()
    for tree in vocabulary().phrases.values():
        for place in range(len(listed)):
            found = tree.longest(listed, place)
            if found is not None and " ".join(listed[place : found[1]]) not in topical:
                inside.update(range(matches[place].start(), matches[found[1] - 1].end()))
    return inside


def _says(lowered: str, phrases: frozenset[str]) -> bool:
    padded = f" {' '.join(words_of(TOKEN.finditer(lowered)))} "
    return any(f" {phrase} " in padded for phrase in phrases)


@cache
def _told() -> dict[str, frozenset[str]]:
    text = (resources.files("medembed.clinical") / "triggers.toml").read_text(encoding="utf-8")
    return {name: frozenset(listed) for name, listed in tomllib.loads(text)["queries"].items()}


def _person(scope: Scope, text: str) -> str:
    """The person that a scope is about."""
    for match in WORD.finditer(text[scope.trigger_start : scope.trigger_end].lower()):
        name = _NAMES.get(match.group(), match.group())
        if name in _PERSONS:
            return name
    return ANYBODY


def distance(wish: Wish, kinds: dict[Any, Scope], text: str) -> float:
    """How far a passage is from a wish where it says the word: 0 it says what is asked, 1 something else.

    Args:
        wish: What is asked of the word.
        kinds: The scopes that the word is in, from :func:`medembed.clinical.assertions.kinds_at`.
        text: The passage.
    """
    far = 0.0
    if wish.existence is not None:
        here = 1.0 if "negated" in kinds else 0.5 if "possible" in kinds else 0.0
        far += abs(here - {"affirmed": 0.0, "possible": 0.5, "negated": 1.0}[wish.existence])
    if wish.person is not None:
        far += not _same(wish.person, _person(kinds["other"], text) if "other" in kinds else "patient")
    if wish.times:
        here_now = "hypothetical" if "hypothetical" in kinds else "past" if "past" in kinds else "now"
        far += min(_APART[frozenset((here_now, time))] for time in wish.times)
    return min(1.0, far)


def _same(asked_for: str, told: str) -> bool:
    if "patient" in (asked_for, told):
        return asked_for == told
    return (
        asked_for == told
        or ANYBODY in (asked_for, told)
        or ("sibling" in (asked_for, told) and {asked_for, told} <= _SIBLINGS)
    )
