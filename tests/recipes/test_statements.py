"""Questions made of statements by moving words."""

import pytest

from medembed.clinical.questions import questions
from medembed.recipes.records import Note
from medembed.recipes.schema import Extractive
from medembed.recipes.writers.extractive import ExtractiveWriter

GOUT = "Gout was looked at in two hundred adults of one town. "


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The primary end point was the number of attacks.", ["What was the primary end point?"]),
        ("Flaviviruses are a genus of RNA viruses.", ["What are flaviviruses?"]),
        (
            "However, serum urate was lower with allopurinol than with placebo (Table 2), whereas pain was not.",
            ["Was serum urate lower with allopurinol than with placebo?", "What was lower with allopurinol than with placebo?"],
        ),
        (
            "Our results suggest that attacks of gout can be prevented by colchicine.",
            ["Can attacks of gout be prevented by colchicine?", "What can be prevented by colchicine?"],
        ),
        (
            "Allopurinol has been used in gout since 1966.",
            ["Has allopurinol been used in gout since 1966?", "What has been used in gout since 1966?"],
        ),
        ("Attacks were shorter after early treatment.", ["Were attacks shorter after early treatment?", "What was shorter after early treatment?"]),
        ("Twelve of the women were treated at home.", ["How many of the women were treated at home?"]),
        ("DNA was extracted from frozen blood.", ["Was DNA extracted from frozen blood?", "What was extracted from frozen blood?"]),
    ],
)  # fmt: skip
def test_words_move_and_none_changes(sentence: str, expected: list[str]) -> None:
    assert list(questions(sentence)) == expected


@pytest.mark.parametrize(
    "sentence",
    [
        "Colchicine prevents attacks of gout.",
        "This was lower with allopurinol than with placebo.",
        "Serum urate was lower in our cohort of older adults.",
        "When urate is high, attacks are more frequent than otherwise.",
        "Attacks were shorter.",
        "Whether gout is a cause or a marker is a matter of debate.",
        "",
    ],
    ids=["another verb", "points back", "points at us", "a clause", "says too little", "a clause as subject", "empty"],
)
def test_what_cannot_be_asked_by_moving_words_is_not(sentence: str) -> None:
    assert list(questions(sentence)) == []


def test_a_window_is_asked_for_what_one_of_its_statements_says() -> None:
    text = GOUT + "They took allopurinol every day. The median follow-up was 12 months. Some of them fell ill."
    [written] = ExtractiveWriter(Extractive(kinds=("asked",))).write([Note("0" * 16, "d", "s", "", "", text)])
    assert [(pair.query, pair.passage, pair.source) for pair in written.pairs] == [
        ("Was gout looked at in two hundred adults of one town?", text, "s:asked")
    ]


def test_the_notes_hash_says_which_statement_is_asked() -> None:
    text = GOUT + "The median follow-up was 12 months."
    asked = {
        pair.query
        for first in range(2)
        for second in range(2)
        for written in ExtractiveWriter(Extractive(kinds=("asked",))).write(
            [Note(f"{first:08x}{second:08x}", "d", "s", "", "", text)]
        )
        for pair in written.pairs
    }
    assert asked == {
        "Was gout looked at in two hundred adults of one town?",
        "What was looked at in two hundred adults of one town?",
        "What was the median follow-up?",
    }
