"""Pooling: the numpy reference, against sums written out."""

import numpy as np

from medembed.runtime.pooling import pool

STATES = np.array([[[1, 2], [3, 4], [100, 100]], [[5, 6], [7, 8], [9, 10]]], dtype=np.float32)
MASK = np.array([[True, True, False], [True, True, True]])


def test_mean_leaves_padding_out() -> None:
    np.testing.assert_allclose(pool(STATES, MASK, "mean"), [[2, 3], [7, 8]])


def test_cls_is_the_first_token() -> None:
    np.testing.assert_allclose(pool(STATES, MASK, "cls"), [[1, 2], [5, 6]])


def test_a_text_without_tokens_gives_zeros_not_nan() -> None:
    np.testing.assert_allclose(pool(STATES, np.zeros_like(MASK), "mean"), np.zeros((2, 2)))
