"""Claims about the same words in several wordings each: what the frames say of them, and how it is asked for.

A contrast holds one passage against another. Here every wording of a claim meets every wording of the others, so that a model
learns the claim and not the sentence.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medembed.recipes.writers.contrasts import (
    Contrast,
    Fillings,
    Rules,
    context_of,
    filled,
    fillings_of,
    rows_of,
    said_of,
    ways_to_ask,
)

# Questions and passages of a set, shared out among its claims: those of four claims have as many as those of two.
QUESTIONS, PASSAGES = 4, 10
# Claims of a set at most.
CLAIMS = 4
# Share of rows that are joined with another row, which makes another claim of another word. Its passages exchange the two words:
# only what is said of which tells them apart.
JOINED_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class ClaimSet:
    """Claims about the same words.

    Attributes:
        kind: The respect that they differ in, as in `Contrast`.
        questions: Claims and questions that ask for them.
        passages: Claims and passages that make them.
        origin: The frame's number, or the id of the note that the sentence is from.
    """

    kind: str
    questions: tuple[tuple[str, str], ...]
    passages: tuple[tuple[str, str], ...]
    origin: str

    def making(self, claim: str) -> list[str]:
        """Passages that make a claim."""
        return [text for made, text in self.passages if made == claim]

    def differing(self, claim: str) -> list[str]:
        """Passages that make another."""
        return [text for made, text in self.passages if made != claim]


def of_contrast(contrast: Contrast) -> ClaimSet:
    """The two claims of a contrast, of which one is asked for."""
    told = ((contrast.claim, contrast.fits), ("", contrast.differs))
    return ClaimSet(contrast.kind, ((contrast.claim, contrast.query),), told, contrast.origin)


def of_frame(rules: Rules, number: int, rng: random.Random, contexts: Sequence[str] = ()) -> ClaimSet:
    """Write claims of a frame, the same sentences for each as far as they can make it.

    Args:
        rules: The rules.
        number: Of the frame.
        rng: Of every choice.
        contexts: Real sentences to put before some of the passages.
    """
    frame = rules.frames[number]
    fillings = fillings_of(frame["slot"], frame, rules.words, rng)
    claims = rng.sample(sorted(fillings), min(len(fillings), CLAIMS))
    asked = [
        (claim, text) for claim in claims for text in _asked(frame, claim, fillings, QUESTIONS // len(claims), rng)
    ]
    told = _told(rules, frame, claims, fillings, contexts, rng)
    return ClaimSet(frame["kind"], tuple(asked), tuple(told), f"frame {number}")


def _asked(frame: Mapping[str, Any], claim: str, fillings: Fillings, count: int, rng: random.Random) -> list[str]:
    ways = ways_to_ask(frame, claim)
    return [filled(way, fillings[claim]) for way in rng.sample(ways, min(count, len(ways)))]


def _told(
    rules: Rules,
    frame: Mapping[str, Any],
    claims: Sequence[str],
    fillings: Fillings,
    contexts: Sequence[str],
    rng: random.Random,
) -> list[tuple[str, str]]:
    """Passages of each claim. A row's passages share the sentence before them and the person, so that only the claim differs."""
    usable = [row for row in rows_of(frame, fillings) if any(claim in row for claim in claims)]
    rng.shuffle(usable)
    told: list[tuple[str, str]] = []
    wanted = dict.fromkeys(claims, PASSAGES // len(claims))
    plain = [row for row in frame.get("rows", ()) if rules.joins and "{o}" not in str(row).lower()]
    for row in usable:
        context, person = context_of(contexts, fillings[claims[0]], rng), rules.person(rng)
        said = {claim: said_of(person, filled(row[claim], fillings[claim])) for claim in claims if claim in row}
        if row in plain and rng.random() < JOINED_SHARE:
            said = _joined(rules, row, rng.choice(plain), list(said), fillings, person, rng) or said
        for claim, text in said.items():
            if wanted[claim]:
                wanted[claim] -= 1
                told.append((claim, context + text))
        if not any(wanted.values()):
            break
    return told


def _joined(
    rules: Rules,
    row: Mapping[str, str],
    other: Mapping[str, str],
    claims: Sequence[str],
    fillings: Fillings,
    person: str,
    rng: random.Random,
) -> dict[str, str]:
    """Two claims, each of one word beside the other claim of another word. Empty where the second row does not make them."""
    made = [claim for claim in claims if claim in other]
    if len(made) < 2 or "o" not in fillings[claims[0]]:  # there is no word to exchange
        return {}
    one, two = rng.sample(made, 2)
    words = fillings[one]
    exchanged = {**words, "x": words["o"], "site": words["o"]}
    both = [(row[one], 0), (other[two], 1)]
    rng.shuffle(both)
    join = rng.choice(rules.joins)
    return {
        claim: _one_sentence([said_of(person, filled(said, (own, els)[place])) for said, place in both], join)
        for claim, own, els in ((one, words, exchanged), (two, exchanged, words))
    }


def _one_sentence(parts: Sequence[str], join: str) -> str:
    """Two sentences about the same person as one."""
    first, second = parts
    subject = re.match(r"(?:She|He)\b", first)
    if subject:
        second = said_of(subject[0], second)
    opening = second.split(" ", 1)[0]
    if not join.startswith(".") and opening.isalpha() and opening[1:].islower():
        second = second[0].lower() + second[1:]
    return first.rstrip(".") + join + second
