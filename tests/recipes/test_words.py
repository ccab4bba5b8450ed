"""The words of a recipe: how they are looked for, and which are refused."""

import pytest
from pydantic import ValidationError

from medembed.clinical.sentences import sentence_spans, windows
from medembed.recipes.records import Note
from medembed.recipes.schema import Extractive
from medembed.recipes.words import ENGLISH, Card, Words
from medembed.recipes.writers.extractive import ExtractiveWriter

RULE = "Under Sec. 4 para. 2 notice is given on paper. Oral notice has no effect."


@pytest.mark.parametrize(
    ("word", "text", "fits"),
    [
        ("case", "case", True),
        ("case", "CASE", True),
        ("case", "cases", False),
        ("case*", "cases", True),
        ("case*", "showcase", False),
        ("*case", "showcase", True),
        ("*case", "cases", False),
        ("*case*", "showcases", True),
        ("side effect*", "side effects", True),
        ("a.b", "aXb", False),
    ],
)
def test_a_star_stands_for_any_letters_at_that_end(word: str, text: str, fits: bool) -> None:
    assert (Words(common=(word,)).says_little.search(text) is not None) is fits


@pytest.mark.parametrize(
    ("words", "sentences"),
    [(ENGLISH, 4), (Words(abbreviations=("Sec", "para")), 2), (Words(abbreviations=("Sec",)), 3)],
    ids=["of English", "of the field", "one missing"],
)
def test_abbreviations_of_the_field_end_no_sentence(words: Words, sentences: int) -> None:
    assert len(list(sentence_spans(RULE, words.abbreviated))) == sentences


def test_windows_end_where_sentences_of_the_field_end() -> None:
    text = " ".join([RULE] * 3)
    words = Words(abbreviations=("Sec", "para"))
    cut = [text[start:end] for start, end in windows(text, 10, words.abbreviated)]
    assert cut == ["Under Sec. 4 para. 2 notice is given on paper.", "Oral notice has no effect."] * 3


def test_an_abbreviation_may_be_long() -> None:
    text = "Filed with the Amtsgerichtsprozessordnung. Paris agrees."
    assert len(list(sentence_spans(text, Words(abbreviations=("Amtsgerichtsprozessordnung",)).abbreviated))) == 1


@pytest.mark.parametrize(
    ("words", "query", "points"),
    [
        (Words(pointed_at=("party",)), "what the other party owes", True),
        (Words(pointed_at=("party",)), "what a party owes", False),
        (Words(pointed_at=()), "what the other party owes", False),
        (Words(openers=("hence",)), "Hence it is void", True),
        (Words(openers=("hence",)), "It is void hence", False),
        (Words(pointers=("der",), pointed_at=("Fall",)), "was der Fall zeigt", True),
    ],
)
def test_queries_that_point_at_something(words: Words, query: str, points: bool) -> None:
    assert (words.anaphoric.search(query) is not None) is points


def test_the_first_question_that_fits_a_heading_is_asked() -> None:
    words = Words(questions={"How does {} end?": ("ending*",), "What is {}?": ("*e*",)})
    text = "A tenant ends a lease with one month of notice to the end of any month."
    for heading, query in (("Ending", "How does lease end?"), ("Scope", "What is lease?"), ("On top", None)):
        note = Note("0" * 16, "d", "s", "lease", heading, text)
        [written] = ExtractiveWriter(Extractive(kinds=("question",)), words).write([note])
        assert [pair.query for pair in written.pairs] == ([query] if query else [])


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (Words, {"common": ("",)}, "a word has no letter"),
        (Words, {"questions": {"What is {}?": ("*",)}}, "a word has no letter"),
        (Words, {"questions": {"What is it?": ("scope",)}}, "needs one {}"),
        (Words, {"questions": {"Is {} {}?": ("scope",)}}, "needs one {}"),
        (Card, {"language": "English"}, "match pattern"),
        (Card, {"tags": ("a\n- b",)}, "match pattern"),
    ],
)
def test_what_cannot_be_a_word_is_refused(kind: type[Words | Card], values: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        kind.model_validate(values)
