"""Weights between a base and one or several tuned models."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file

from medembed.checkpoints import tensors
from medembed.errors import RecipeConfigError
from medembed.recipes.schema import Merge
from medembed.recipes.stages import merge

NAME = "encoder.weight"


def model(folder: Path, value: float) -> Path:
    """A folder of one tensor."""
    folder.mkdir()
    save_file({NAME: np.full((2, 2), value, np.float32)}, folder / tensors.WHOLE)
    return folder


@pytest.mark.parametrize(
    ("tuned", "ratio", "expected"),
    [([4.0], 0.25, 1.0), ([4.0, 8.0], 1.0, 6.0), ([4.0, 8.0], 0.5, 3.0)],
    ids=["one", "mean of two", "half of the mean of two"],
)
def test_merged_weights_lie_between_the_base_and_the_mean_of_the_tuned(
    tmp_path: Path, tuned: list[float], ratio: float, expected: float
) -> None:
    base = model(tmp_path / "base", 0.0)
    folders = [model(tmp_path / str(value), value) for value in tuned]
    merge.write_merged(base, folders, ratio, tmp_path / "merged")
    written = load_file(tmp_path / "merged" / tensors.WHOLE)
    np.testing.assert_array_equal(written[NAME], np.full((2, 2), expected, np.float32))


def test_an_anchor_of_another_shape_is_refused(tmp_path: Path) -> None:
    tuned, other = model(tmp_path / "tuned", 1.0), tmp_path / "other"
    other.mkdir()
    save_file({NAME: np.zeros((2, 3), np.float32)}, other / tensors.WHOLE)
    merge.check_alike(model(tmp_path / "alike", 2.0), tuned, "alike")
    with pytest.raises(RecipeConfigError, match=r"merge\.anchor=other has no encoder\.weight of shape \(2, 2\)"):
        merge.check_alike(other, tuned, "other")


def test_an_anchor_is_never_published_alone() -> None:
    with pytest.raises(ValidationError, match="would publish the anchor itself"):
        Merge(anchor="mini", ratios=(0.0, 0.5))
