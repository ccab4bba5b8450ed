"""Compression of token vectors: what is kept, in how many bytes, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import vectors
from medembed.colbert import codebooks
from medembed.colbert.centroids import find_centroids, nearest
from medembed.colbert.residual import Packed, ResidualCodec, train_codec
from medembed.errors import CorruptFileError, SettingError, VectorError


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    """Two thousand vectors around forty directions, as token vectors lie."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 32))
    return vectors.normalize((centres[rng.integers(40, size=2000)] + rng.normal(0, 0.5, (2000, 32))).astype(np.float32))


@pytest.mark.parametrize(("bits", "size", "cosine"), [(2, 10, 0.98), (4, 18, 0.998), (8, 34, 0.9999)])
def test_bytes_and_fidelity(tokens: np.ndarray, bits: Any, size: int, cosine: float) -> None:
    codec = train_codec(tokens, bits=bits, n_centroids=64)
    packed = codec.compress(tokens)
    assert packed.nbytes == size * len(tokens) == codec.bytes_a_token * len(tokens)
    restored = codec.restore(packed)
    np.testing.assert_allclose(np.linalg.norm(restored, axis=1), 1, atol=1e-5)
    assert (restored * tokens).sum(axis=1).mean() > cosine
    # a token alone is compressed as it is among others
    one = codec.compress(tokens[7:8])
    np.testing.assert_array_equal(one.remainders[0], packed.remainders[7])


def test_a_byte_for_four_dimensions_says_more_than_two_bits_for_each(tokens: np.ndarray) -> None:
    codec = train_codec(tokens, bits=2, n_centroids=64)
    rest = codec.turned(tokens) - codec.centroids[nearest(codec.turned(tokens), codec.centroids)]
    steps = np.quantile(rest, [1 / 8, 3 / 8, 5 / 8, 7 / 8])
    apart = steps[np.abs(rest[..., None] - steps).argmin(axis=2)]
    together = codebooks.decode(codebooks.encode(rest, codec.points), codec.points)
    assert ((together - rest) ** 2).mean() < 0.8 * ((apart - rest) ** 2).mean()


def test_turning_keeps_what_maxsim_reads(tokens: np.ndarray) -> None:
    codec = train_codec(tokens, bits=2, n_centroids=64)
    packed = codec.compress(tokens)
    np.testing.assert_allclose(codec.basis @ codec.basis.T, np.eye(32), atol=1e-5)
    expected = tokens[:5] @ codec.restore(packed).T
    np.testing.assert_allclose(codec.turned(tokens[:5]) @ codec.coordinates(packed).T, expected, atol=1e-5)


def test_groups_of_coordinates_have_about_the_same_to_say() -> None:
    scales = np.array([8, 7, 6, 5, 4, 3, 2, 1], dtype=np.float32)
    sample = np.random.default_rng(3).normal(size=(5000, 8)).astype(np.float32) * scales
    turned = sample @ codebooks.learn_basis(sample, 2)
    products = turned.var(axis=0).reshape(4, 2).prod(axis=1)
    assert products.max() / products.min() < 8  # variances 8² · 7² to 2² · 1² in the order they came in: 784


def test_alike_tokens_leave_nothing_to_say() -> None:
    tokens = np.tile(vectors.normalize(np.ones((1, 8), dtype=np.float32)), (20, 1))
    codec = train_codec(tokens, bits=2, n_centroids=2)
    np.testing.assert_allclose(codec.restore(codec.compress(tokens)), tokens, atol=1e-6)


def test_centroids_are_found_where_the_tokens_are() -> None:
    rng = np.random.default_rng(2)
    axes = np.eye(4, dtype=np.float32)
    around = vectors.normalize(axes[rng.integers(4, size=400)] + rng.normal(0, 0.05, (400, 4)).astype(np.float32))
    found = find_centroids(around, 4, seed=0)
    assert sorted(found.argmax(axis=1)) == [0, 1, 2, 3]
    assert found.max(axis=1).min() > 0.99


def test_the_same_seed_gives_the_same_codec(tokens: np.ndarray) -> None:
    one, other = (train_codec(tokens, bits=2, n_centroids=16, seed=9) for _ in range(2))
    np.testing.assert_array_equal(one.centroids, other.centroids)
    np.testing.assert_array_equal(one.points, other.points)


def test_a_codec_is_read_back(tokens: np.ndarray, tmp_path: Path) -> None:
    codec = train_codec(tokens, bits=4, n_centroids=16)
    codec.save(tmp_path / "codec.safetensors")
    again = ResidualCodec.load(tmp_path / "codec.safetensors")
    np.testing.assert_array_equal(again.restore(again.compress(tokens)), codec.restore(codec.compress(tokens)))
    (tmp_path / "codec.safetensors").write_bytes(b"nothing")
    with pytest.raises(CorruptFileError, match=r"is not a codec of token vectors .* build the index again"):
        ResidualCodec.load(tmp_path / "codec.safetensors")


def test_no_tokens_are_no_bytes(tokens: np.ndarray) -> None:
    codec = train_codec(tokens, bits=2, n_centroids=16)
    packed = codec.compress(tokens[:0])
    assert isinstance(packed, Packed)
    assert codec.restore(packed).shape == (0, 32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda rows: train_codec(rows, bits=3, n_centroids=4), SettingError, "bits=3: choose 2, 4 or 8"),  # type: ignore[arg-type]
        (
            lambda rows: train_codec(rows[:, :3], bits=2, n_centroids=4),
            SettingError,
            "3 dimensions of 2 bits do not fill",
        ),
        (
            lambda rows: train_codec(rows[:3], bits=2, n_centroids=4),
            VectorError,
            "4 centroids cannot be made from 3 tokens",
        ),
        (
            lambda rows: train_codec(rows, bits=2, n_centroids=4).compress(rows[:, :8]),
            VectorError,
            "shape (2000, 8), but this codec was made for (tokens, 32)",
        ),
    ],
    ids=["bits", "bytes", "too few", "dimension"],
)
def test_what_cannot_be_compressed_is_named(
    tokens: np.ndarray, call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call(tokens)
