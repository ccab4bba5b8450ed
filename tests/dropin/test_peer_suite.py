"""The page on the tests of sentence-transformers says what their last run gave, and every difference has its reason."""

import json
from typing import Any

import pytest

from tests.dropin import peer_suite
from tests.dropin.peer_reasons import FILES, FORMS, REASONS, left_out


@pytest.fixture(scope="module")
def told() -> Any:
    return json.loads(peer_suite.RESULTS.read_text(encoding="utf-8"))


def test_the_page_has_the_tables_of_the_results(told: Any) -> None:
    page = peer_suite.PAGE.read_text(encoding="utf-8")
    assert page == peer_suite.written(page, peer_suite.tables(told))
    assert peer_suite.tables(told) in page


def test_every_difference_has_the_reason_of_the_table(told: Any) -> None:
    assert peer_suite.unexplained(told["tests"]) == []
    for row in told["tests"]:
        for form, result in row.get("forms", {}).items():
            differs = result["passed"] < result["cases"]
            assert result.get("why", "") == (peer_suite.reason(row["test"], form) if differs else ""), row["test"]


def test_no_reason_stands_for_what_passes(told: Any) -> None:
    """A reason that nothing needs any more has to go."""
    used = {
        (result["why"], form, row["test"].rpartition("::")[2])
        for row in told["tests"]
        for form, result in row.get("forms", {}).items()
        if "why" in result
    }
    given = {(why.sentence, form, name) for why in REASONS for form in why.forms for name in why.tests}
    assert given == used


def test_what_was_left_out_is_what_the_table_leaves_out(told: Any) -> None:
    for row in told["tests"]:
        why = left_out(row["test"].partition("::")[2])
        assert (
            (row.get("not about us") == why)
            if why
            else "not about us" not in row
            or row["not about us"]
            in (
                peer_suite.NO_MODEL,
                peer_suite.NOT_HERE,
            )
        )


def test_results_are_told_apart() -> None:
    """One case of each kind, in the form of the shim's own output."""
    file = next(name for name, forms in FILES.items() if "itself" in forms)

    def result(outcome: str, *, touched: bool = True) -> dict[str, Any]:
        return {"outcome": outcome, "why": "", "touched": touched}

    cases = {
        "test_some[a]": ("passed", result("passed")),
        "test_some[b]": ("passed", result("failed")),
        "test_some[c]": ("failed", result("failed")),
        "test_none": ("passed", result("passed", touched=False)),
        "test_far": ("skipped", result("skipped")),
    }
    results = {form: {f"tests/{file}::{name}": ours for name, (_, ours) in cases.items()} for form in FORMS}
    results["theirs"] = {f"tests/{file}::{name}": result(theirs) for name, (theirs, _) in cases.items()}
    rows = {row["test"].partition("::")[2]: row for row in peer_suite.judged(results)}
    assert rows["test_some"]["forms"]["itself"] == {"cases": 2, "passed": 1}
    assert rows["test_none"]["not about us"] == peer_suite.NO_MODEL
    assert rows["test_far"]["not about us"] == peer_suite.NOT_HERE
    assert f"{file}::test_some (itself)" in peer_suite.unexplained(list(rows.values()))
