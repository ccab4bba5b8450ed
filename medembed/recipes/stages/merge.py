"""Stage ``merge``: base and tuned weights interpolated, the ratio chosen on the development sets."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed import border
from medembed.checkpoints import tensors
from medembed.errors import RecipeConfigError, RecipeError
from medembed.recipes import models, retrieval
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places, set_identity
from medembed.recipes.stage import Stage, StageRun, Summary
from medembed.storage import paths
from medembed.storage.durable import write_text_whole

Weights = dict[str, NDArray[Any]]


def config(recipe: Recipe, places: Places, _round: int) -> Any:
    """The grid, the base and the development sets the ratio is chosen on."""
    sets = {name: set_identity(item, name, places) for name, item in sorted(recipe.development.items())}
    length = recipe.score.max_seq_length
    anchor = recipe.merge.anchor
    return {
        "ratios": recipe.merge.ratios,
        "anchor": None if anchor is None else models.identity(places, anchor, recipe.merge.anchor_revision),
        "base": models.base_identity(recipe, places),
        "sets": sets,
        "max_seq_length": length,
    }


def run(stage: StageRun) -> Summary:
    """Measure every ratio, and keep the best. Without development sets the first one is taken."""
    recipe = stage.recipe
    tuned = [artifact.folder / "model" for artifact in stage.inputs.values()]
    base = models.base_files(recipe, stage.places).folder
    anchor = base
    if recipe.merge.anchor is not None:
        anchor = models.fetch(stage.places, recipe.merge.anchor, recipe.merge.anchor_revision).folder
        check_alike(anchor, tuned[0], recipe.merge.anchor)
    ratios = sorted({0.0, *recipe.merge.ratios, 1.0}) if recipe.development else list(recipe.merge.ratios)
    measured = (
        {ratio: _measured(stage, index, ratio, anchor if ratio else base, tuned) for index, ratio in enumerate(ratios)}
        if recipe.development
        else {}
    )
    chosen = choose(measured, recipe) if measured else recipe.merge.ratios[0]
    stage.out.write_folder("model", lambda folder: write_merged(anchor, tuned, chosen, folder))
    report = {"ratio": chosen, "ndcg@10": {f"{ratio:g}": scores for ratio, scores in measured.items()}}
    write_text_whole(stage.out.folder / "merge.json", json.dumps(report, indent=1))
    return {"ratio": chosen, **{f"ratio {ratio:g}": _mean(scores) for ratio, scores in measured.items()}}


def check_alike(anchor: Path, tuned: Path, name: str) -> None:
    """Refuse to mix models of two kinds.

    Raises:
        RecipeConfigError: A tensor of the tuned model is missing from the anchor, or has another shape there.
    """
    theirs, ours = _plain_weights(anchor), _plain_weights(tuned)
    # folders may leave out the pooler, which no vector comes from
    shapes = {key: value.shape for key, value in ours.items() if "pooler." not in key}
    other = next((key for key, shape in shapes.items() if key not in theirs or theirs[key].shape != shape), None)
    if other is not None:
        raise RecipeConfigError(
            f"merge.anchor={name} has no {other} of shape {shapes[other]}, which the tuned model has: name a model of the same architecture"
        )


def choose(measured: dict[float, dict[str, float]], recipe: Recipe) -> float:
    """The ratio of the recipe's grid with the best mean.

    Equal means are decided by the best of the worst gains over the base. Ties after that go to the smaller ratio.

    Args:
        measured: nDCG@10 by set for every ratio; 0 is the base.
        recipe: Its ``merge.ratios``.
    """
    base = measured[0.0]

    def worth(ratio: float) -> tuple[float, float]:
        scores = measured[ratio]
        return _mean(scores), min(scores[name] - base[name] for name in scores)

    return max(sorted(recipe.merge.ratios), key=worth)


def write_merged(base: Path, tuned: Sequence[Path], ratio: float, folder: Path) -> None:
    """The tuned model's folder with weights (1 - ratio) · base + ratio · tuned, in float32.

    Args:
        base: Folder of the model that training started from, or of the anchor.
        tuned: Folders of tuned models, whose mean is taken (Wortsman et al. 2022, arXiv:2203.05482).
        ratio: Share of the tuned weights.
        folder: Where to write.
    """
    from safetensors.numpy import save_file

    shutil.copytree(tuned[0], folder, dirs_exist_ok=True)
    save_file(
        interpolate(_plain_weights(base), mean([_plain_weights(path) for path in tuned]), ratio),
        folder / tensors.WHOLE,
        metadata={"format": "pt"},
    )


def interpolate(base: Weights, tuned: Weights, ratio: float) -> Weights:
    """Weights between two models.

    Tensors that the base does not have, such as a new projection, are taken from the tuned one.

    Returns:
        One tensor for each of the tuned model, float32 where it is floating point.
    """
    merged: Weights = {}
    for name, value in tuned.items():
        if not np.issubdtype(value.dtype, np.floating):
            merged[name] = value
        elif name in base and base[name].shape == value.shape:
            merged[name] = ((1 - ratio) * base[name].astype(np.float32) + ratio * value.astype(np.float32)).astype(
                np.float32
            )
        else:
            merged[name] = value.astype(np.float32)
    return merged


def mean(models: Sequence[Weights]) -> Weights:
    """Mean of the tensors of models that are alike.

    It is float32 where floating point. A single model is returned as it is.
    """
    if len(models) == 1:
        return models[0]
    mixed: Weights = {}
    for name, value in models[0].items():
        floating = np.issubdtype(value.dtype, np.floating)
        mixed[name] = (
            np.asarray(np.mean([model[name] for model in models], axis=0, dtype=np.float32)) if floating else value
        )
    return mixed


def _plain_weights(folder: Path) -> Weights:
    return dict(tensors.plain(tensors.read_tensors(folder)))


def _measured(stage: StageRun, index: int, ratio: float, base: Path, tuned: Sequence[Path]) -> dict[str, float]:
    """Scores of one ratio.

    The rest of the weights is the base's or the anchor's. The scores are kept as a part, so that a killed run does not
    measure them again.
    """
    part = stage.out.part("scores", index)
    if part is None:
        sets = retrieval.read_sets(stage.recipe, stage.places)
        if ratio == 0.0 and stage.recipe.train.trainable == "projection":
            # the tuned model's encoder is the base's: what it is compared with is the base itself, one vector per text
            scores = retrieval.measure_dense(base, stage.recipe, sets, stage.task)
        else:
            scratch = stage.out.scratch("merged")
            paths.remove_folder(scratch.parent, scratch.name)
            scratch.mkdir()
            write_merged(base, tuned, ratio, scratch)
            scores = retrieval.measure_all(scratch, stage.recipe, sets, stage.task)
        part = stage.out.write_part("scores", index, "json", lambda path: path.write_text(json.dumps(scores)))
    found: dict[str, float] = border.read_json_object(part, error=RecipeError)
    stage.task.log("merged", ratio=ratio, **found)
    return found


def _mean(scores: dict[str, float]) -> float:
    return round(sum(scores.values()) / len(scores), 5)


STAGE = Stage("merge", 1, "base and tuned weights, interpolated", config, run)
