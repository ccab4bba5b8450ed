"""Words of clinical text, and BM25 over them."""

from pathlib import Path

import numpy as np
import pytest

from medembed.search.bm25 import Bm25
from medembed.search.words import words

WHOLE = {
    "HbA1c": "hba1c",
    "COVID-19": "covid-19",
    "5-HT3": "5-ht3",
    "IL‑6": "il-6",
    "1.5 mg": "1.5",
    "1,500 mL": "1500",
    "0,5 mg": "0,5",
    "SpO2": "spo2",
    "hepatitis C": "hepat_c",
    "type 2": "type_2",
    "vitamin a": "vitamin_a",
    "stage I": "stage_i",
    "AS": "as",
    "IT": "it",
    "OR": "or",
    "B": "b",
    "7": "7",
}
ALIKE = [
    ("Sjögren", "Sjo\u0308gren"),
    ("Ménière", "MENIERE"),
    ("500mg", "500 mg"),
    ("ﬁbrosis", "fibrosis"),
    ("T‑cell", "T-cell"),
    ("infections", "infection"),
    ("10 µg", "10 μg"),  # the micro sign, the Greek letter
    ("H₂O", "H2O"),
]
FIRST = {
    "hepatitis A": "hepatitis A spreads through food",
    "hepatitis B": "hepatitis B spreads through blood",
    "hepatitis C": "hepatitis C spreads through needles",
    "type 1 diabetes": "type 1 diabetes begins early",
    "type 2 diabetes": "type 2 diabetes begins late",
    "ankylosing AS": "AS stiffens the spine",
    "group B": "screening for group A or B streptococci",
    "vitamin a": "vitamin A helps the eye",
    "metoprolol 2.5 mg": "metoprolol 2.5 mg once",
}


@pytest.mark.parametrize(("text", "word"), WHOLE.items(), ids=WHOLE)
def test_codes_doses_letters_and_abbreviations_stay_whole(text: str, word: str) -> None:
    assert word in words(text)


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_spellings_of_one_word_are_one_word(one: str, other: str) -> None:
    assert words(one) == words(other)


@pytest.mark.parametrize("text", ["", "   ", "…", "the of and", "\ud800", "\0"])
def test_texts_without_words_have_none(text: str) -> None:
    assert words(text) == []


def test_a_list_of_letters_belongs_to_its_word() -> None:
    assert {"hepat_a", "hepat_b", "hepat_c"} <= set(words("hepatitis A, B and C"))
    assert {"type_1", "type_2"} <= set(words("type 1 or 2 diabetes"))


def test_an_article_is_no_letter() -> None:
    assert "a" not in words("a fever, a cough")


@pytest.mark.parametrize(("query", "passage"), FIRST.items(), ids=FIRST)
def test_the_passage_of_that_letter_or_number_comes_first(query: str, passage: str) -> None:
    passages = [*FIRST.values(), "metoprolol 25 mg once", "diabetes of any type", "it is a cold"]
    rows, scores = Bm25(passages).search([query], 2)
    assert passages[rows[0, 0]] == passage
    assert scores[0, 0] > scores[0, 1]


@pytest.mark.parametrize("passages", [[], ["", "   "], ["the"]], ids=["none", "blank", "small-words"])
def test_an_index_without_words_finds_nothing(passages: list[str], tmp_path: Path) -> None:
    made = Bm25(passages)
    made.save(tmp_path)
    for index in (made, Bm25.load(tmp_path)):
        assert index.scores("fever").tolist() == [0.0] * len(passages)
        assert index.search(["fever"], 3)[0].shape == (1, len(passages))


def test_a_saved_index_gives_the_same_scores(tmp_path: Path) -> None:
    passages = list(FIRST.values())
    made = Bm25(passages)
    made.save(tmp_path)
    for query in FIRST:
        np.testing.assert_array_equal(made.scores(query), Bm25.load(tmp_path).scores(query))
