"""Passages of notes: exact offsets, limits, overlap, and what odd notes give."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medembed import FakeEngine, MedColBERT, MedEmbed, Passage, split
from medembed.errors import InputTypeError, SettingError

WORDS = [
    "pain",
    "No",
    "fever.",
    "Dr.",
    "PLAN:",
    "Allergies",
    "\n",
    "\n\n",
    "- ",
    "1. ",
    "b.i.d.",
    "___",
    "x" * 60,
    "é",
    "🩺",
    "Denies:",
    "\r\n",
    "\t",
]
LONG = "".join(f"Day {number}: the patient walked and felt well, without fever or pain. " for number in range(60))


@pytest.fixture(scope="module")
def model() -> Iterator[MedEmbed]:
    with MedEmbed(engine=FakeEngine(dimension=16)) as model:
        yield model


def texts(passages: list[Passage]) -> list[str]:
    return [passage.text for passage in passages]


@settings(deadline=None)
@given(
    st.one_of(st.lists(st.sampled_from(WORDS), max_size=80).map(" ".join), st.text(max_size=300)),
    st.integers(8, 40),
    st.integers(0, 4),
)
def test_offsets_are_exact_and_nothing_is_lost(model: MedEmbed, note: str, max_tokens: int, overlap: int) -> None:
    found = split(note, model, max_tokens=max_tokens, overlap=overlap)
    covered: set[int] = set()
    for passage in found:
        assert note[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip() != ""
        covered.update(range(passage.start, passage.end))
    assert all(character.isspace() for place, character in enumerate(note) if place not in covered)
    assert all(before.start < after.start and before.end < after.end for before, after in pairwise(found))
    if not overlap:
        assert all(before.end <= after.start for before, after in pairwise(found))


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=80).map(" ".join), st.integers(8, 40))
def test_no_passage_is_above_the_limit(model: MedEmbed, note: str, max_tokens: int) -> None:
    found = split(note, model, max_tokens=max_tokens)
    around = model.count_tokens([""])[0]
    assert all(tokens - around <= max_tokens for tokens in model.count_tokens(texts(found)))


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param(" \n\t\r\n ", [], id="blank"),
        pytest.param("?! ... --- ***", ["?! ... --- ***"], id="only marks"),
        pytest.param("\ud800 pain", ["\ud800 pain"], id="half of a surrogate pair"),
        pytest.param("PLAN:", ["PLAN:"], id="only a heading"),
        # mini reads a word above 100 characters as one unknown token, so there is nothing to cut
        pytest.param("x" * 2_000_000, ["x" * 2_000_000], id="a word of 2 MB"),
    ],
)
def test_odd_notes(model: MedEmbed, note: str, expected: list[str]) -> None:
    assert texts(split(note, model)) == expected


def test_a_word_above_the_limit_is_cut_between_tokens(model: MedEmbed) -> None:
    note = "1" * 90  # a token for a few digits
    found = split(note, model, max_tokens=8)
    assert len(found) > 1
    assert "".join(texts(found)) == note


def test_marks_without_blanks_are_cut_between_tokens(model: MedEmbed) -> None:
    note = "-" * 100_000  # a token for each
    found = split(note, model, max_tokens=200)
    assert "".join(texts(found)) == note
    assert len(found) == 500


def test_long_sentences_are_cut_between_words_best_at_a_comma(model: MedEmbed) -> None:
    note = "denies chest pain, fever and chills, nausea, night sweats and palpitations at rest or on exertion"
    found = texts(split(note, model, max_tokens=8))
    assert " ".join(found) == note
    assert found[0].endswith(",")


def test_overlap_repeats_whole_sentences(model: MedEmbed) -> None:
    without = split(LONG, model, max_tokens=64)
    found = split(LONG, model, max_tokens=64, overlap=20)
    assert len(found) > len(without)
    assert all(after.start < before.end for before, after in pairwise(found))
    assert all(passage.text.startswith("Day ") for passage in found)


def test_a_negation_stays_with_its_list(model: MedEmbed) -> None:
    walk = "She walked to the end of the ward and back without help. " * 2
    note = f"{walk}\nDenies:\n- fever\n- chills\n- night sweats\n- weight loss\n{walk}"
    found = texts(split(note, model, max_tokens=40))
    assert any("Denies:" in text and "weight loss" in text for text in found)


def test_a_copied_paragraph_gives_equal_passages(model: MedEmbed) -> None:
    first = split(f"Seen on Monday. {LONG}", model, max_tokens=64)
    copied = split(f"HPI: Seen again.\n\n{LONG}\n\nStill well.", model, max_tokens=64)
    again = split(f"Short.\n\n{LONG}\n\nPLAN: none", model, max_tokens=64)
    shared = {*texts(copied)} & {*texts(again)}
    assert len(shared) >= len(copied) - 3
    assert first[0].section is None
    assert copied[-1].section == "history_of_present_illness"


def test_late_interaction_models_split_too() -> None:
    with MedColBERT(threads=1) as model:
        found = split(LONG, model, max_tokens=64)
        assert len(found) > 5
        assert model.room < model.document_length


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_tokens": 7}, "max_tokens=7: give a whole number from 8"),
        ({"max_tokens": 10_000}, "the model reads 382 tokens beside prompt"),
        ({"max_tokens": 64.0}, "max_tokens=64.0"),
        ({"overlap": -1}, "overlap=-1: give a whole number from 0"),
        ({"max_tokens": 64, "overlap": 33}, "give at most half of the 64 tokens"),
        ({"overlap": 100}, "give at most half of the 128 tokens"),
    ],
)
def test_settings_that_do_not_fit(model: MedEmbed, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        split("chest pain", model, **options)


def test_a_note_is_a_text(model: MedEmbed) -> None:
    with pytest.raises(InputTypeError, match="a note is a NoneType"):
        split(None, model)  # type: ignore[arg-type] # the mistake
