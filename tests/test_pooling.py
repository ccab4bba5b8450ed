"""Pooling: the numpy reference, against sums written out."""

import numpy as np
import pytest

from medembed.checkpoints import keys
from medembed.runtime.head import pooled
from medembed.runtime.pooling import pool

STATES = np.array([[[1, 2], [3, 4], [100, 100]], [[5, 6], [7, 8], [9, 10]]], dtype=np.float32)
MASK = np.array([[True, True, False], [True, True, True]])


def test_mean_leaves_padding_out() -> None:
    np.testing.assert_allclose(pool(STATES, MASK, "mean"), [[2, 3], [7, 8]])


def test_cls_is_the_first_token() -> None:
    np.testing.assert_allclose(pool(STATES, MASK, "cls"), [[1, 2], [5, 6]])


def test_a_text_without_tokens_gives_zeros_not_nan() -> None:
    np.testing.assert_allclose(pool(STATES, np.zeros_like(MASK), "mean"), np.zeros((2, 2)))


@pytest.mark.parametrize("mode", sorted(keys.POOLING_FLAGS.values()))
@pytest.mark.parametrize("skipped", [0, 2])
def test_no_tokens_at_all_give_zeros_in_every_mode(mode: str, skipped: int) -> None:
    """As sentence-transformers pools a row of padding alone: a tokenizer without special tokens gives none for an empty text."""
    np.testing.assert_array_equal(pooled(np.empty((0, 3), dtype=np.float32), [mode], skipped), np.zeros(3))
