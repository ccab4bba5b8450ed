"""Good inputs of every kind with changed bytes: nothing lost, nothing wrong, no raw error, no word of the data in a message."""

from typing import Any

import pytest

from tests.hostile import mutated

QUICK = {"files of rows": 80, "stores": 40, "replies": 200}


@pytest.mark.parametrize("kind", QUICK)
def test_changed_bytes_break_no_rule(kind: str) -> None:
    check(kind, QUICK[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", mutated.KINDS)
def test_many_changed_bytes_break_no_rule(kind: str) -> None:
    check(kind, 2500)


def check(kind: str, count: int) -> None:
    result: dict[str, Any] = mutated.KINDS[kind](count)
    assert result["faults"] == {}
    counted = sum(sum(told.values()) for told in result["kinds"].values())
    assert counted == result["mutations"] > 0
    assert len({outcome for told in result["kinds"].values() for outcome in told}) > 1, "all came to the same"
