"""What a query asks to be asserted, and how a passage answers it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medembed.clinical.agreement import lowered, verdict
from medembed.clinical.asked import asked
from medembed.clinical.assertions import scopes
from medembed.errors import SettingError

# a query, and of its words the existence, the person and the times that it asks for
READ = [
    ("patient without chest pain", "negated", "patient", ""),
    ("no chest pain", "negated", None, ""),
    ("denies chest pain", "negated", None, ""),
    ("lack of chest pain", "negated", None, ""),
    ("patient with chest pain", "affirmed", "patient", "now past"),
    ("family history of chest pain", "affirmed", "family", "now past"),
    ("mother with chest pain", "affirmed", "mother", "now past"),
    ("chest pain in a sister", None, "sister", ""),
    ("history of chest pain", "affirmed", "patient", "now past"),
    ("h/o chest pain", "affirmed", "patient", "now past"),
    ("hx of chest pain", "affirmed", "patient", "now past"),
    ("c/o chest pain", "affirmed", None, "now past"),
    ("pt w/o chest pain", "negated", "patient", ""),
    ("chest pain years ago", None, None, "past"),
    ("chest pain at present", "affirmed", None, "now"),
    ("possible chest pain", "possible", None, ""),
    ("scheduled for chest pain", None, None, "hypothetical"),
    ("does the patient have chest pain?", "affirmed", "patient", "now past"),
]


@pytest.mark.parametrize(("query", "existence", "person", "times"), READ)
def test_a_query_says_what_its_words_have_to_be(
    query: str, existence: str | None, person: str | None, times: str
) -> None:
    wishes = {wish.stem: wish for wish in asked(query)}
    assert set(wishes) == {"chest", "pain"}
    for wish in wishes.values():
        assert (wish.existence, wish.person, wish.times) == (existence, person, frozenset(times.split()))


def test_each_word_has_its_own_wish() -> None:
    assert {wish.stem: wish.existence for wish in asked("patient with cough without fever")} == {
        "cough": "affirmed",
        "fever": "negated",
    }


@pytest.mark.parametrize(
    "query",
    [
        "chest pain",
        "treatment of gout",
        "What causes no fever in childhood pneumonia?",
        "Why is gout not treated with aspirin",
        "Vitamin D does not lower the risk of fractures in women of more than sixty years who live at home",
        "risk of stroke",
        "",
    ],
)
def test_a_topic_asks_for_no_assertion(query: str) -> None:
    assert asked(query) == []


def test_an_assertion_that_is_named_wins() -> None:
    assert asked("patient without gout", "any") == []
    assert [wish.existence for wish in asked("what is gout", "negated")] == ["negated"]
    assert [wish.existence for wish in asked("no gout", "affirmed")] == ["affirmed"]
    with pytest.raises(SettingError, match=re.escape("assertion='denied': choose one of affirmed, negated, any")):
        asked("gout", "denied")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "text", "wrong"),
    [
        ("patient with chest pain", "She reports chest pain.", 0.0),
        ("patient with chest pain", "She denies chest pain.", 1.0),
        ("patient with chest pain", "Possible chest pain.", 0.5),
        ("patient with chest pain", "Her mother had chest pain.", 1.0),
        ("patient with chest pain", "Return for chest pain.", 0.8),
        ("patient with chest pain", "Toenail fungus.", 0.0),
        ("patient with chest pain", "Denies chest pain at rest. Chest pain with exercise.", 0.0),
        ("patient with chest pain", "Denies fever. Chest pain.", 0.0),
        ("patient without chest pain", "She denies chest pain.", 0.0),
        ("patient without chest pain", "She reports chest pain.", 1.0),
        ("mother with gout", "Her father had gout.", 1.0),
        ("mother with gout", "FH: gout", 0.0),
        ("sibling with gout", "Her brother had gout.", 0.0),
        ("history of gout", "Father had gout.", 1.0),
        ("h/o gout", "Family history of gout.", 1.0),
        ("family history of gout", "Father had gout.", 0.0),
        ("family history of gout", "History of gout.", 1.0),
        ("no history of gout", "Father had gout.", 1.0),
        ("gout at present", "Gout years ago.", 0.8),
        # one word of four: it speaks of something else
        ("patient with painful swollen left knee", "No swollen calf.", 0.0),
    ],
)
def test_a_passage_is_wrong_where_it_asserts_something_else(query: str, text: str, wrong: float) -> None:
    assert verdict(asked(query), text).wrong == pytest.approx(wrong)


def test_the_verdict_names_the_scopes_of_the_words() -> None:
    text = "No fever. She denies chest pain."
    (scope,) = verdict(asked("patient with chest pain"), text).scopes
    assert text[scope.trigger_start : scope.end] == "denies chest pain"


SAID = [
    "No fever.",
    "Her mother",
    "had gout",
    "denies",
    "fever",
    "and",
    "gout.",
    "FH: gout",
    "\n\n",
    "Fever: no",
    "Dr. May",
    ", but",
    "İ",
]


@given(
    st.lists(st.sampled_from(SAID), max_size=12).map(" ".join),
    st.sampled_from(["patient with fever and gout", "mother with gout"]),
)
def test_scopes_found_for_the_sentences_that_count_are_those_of_the_whole_text(text: str, query: str) -> None:
    assert verdict(asked(query), text) == verdict(asked(query), text, scopes(text))


def test_a_score_falls_also_below_zero() -> None:
    assert lowered(-0.4, 1.0, 0.5) == pytest.approx(-0.6)
    assert lowered(0.4, 0.0) == 0.4
