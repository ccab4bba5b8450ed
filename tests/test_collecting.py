"""Files that are left out before their import: never one with a chosen test."""

import pytest

from tests.collecting import MARKS, may_hold_examples, may_hold_tests

QUICK = " and ".join(f"not {mark}" for mark in MARKS)
THOROUGH = "thorough and not slow"
PLAIN = "def test_it() -> None: ...\n"
WHOLE = "pytestmark = pytest.mark.{}\n"
LISTED = "pytestmark = [\n    pytest.mark.thorough,\n    pytest.mark.skipif(True, reason='no'),\n]\n"
ONE = "@pytest.mark.{}\ndef test_that() -> None: ...\n" + PLAIN


@pytest.mark.parametrize(
    ("text", "quick", "thorough", "slow"),
    [
        (PLAIN, True, False, False),
        (WHOLE.format("slow") + PLAIN, False, False, True),
        (WHOLE.format("thorough") + PLAIN, False, True, False),
        (WHOLE.format("thorough") + ONE.format("slow"), False, True, True),
        (LISTED + PLAIN, False, True, False),
        (ONE.format("thorough"), True, True, False),
        (ONE.format("slow"), True, False, True),
        ("    marks = [pytest.mark.slow]\n" + PLAIN, True, False, True),
    ],
    ids=["plain", "slow", "thorough", "one slow of the thorough", "a list", "one thorough", "one slow", "a parameter"],
)
def test_a_file_is_left_out_where_no_test_of_it_is_chosen(text: str, quick: bool, thorough: bool, slow: bool) -> None:
    assert [may_hold_tests(text, chosen) for chosen in (QUICK, THOROUGH, "slow")] == [quick, thorough, slow]


@pytest.mark.parametrize("chosen", ["", " ", "filterwarnings", "slow or", "network(name='x')"])
def test_what_is_not_understood_leaves_nothing_out(chosen: str) -> None:
    assert may_hold_tests(WHOLE.format("slow") + PLAIN, chosen)
    assert may_hold_examples(">>> 1\n1\n", chosen)


def test_a_module_without_an_example_is_not_imported_for_one() -> None:
    assert may_hold_examples('"""Text.\n\n    >>> 1\n    1\n"""\n', QUICK)
    assert not may_hold_examples('"""Text with >>> inside."""\n', QUICK)
    assert not may_hold_examples(">>> 1\n1\n", THOROUGH)
