"""Paired tests: worked by hand, against exact enumeration, and honest under the null hypothesis."""

from itertools import product

import numpy as np
import pytest

from medembed.evaluation.paired import holm, paired_test


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    # 0.01 x 4, then max(0.04, 0.02 x 3), max(0.06, 0.03 x 2), max(0.06, 0.5 x 1), back in the order given
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])


def test_holm_never_exceeds_one() -> None:
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


def test_p_value_is_that_of_every_way_to_turn_the_signs() -> None:
    differences = np.array([0.3, 0.1, -0.05, 0.2, 0.0, 0.15])
    observed = abs(differences.sum())
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True))) for signs in product((1, -1), repeat=6)
    ]
    exact = np.mean([value >= observed - 1e-12 for value in sums])
    assert paired_test([differences]).p_value == pytest.approx(exact)


def test_p_value_weighs_tasks_not_queries() -> None:
    few, many = np.array([0.3, -0.1]), np.array([0.05, 0.1, -0.02, 0.04, 0.06, 0.01])

    def mean_of_means(signs: tuple[int, ...]) -> float:
        return abs(float(np.mean(few * signs[:2]) + np.mean(many * signs[2:])))

    sums = [mean_of_means(signs) for signs in product((1, -1), repeat=8)]
    exact = np.mean([value >= mean_of_means((1,) * 8) - 1e-12 for value in sums])
    assert paired_test([few, many]).p_value == pytest.approx(exact)


def test_difference_weighs_tasks_not_queries() -> None:
    test = paired_test([np.array([0.2, 0.4]), np.zeros(98)])
    assert test.difference == pytest.approx(0.15)
    assert test.n_queries == 100


def test_weights_are_scaled_to_one() -> None:
    parts = [np.array([0.1, 0.3]), np.array([0.5, 0.7]), np.array([-0.1, 0.1])]
    assert paired_test(parts, weights=[1.0, 1.0, 2.0]).difference == pytest.approx((0.2 + 0.6 + 0.0) / 4)


def test_equal_scores_show_nothing() -> None:
    test = paired_test([np.zeros(50)])
    assert (test.difference, test.low, test.high, test.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_constant_difference_has_an_interval_of_one_point() -> None:
    test = paired_test([np.full(30, 0.1)])
    assert test.low == test.high == pytest.approx(0.1)
    assert test.p_value < 0.001


def test_one_query_that_differs_has_a_finite_interval() -> None:
    test = paired_test([np.array([0.5] + [0.0] * 40)])
    assert np.isfinite([test.low, test.high]).all()
    assert test.p_value == 1.0


def test_same_input_same_answer() -> None:
    differences = [np.random.default_rng(1).normal(0.02, 0.2, 200)]
    assert paired_test(differences) == paired_test(differences)


def test_interval_holds_the_difference_and_narrows_with_queries() -> None:
    rng = np.random.default_rng(2)
    few, many = (paired_test([rng.normal(0.05, 0.2, n)]) for n in (50, 2000))
    for test in (few, many):
        assert test.low < test.difference < test.high
    assert many.high - many.low < (few.high - few.low) / 3


def test_chance_is_called_significant_about_as_often_as_promised() -> None:
    rng = np.random.default_rng(3)
    tests = [paired_test([rng.normal(0, 0.2, 40), rng.normal(0, 0.2, 60)], resamples=499, seed=i) for i in range(200)]
    called = sum(test.p_value < 0.05 for test in tests)
    missed = sum(not test.low <= 0 <= test.high for test in tests)
    # 10 of 200 are expected; 20 and more has a chance below 0.3 %.
    assert 1 <= called < 20
    assert 1 <= missed < 24
