"""Short vectors: the directions a model brings, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from medembed import MedEmbed
from medembed.checkpoints import checkpoint, shortening
from medembed.checkpoints.files import MEANING
from medembed.errors import BadWeightsError, CorruptFileError

TEXTS = ["crushing chest pain", "gout of the big toe", "a drooping face and a weak arm"]


@pytest.fixture
def turned(tiny_folder: Path, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """The tiny model with directions: its components in reverse order."""
    folder = tmp_path / "turned"
    shutil.copytree(tiny_folder, folder)
    with MedEmbed(folder, threads=1) as model:
        reverse = np.eye(model.dimension, dtype=np.float32)[:, ::-1]
    shortening.write(reverse, folder)
    return folder, reverse


def test_a_model_shortens_in_the_directions_it_brings_and_its_whole_vectors_stay(
    turned: tuple[Path, np.ndarray], tiny_folder: Path
) -> None:
    folder, reverse = turned
    with MedEmbed(tiny_folder, threads=1) as plain, MedEmbed(folder, threads=1) as model:
        whole = plain.encode(TEXTS)
        np.testing.assert_array_equal(model.encode(TEXTS), whole)
        assert model.revision != plain.revision
    with MedEmbed(folder, threads=1, truncate_dim=5) as short:
        found = short.encode(TEXTS)
    expected = whole[:, ::-1][:, :5]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-3)
    np.testing.assert_allclose(shortening.shorten(whole[0], 5, reverse), found[0], atol=1e-3)
    with MedEmbed(tiny_folder, threads=1, truncate_dim=5) as cut:
        assert np.abs(cut.encode(TEXTS) - found).max() > 0.01


def test_an_exported_model_keeps_its_directions(turned: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    folder, reverse = turned
    checkpoint.export(checkpoint.fetch(str(folder)), tmp_path / "exported")
    np.testing.assert_array_equal(shortening.read(tmp_path / "exported", len(reverse)), reverse)
    assert shortening.FILE in MEANING


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda path: path.write_bytes(b"no weights"), CorruptFileError, "not a whole safetensors file"),
        (lambda path: save_file({"other": np.eye(3, dtype=np.float32)}, path), BadWeightsError, "holds None"),
        (lambda path: save_file({"directions": np.eye(3, dtype=np.float32)}, path), BadWeightsError, r"holds \(3, 3\)"),
        (
            lambda path: save_file({"directions": np.full((32, 32), np.nan, dtype=np.float32)}, path),
            BadWeightsError,
            "finite",
        ),
    ],
)
def test_damaged_directions_are_refused_and_the_whole_vectors_are_not(
    turned: tuple[Path, np.ndarray], spoil: object, error: type[Exception], said: str
) -> None:
    folder, _ = turned
    spoil(folder / shortening.FILE)  # type: ignore[operator]
    with pytest.raises(error, match=said):
        MedEmbed(folder, threads=1, truncate_dim=5)
    with MedEmbed(folder, threads=1) as model:
        assert model.encode(TEXTS).shape[0] == len(TEXTS)
