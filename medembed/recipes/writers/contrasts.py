"""Contrasts: a query, a passage that fits it, and one that differs in a single respect.

Written by rule, from frames with words in them and from real sentences with one word changed. The rules are data
(``recipes/contrasts/*.toml``); nothing here knows a clinical word.
"""

import hashlib
import itertools
import random
import re
import tomllib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

from medembed.recipes.records import content_id

Part = Literal["training", "held_out", "all"]
Fillings = dict[str, dict[str, str]]
# Every fourth word of a list is held out: no passage of training names it.
HELD_OUT_EVERY = 4
# Half of the frames stand behind a real sentence of a note, as claims in notes do.
CONTEXT_SHARE = 0.5
# Share of contrasts that speak of another person than the frame's "She" or "He".
PERSON_SHARE = 0.6
# Words of a frame, {x}, {o} and {p}; its key `words` asks for {q} and {r} too.
WORDS = 3
# Characters of a clause in which a changed word reaches the words after it.
CLAUSE = 70
# Names of an ontology that people write into a sentence: some small words, no code and no number
_PLAIN_NAME = re.compile(r"[A-Za-z][a-z'-]+(?: [A-Za-z][a-z'-]+){0,3}")
LONGEST_NAME = 32
_AGES = (2, 7, 16, 24, 35, 48, 61, 70, 84, 93)
_SPANS = ("two hours", "three days", "two weeks", "six weeks", "three months", "two years", "ten years")
_OTHER_UNITS = {"mg": "mcg", "mcg": "mg", "units": "mL"}
_RULES = resources.files("medembed.recipes") / "contrasts"
_SLOTS = {"finding": "findings", "condition": "conditions", "procedure": "procedures", "site": "sites"}


@dataclass(frozen=True, slots=True)
class Contrast:
    """A query and passages that differ in one respect only.

    Attributes:
        kind: The respect: ``negation``, ``whose``, ``when``, ``certainty``, ``side``, ``quantity``, ``drug`` or ``severity``.
        claim: The claim, for instance ``absent``; ``one`` or ``other`` where claims differ in a value.
        query: Asks for that claim.
        fits: Makes that claim.
        differs: Makes another claim in the same words.
        also_fits: Makes the claim of ``fits`` in other words; empty unless asked for.
        origin: The frame's number, or the id of the note that the sentence is from.
    """

    kind: str
    claim: str
    query: str
    fits: str
    differs: str
    also_fits: str
    origin: str


@dataclass(frozen=True)
class Rules:
    """The rules of one part.

    Attributes:
        frames: Frames with their questions, as in ``training.toml``.
        edits: Changes of real sentences, as in ``edits.toml``.
        words: Words that the frames are filled with, those of the part only.
        persons: Whom a frame that begins with "She" or "He" may speak of instead.
        joins: What may stand between two sentences that become one.
    """

    frames: Sequence[Mapping[str, Any]]
    edits: Sequence[Mapping[str, Any]]
    words: Mapping[str, Sequence[Any]]
    persons: Sequence[str] = ()
    joins: Sequence[str] = ()

    @cached_property
    def patterns(self) -> dict[str, re.Pattern[str]]:
        """One expression for each slot, which finds its words in a sentence."""
        return {
            slot: re.compile(rf"\b(?:{'|'.join(re.escape(word) for word in sorted(self.words[kind], key=len, reverse=True))})\b", re.IGNORECASE)
            for slot, kind in _SLOTS.items()
        }  # fmt: skip

    def person(self, rng: random.Random) -> str:
        """Draw whom a passage speaks of, empty for the frame's own."""
        return rng.choice(self.persons) if self.persons and rng.random() < PERSON_SHARE else ""

    def asks(self, kind: str, slot: str) -> Mapping[str, Sequence[str]]:
        """The questions of a kind and slot, by claim."""
        for frame in self.frames:
            if (frame["kind"], frame["slot"]) == (kind, slot):
                asks: Mapping[str, Sequence[str]] = frame["asks"]
                return asks
        return {}


def load_rules(part: Part, frames: Path | None = None) -> Rules:
    """Read the rules.

    Args:
        part: ``"training"`` takes three quarters of the words, ``"held_out"`` the others, ``"all"`` both.
        frames: Another file of frames than the training's.
    """
    text = frames.read_text(encoding="utf-8") if frames else (_RULES / "training.toml").read_text(encoding="utf-8")
    words = tomllib.loads((_RULES / "words.toml").read_text(encoding="utf-8"))
    told = tomllib.loads(text)
    return Rules(
        told["frames"],
        tomllib.loads((_RULES / "edits.toml").read_text(encoding="utf-8"))["edits"],
        {
            name: [word for word in listed if part in ("all", "held_out" if is_held_out(word) else "training")]
            for name, listed in words.items()
        },
        told.get("persons", ()),
        told.get("joins", ()),
    )


def rules_mark() -> str:
    """Hash of the rules that training reads. Other rules write other contrasts."""
    return content_id(
        *((_RULES / name).read_text(encoding="utf-8") for name in ("training.toml", "words.toml", "edits.toml"))
    )


def with_names(rules: Rules, names: Mapping[str, Sequence[str]]) -> Rules:
    """Rules that fill their frames with these names too.

    A name that is no plain phrase is left out, and so is one with a word in it that is kept for measuring.

    Args:
        rules: The rules.
        names: A list of ``words.toml`` → the names added to it.

    Example:
        >>> rules = with_names(load_rules("training"), {"conditions": ["myelofibrosis", "FANCF", "heart block 2"]})
        >>> rules.words["conditions"][-1]
        'myelofibrosis'
    """
    measured = {str(word).lower() for words in load_rules("held_out").words.values() for word in words}
    added = {
        listed: sorted(
            {name for name in given if _is_plain(name) and not _named_in(measured, name)} - set(rules.words[listed])
        )
        for listed, given in names.items()
    }
    return replace(rules, words={name: [*words, *added.get(name, [])] for name, words in rules.words.items()})


def _is_plain(name: str) -> bool:
    return len(name) <= LONGEST_NAME and _PLAIN_NAME.fullmatch(name) is not None


def _named_in(words: Container[str], name: str) -> bool:
    """Whether some words of the name, side by side, are one of ``words``."""
    parts = name.lower().split()
    spans = itertools.combinations(range(len(parts) + 1), 2)
    return any(" ".join(parts[first:last]) in words for first, last in spans)


def is_held_out(word: object) -> bool:
    """Tell whether a word, or a row of them, is kept for measuring."""
    return hashlib.sha256(str(word).encode()).digest()[0] % HELD_OUT_EVERY == 0


def from_frames(rules: Rules, seed: int, contexts: Sequence[str] = ()) -> Iterator[Contrast]:
    """Write contrasts from frames, kind by kind in turn, without end.

    Args:
        rules: The rules.
        seed: Of every choice.
        contexts: Real sentences to put before some of the passages.
    """
    rng = random.Random(seed)  # noqa: S311
    for number in cycle(range(len(rules.frames))):
        frame = rules.frames[number]
        fillings = fillings_of(frame["slot"], frame, rules.words, rng)
        fitting, other = rng.sample(sorted(fillings), 2)
        rows = rows_of(frame, fillings)
        row = rng.choice([place for place, said in enumerate(rows) if fitting in said and other in said])
        others = [place for place, said in enumerate(rows) if fitting in said and place != row]
        again = rng.choice(others)
        query = filled(rng.choice(ways_to_ask(frame, fitting)), fillings[fitting])
        context = context_of(contexts, fillings[fitting], rng)
        person = rules.person(rng)
        fits, differs, also_fits = (
            context + said_of(person, filled(rows[place][claim], fillings[claim]))
            for place, claim in ((row, fitting), (row, other), (again, fitting))
        )
        if also_fits == fits:  # two rows that only name the person in other words
            continue
        yield Contrast(frame["kind"], fitting, query, fits, differs, also_fits, f"frame {number}.{row}")


def from_sentences(rules: Rules, sentences: Sequence[tuple[str, str]], seed: int) -> Iterator[Contrast]:
    """Write contrasts from real sentences by changing one word.

    Args:
        rules: The rules.
        sentences: Note ids and sentences.
        seed: Of the choice of questions.
    """
    rng = random.Random(seed)  # noqa: S311
    for note_id, sentence in sentences:
        for edit in rules.edits:
            drafted = _edited(rules, edit, sentence)
            if drafted is None:
                continue
            changed, filling = drafted
            was, became = edit["claims"]
            asks = rules.asks(edit["kind"], edit["slot"])
            yield Contrast(edit["kind"], was, filled(rng.choice(asks[was]), filling), sentence, changed, "", note_id)
            yield Contrast(
                edit["kind"], became, filled(rng.choice(asks[became]), filling), changed, sentence, "", note_id
            )
            break


def _edited(rules: Rules, edit: Mapping[str, Any], sentence: str) -> tuple[str, dict[str, str]] | None:
    """The sentence with one word changed, and the words of its slot. None where the edit does not apply."""
    for old, new in edit["changes"]:
        place = re.search(rf"\b{re.escape(old)}\b", sentence)
        if place is None:
            continue
        # a claim ends where its clause does
        clause = re.split(r"[.;:]| but | however ", sentence[place.end() :], maxsplit=1)[0][:CLAUSE]
        words = rules.patterns[edit["slot"]].findall(clause)
        negated_already = re.search(
            r"\b(?:no|not|without|denie[sd])\b", sentence[: place.start()] + clause, re.IGNORECASE
        )
        if not words or (edit["kind"] != "side" and negated_already) or len(re.findall(re.escape(old), sentence)) > 1:
            return None
        if edit["slot"] == "site" and not clause.lstrip().lower().startswith(words[0].lower()):
            return None
        changed = sentence[: place.start()] + new + sentence[place.end() :]
        if edit["slot"] == "site":
            return changed, {"site": words[0].lower(), "f": "problem"}
        word = words[0] if words[0].isupper() else words[0][0].lower() + words[0][1:]
        return changed, {"x": word}
    return None


def rows_of(frame: Mapping[str, Any], claims: Iterable[str]) -> Sequence[Mapping[str, str]]:
    """Sentences of a frame: claim → what is said. Where claims differ in a value, each sentence makes all of them."""
    return frame.get("rows") or [dict.fromkeys(claims, said) for said in frame["says"]]


def ways_to_ask(frame: Mapping[str, Any], claim: str) -> Sequence[str]:
    """Questions of a frame that ask for a claim."""
    ways: Sequence[str] = frame["asks"].get(claim) or frame["asks"]["value"]
    return ways


def said_of(person: str, sentence: str) -> str:
    """The sentence about somebody else: a frame's first "She" or "He" stands for anyone. As it is where nobody is named."""
    return re.sub(r"^(?:She|He)\b", person, sentence) if person else sentence


def context_of(contexts: Sequence[str], filling: Mapping[str, str], rng: random.Random) -> str:
    """A real sentence that does not speak of the claim's words, or nothing."""
    if not contexts or rng.random() >= CONTEXT_SHARE:
        return ""
    sentence = rng.choice(contexts)
    spoken = (filling.get(name, "").lower() for name in ("x", "o", "site", "drug"))
    return "" if any(word and word in sentence.lower() for word in spoken) else sentence + " "


def fillings_of(
    slot: str, frame: Mapping[str, Any], words: Mapping[str, Sequence[Any]], rng: random.Random
) -> Fillings:
    """The words of each claim. Claims differ in them only where the slot is what differs."""
    if slot in ("look_alike", "dose_times_ten", "dose_unit", "lab", "age", "duration"):
        return _values(slot, words, rng)
    drawn = [str(word) for word in rng.sample(words[_SLOTS[slot]], frame.get("words", WORDS))]
    filling = dict(zip("xopqr", drawn, strict=False)) | {"site": drawn[0], "f": str(rng.choice(words["site_findings"]))}
    return dict.fromkeys(frame["asks"], filling)


def _values(slot: str, words: Mapping[str, Sequence[Any]], rng: random.Random) -> Fillings:
    """The words of claims about a number or a name."""
    if slot == "look_alike":
        one, other = rng.sample(rng.choice(words["look_alikes"]), 2)
        return {"one": {"x": one, "o": other}, "other": {"x": other, "o": one}}
    if slot == "lab":
        analyte, unit, *values = rng.choice(words["labs"])
        named = zip(("low", "normal", "high"), values, strict=True)
        return {claim: {"x": analyte, "unit": unit, "value": str(value)} for claim, value in named}
    if slot in ("age", "duration"):
        x = rng.choice(words["findings"])
        one, other = rng.sample(_AGES if slot == "age" else _SPANS, 2)
        name = "age" if slot == "age" else "span"
        return {"one": {"x": x, name: str(one)}, "other": {"x": x, name: str(other)}}
    drug, dose, unit = rng.choice(words["doses"])
    wrong = {"dose": f"{dose * 10:g}"} if slot == "dose_times_ten" else {"unit": _OTHER_UNITS[unit]}
    right = {"drug": drug, "dose": f"{dose:g}", "unit": unit}
    return {"one": right, "other": right | wrong}


def filled(frame: str, filling: Mapping[str, str]) -> str:
    """A frame with its words, a capital where the frame asks for one, and no blank before a stop."""
    names = dict(filling) | {
        name[0].upper() + name[1:]: word[:1].upper() + word[1:] for name, word in filling.items() if name
    }
    return re.sub(r" +([.,])", r"\1", frame.format_map(names)).strip()
