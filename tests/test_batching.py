"""Planning: every text once, within the budget, little padding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medembed.runtime.batching import plan_batches, split_by_size

LENGTHS = st.lists(st.integers(0, 600), max_size=200)


@given(LENGTHS, st.integers(1, 5000), st.sampled_from([1, 4, 8, 64]))
def test_every_text_is_in_exactly_one_batch(lengths: list[int], budget: int, multiple: int) -> None:
    batches = plan_batches(lengths, budget, multiple=multiple)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 5000), st.sampled_from([1, 4, 8, 64]))
def test_padded_tokens_stay_within_the_budget(lengths: list[int], budget: int, multiple: int) -> None:
    for batch in plan_batches(lengths, budget, multiple=multiple):
        width = max(multiple, -(-max(lengths[i] for i in batch) // multiple) * multiple)
        assert len(batch) == 1 or len(batch) * width <= budget


@given(LENGTHS, st.integers(1, 5000))
def test_batches_go_from_long_to_short(lengths: list[int], budget: int) -> None:
    order = [lengths[i] for batch in plan_batches(lengths, budget) for i in batch]
    assert order == sorted(lengths, reverse=True)


def test_a_text_above_the_budget_runs_alone() -> None:
    assert plan_batches([5, 100, 5], 20) == [[1], [0, 2]]


@given(LENGTHS, st.integers(1, 5000))
def test_every_text_is_in_exactly_one_unit(sizes: list[int], most: int) -> None:
    units = split_by_size(sizes, most)
    assert sorted(index for unit in units for index in unit) == list(range(len(sizes)))
    assert all(unit for unit in units)


@given(LENGTHS, st.integers(1, 5000))
def test_a_unit_is_closed_once_it_is_full(sizes: list[int], most: int) -> None:
    for unit in split_by_size(sizes, most):
        assert sum(sizes[i] for i in unit[:-1]) < most


@pytest.mark.parametrize("plan", [plan_batches, split_by_size], ids=["batches", "units"])
def test_nothing_gives_nothing(plan: object) -> None:
    assert plan([], 10) == []  # type: ignore[operator]


def test_a_limit_of_rows_holds_beside_the_budget() -> None:
    batches = plan_batches([5] * 10 + [50], max_tokens=100, max_rows=4)
    assert max(map(len, batches)) == 4
    assert sorted(index for batch in batches for index in batch) == list(range(11))
