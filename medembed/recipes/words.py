"""The words of a recipe's field: what its texts abbreviate, what its queries point at, and what its card says."""

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated

from pydantic import Field, model_validator

from medembed.clinical.sentences import ABBREVIATIONS, Abbreviations, abbreviations
from medembed.recipes.section import Section


class Words(Section):
    """Words that rules look for, case aside. ``*`` at an end of a word stands for any letters; a list replaces the default whole.

    Attributes:
        abbreviations: Words before a full stop that ends no sentence, besides single capitals. Here case counts.
        pointers: Words before one of ``pointed_at``: "the case" may be any case.
        pointed_at: Words that tell nothing once a pointer stands before them. A query with both is dropped.
        openers: Words that point back where a query begins with them. Such a query is dropped.
        common: Words that nearly every text of the field has. The kind ``keyword`` leaves them out.
        vague: Subjects that mean another thing in every text. The kind ``asked`` asks nothing about them.
        questions: A question with ``{}`` for a document's title, and the words in a heading that ask it. The first that fits is
            asked.
    """

    abbreviations: tuple[str, ...] = ABBREVIATIONS
    pointers: tuple[str, ...] = ("the", "this", "that", "these", "those", "his", "her", "their", "our")
    pointed_at: tuple[str, ...] = (
        *("case", "man", "woman", "person", "study", "studies", "paper", "article", "review", "report", "result"),
        *("results", "finding", "findings", "author", "authors", "note", "passage", "text", "section", "table"),
        "figure",
    )
    openers: tuple[str, ...] = (
        *("he", "she", "it", "they", "we", "this", "these", "those", "such", "however", "therefore", "moreover"),
        *("furthermore", "in addition", "additionally", "similarly", "thus"),
    )
    common: tuple[str, ...] = (
        *("also", "although", "among", "based", "described", "different", "due", "et", "al", "figure", "furthermore"),
        *("however", "included", "including", "may", "might", "moreover", "present", "previous", "previously"),
        *("respectively", "several", "shown", "table", "therefore", "thus", "two", "three", "used", "using", "well"),
        *("whereas", "within", "would"),
    )
    vague: tuple[str, ...] = ("data", "results")
    questions: dict[str, tuple[str, ...]] = {
        "What is {}?": ("definition*", "overview"),
        "When does {} apply?": ("scope", "condition*", "requirement*"),
    }

    @model_validator(mode="after")
    def _are_words(self) -> "Words":
        lists = [getattr(self, name) for name in type(self).model_fields if name != "questions"]
        if any(not word.strip("* ") for words in (*lists, *self.questions.values()) for word in words):
            raise ValueError("a word has no letter: leave it out")
        if wrong := [question for question in self.questions if question.count("{}") != 1]:
            raise ValueError(f"words.questions: {wrong[0]!r} needs one {{}}, where the title goes")
        return self

    @cached_property
    def abbreviated(self) -> Abbreviations:
        """What ends no sentence."""
        return abbreviations(self.abbreviations)

    @cached_property
    def anaphoric(self) -> re.Pattern[str]:
        """A query that points at something: any text answers it."""
        pointer, target, opener = map(_any_of, (self.pointers, self.pointed_at, self.openers))
        return re.compile(rf"{pointer}\s+(?:\w+\s+)?{target}|^{opener}", re.IGNORECASE)

    @cached_property
    def says_little(self) -> re.Pattern[str]:
        """A word that tells no text from another."""
        return re.compile(_any_of(self.common), re.IGNORECASE)

    @cached_property
    def means_anything(self) -> re.Pattern[str]:
        """A subject that begins with a vague word."""
        return re.compile(_any_of(self.vague), re.IGNORECASE)

    @cached_property
    def asked(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        """Each question with what a heading must hold for it."""
        return tuple(
            (re.compile(_any_of(words), re.IGNORECASE), question) for question, words in self.questions.items()
        )


def _any_of(words: Iterable[str]) -> str:
    """An expression for any of some words; nothing matches where there are none."""
    whole = [
        ("" if word.startswith("*") else r"\b") + re.escape(word.strip("*")) + ("" if word.endswith("*") else r"\b")
        for word in words
    ]
    return f"(?:{'|'.join(whole)})" if whole else r"(?!)"


class Card(Section):
    """What only the recipe knows of its model's card: language, tags, an example, and for what the model is no good.

    Attributes:
        language: Of its texts, two or three letters.
        tags: For the hub's search.
        query: Of the example.
        passage: Of the example.
        limits: What it is for, and what it is not.
    """

    language: Annotated[str, Field(pattern="^[a-z]{2,3}$")] = "en"
    tags: tuple[Annotated[str, Field(pattern=r"^\w[\w .-]*$")], ...] = ()
    query: str = "Who has to pay for a parcel that got lost?"
    passage: str = "The carrier answers for a parcel until it is handed over."
    limits: str = "For search and research. Similarity says nothing about truth."


ENGLISH = Words()
