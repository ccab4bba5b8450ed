"""MaxSim against the definition, hand-worked cases, and lists that do not fit."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medembed.colbert import maxsim as module
from medembed.colbert.maxsim import blocks, maxsim
from medembed.errors import VectorError


def unit_rows(rng: np.random.Generator, lengths: list[int], dim: int = 8) -> list[np.ndarray]:
    rows = [rng.normal(size=(length, dim)).astype(np.float32) for length in lengths]
    return [row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows]


def by_definition(queries: list[np.ndarray], documents: list[np.ndarray]) -> list[list[float]]:
    return [[sum(max(float(q @ d) for d in document) for q in query) for document in documents] for query in queries]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=6), st.lists(st.integers(1, 40), max_size=12), st.integers(0, 2**32 - 1))
def test_every_score_is_the_definitions(query_lengths: list[int], lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, documents = unit_rows(rng, query_lengths), unit_rows(rng, lengths)
    found = maxsim(queries, documents)
    assert found.shape == (len(queries), len(documents))
    assert found.dtype == np.float32
    if found.size:
        np.testing.assert_allclose(found, by_definition(queries, documents), atol=1e-5)


def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    queries, documents = unit_rows(rng, [3, 9, 1]), unit_rows(rng, [5, 17, 2, 30])
    whole = maxsim(queries, documents)
    monkeypatch.setattr(module, "BLOCK_TOKENS", 20)
    monkeypatch.setattr(module, "QUERY_TOKENS", 4)
    np.testing.assert_allclose(maxsim(queries, documents), whole, atol=1e-6)


def test_no_padding_wins_over_a_negative_similarity() -> None:
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    opposite, long = -query, np.tile(-query, (7, 1))
    np.testing.assert_allclose(maxsim([query], [opposite, long]), [[-1, -1]])


@pytest.mark.parametrize(
    ("lengths", "most", "expected"),
    [
        ([], 5, []),
        ([9], 5, [slice(0, 1)]),
        ([2, 3, 1], 5, [slice(0, 2), slice(2, 3)]),
        ([1, 9, 1], 5, [slice(0, 1), slice(1, 2), slice(2, 3)]),
    ],
    ids=["none", "too long", "full", "too long between"],
)
def test_blocks_cover_rows_in_order(lengths: list[int], most: int, expected: list[slice]) -> None:
    assert list(blocks(lengths, most)) == expected


ONE = np.ones((2, 4), dtype=np.float32)


@pytest.mark.parametrize(
    ("queries", "documents", "message"),
    [
        ([ONE], ONE, "document vectors are one array of shape (2, 4): give a list of (tokens, dim) arrays"),
        ([ONE[0]], [ONE], "query 0 has shape (4,), but (tokens, dim) is needed"),
        ([ONE], [ONE, ONE[:0]], "document 1 has no tokens, so there is nothing to compare"),
        ([ONE], [ONE, ONE[:, :3]], "document 1 has 3 dimensions, document 0 has 4"),
        ([ONE], [ONE[:, :3]], "query vectors have 4 dimensions, document vectors 3: encode both with one model"),
    ],
    ids=["matrix", "vector", "empty", "ragged dimensions", "two models"],
)
def test_what_does_not_fit_is_named(queries: Any, documents: Any, message: str) -> None:
    with pytest.raises(VectorError, match=re.escape(message)):
        maxsim(queries, documents)
