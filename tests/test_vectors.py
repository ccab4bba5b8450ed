"""Vector arithmetic: cutting, quantizing, comparing; each against a definition written another way."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from medembed import vectors
from medembed.colbert.maxsim import maxsim
from medembed.colbert.token_pooling import pool_tokens
from medembed.errors import VectorError

ROWS = hnp.arrays(np.float32, st.tuples(st.integers(1, 20), st.just(16)), elements=st.floats(-1, 1, width=32))
UNIT_RANGES = np.array([[-1.0] * 16, [1.0] * 16], dtype=np.float32)


def sample(n: int = 400, dimension: int = 64, seed: int = 0) -> NDArray[np.float32]:
    return vectors.normalize(np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32))


@given(ROWS)
def test_normalized_vectors_have_length_one_or_zero(rows: NDArray[np.float32]) -> None:
    lengths = np.linalg.norm(vectors.normalize(rows), axis=1)
    big = np.linalg.norm(rows, axis=1) > 1e-6
    np.testing.assert_allclose(lengths[big], 1, atol=1e-4)
    assert np.isfinite(lengths).all()


@given(ROWS)
def test_int8_restores_to_within_half_a_step(rows: NDArray[np.float32]) -> None:
    stored = vectors.to_int8(rows, UNIT_RANGES)
    back = vectors.to_float(stored, "int8", UNIT_RANGES)
    assert np.abs(back - rows).max() <= 1 / 255 + 1e-6


@given(ROWS)
def test_one_vector_quantizes_as_it_does_among_others(rows: NDArray[np.float32]) -> None:
    together = vectors.to_uint8(rows, UNIT_RANGES)
    for row, expected in zip(rows, together, strict=True):
        np.testing.assert_array_equal(vectors.to_uint8(row, UNIT_RANGES), expected)


@given(ROWS)
def test_signed_and_unsigned_bytes_say_the_same(rows: NDArray[np.float32]) -> None:
    signed, unsigned = vectors.to_int8(rows, UNIT_RANGES), vectors.to_uint8(rows, UNIT_RANGES)
    np.testing.assert_array_equal(signed.astype(int) + 128, unsigned.astype(int))


@given(ROWS)
def test_bit_similarity_is_the_cosine_of_the_signs(rows: NDArray[np.float32]) -> None:
    signs = np.where(rows > 0, 1.0, -1.0)
    expected = signs @ signs.T / 16
    for kind, store in (("binary", vectors.to_binary), ("ubinary", vectors.to_ubinary)):
        stored = store(rows)
        np.testing.assert_allclose(vectors.similarity(stored, stored, kind), expected, atol=1e-6)  # type: ignore[arg-type]


def test_bits_agree_with_numpy_packing() -> None:
    rows = sample(5)
    np.testing.assert_array_equal(vectors.to_ubinary(rows), np.packbits(rows > 0, axis=1))


def test_bit_similarity_in_blocks_equals_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    bits = vectors.to_ubinary(sample(50))
    whole = vectors.similarity(bits, bits, "ubinary")
    monkeypatch.setattr(vectors, "BIT_BLOCK_BYTES", 100)
    np.testing.assert_array_equal(vectors.similarity(bits, bits, "ubinary"), whole)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_byte_similarity_is_close_to_the_cosine(kind: vectors.VectorKind) -> None:
    rows = sample()
    ranges = vectors.calibrate(rows)
    stored = vectors.quantize(rows, kind, ranges)
    np.testing.assert_allclose(vectors.similarity(stored, stored, kind, ranges), rows @ rows.T, atol=0.02)


def test_values_outside_the_ranges_are_clipped() -> None:
    row = np.full(16, 5.0, dtype=np.float32)
    assert (vectors.to_int8(row, UNIT_RANGES) == 127).all()
    assert (vectors.to_int8(-row, UNIT_RANGES) == -128).all()


def test_calibration_survives_dimensions_that_never_move() -> None:
    rows = sample()
    rows[:, 3] = 0
    ranges = vectors.calibrate(rows)
    assert (ranges[1] > ranges[0]).all()
    assert np.abs(vectors.to_float(vectors.to_int8(rows, ranges), "int8", ranges)[:, 3]).max() < 1e-4


def test_cut_keeps_the_first_dimensions_and_length_one() -> None:
    rows = sample(3)
    cut = vectors.cut(rows, 8)
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(cut / cut[:, :1], rows[:, :8] / rows[:, :1], rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: vectors.cut(sample(2), 65), "cannot cut to 65 dimensions: the vectors have 64"),
        (lambda: vectors.cut(sample(2), 0), "cannot cut to 0"),
        (lambda: vectors.calibrate(sample(50)), "at least 100"),
        (lambda: vectors.calibrate(np.ones((200, 8), np.float32)), "8 of 8 dimensions hardly vary"),
        (
            lambda: vectors.to_int8(sample(2), UNIT_RANGES),
            r"ranges have shape \(2, 16\), but these vectors need \(2, 64\)",
        ),
        (lambda: vectors.to_ubinary(np.ones((2, 12), np.float32)), "multiple of 8, not 12"),
        (lambda: vectors.quantize(sample(2), "int8"), "int8 vectors need the model's ranges"),
        (lambda: vectors.quantize(sample(2), "int4"), "unknown vector kind 'int4'"),  # type: ignore[arg-type]
        (
            lambda: vectors.similarity(sample(2), sample(2).astype(np.float64)),
            "have dtype float32, but these have float64",
        ),
        (lambda: vectors.similarity(sample(2), sample(2, 32)), "64 and 32 columns cannot be compared"),
    ],
    ids=["cut-long", "cut-zero", "few", "flat", "ranges", "bits", "no-ranges", "kind", "dtype", "columns"],
)
def test_errors_name_what_was_given_and_what_fits(call: object, says: str) -> None:
    with pytest.raises(VectorError, match=says):
        call()  # type: ignore[operator]


RANGES = np.array([[-1.0] * 64, [1.0] * 64], dtype=np.float32)
TAKES_FLOATS: dict[str, Callable[[Any], object]] = {
    "as_floats": vectors.as_floats,
    "normalize": vectors.normalize,
    "cut": lambda rows: vectors.cut(rows, 16),
    "calibrate": vectors.calibrate,
    "to_uint8": lambda rows: vectors.to_uint8(rows, RANGES),
    "to_int8": lambda rows: vectors.to_int8(rows, RANGES),
    "to_ubinary": vectors.to_ubinary,
    "to_binary": vectors.to_binary,
    "quantize": lambda rows: vectors.quantize(rows, "float32"),
    "similarity_pairwise": lambda rows: vectors.similarity_pairwise(rows, rows),
    "maxsim": lambda rows: maxsim([rows], [rows]),
    "pool_tokens": lambda rows: pool_tokens(rows, 1),
}


def _with(value: float) -> NDArray[np.float32]:
    rows = sample(120)
    rows[7, 3] = value
    return rows


BAD = {
    "int8": (np.ones((120, 64), dtype=np.int8), "dtype int8, but floats are needed"),
    "uint8": (np.ones((120, 64), dtype=np.uint8), "dtype uint8"),
    "int64": (np.ones((120, 64), dtype=np.int64), "dtype int64"),
    "bool": (np.ones((120, 64), dtype=bool), "dtype bool"),
    "text": (np.full((120, 64), "Secretus"), "dtype <U8"),
    "nan": (_with(np.nan), "1 of 120 vectors hold NaN or infinity, first vector 7"),
    "infinity": (_with(-np.inf), "first vector 7"),
}


@pytest.mark.parametrize("function", TAKES_FLOATS)
@pytest.mark.parametrize("kind", BAD)
def test_what_takes_floats_refuses_all_else(function: str, kind: str) -> None:
    rows, says = BAD[kind]
    with pytest.raises(VectorError, match=says) as caught:
        TAKES_FLOATS[function](rows)
    assert "Secretus" not in str(caught.value)


def test_every_function_of_the_module_is_in_a_table() -> None:
    takes_stored = {"to_float", "similarity"}
    public = {
        name
        for name, function in vars(vectors).items()
        if inspect.isfunction(function) and not name.startswith("_") and function.__module__ == vectors.__name__
    }
    assert public == (TAKES_FLOATS.keys() | takes_stored) - {"maxsim", "pool_tokens"}


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_stored_floats_that_are_not_finite_are_refused(kind: vectors.VectorKind, value: float) -> None:
    rows = _with(value).astype(kind)
    with pytest.raises(VectorError, match="first vector 7"):
        vectors.to_float(rows, kind)
    with pytest.raises(VectorError, match="first vector 7"):
        vectors.similarity(sample(2).astype(kind), rows, kind)


@pytest.mark.parametrize("ranges", [RANGES[::-1], RANGES * np.nan, np.zeros((2, 64), np.float32)])
def test_ranges_that_divide_by_nothing_are_refused(ranges: NDArray[np.float32]) -> None:
    with pytest.raises(VectorError):
        vectors.to_int8(sample(2), ranges)


def test_values_beyond_half_precision_are_refused() -> None:
    with pytest.raises(VectorError, match="float16 holds values up to 65504"):
        vectors.quantize(sample(2) * np.float32(1e6), "float16")


def test_large_vectors_whose_sum_overflows_are_finite() -> None:
    rows = np.full((4, 64), np.float32(3e38))
    np.testing.assert_array_equal(vectors.as_floats(rows), rows)
