"""The stages in order: what a recipe's run consists of, and the building of what is missing."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medembed.errors import RecipeConfigError, ScoreError
from medembed.recipes import train
from medembed.recipes.artifacts import Artifact, ArtifactWriter, hold, open_artifact
from medembed.recipes.fingerprint import fingerprint
from medembed.recipes.reporting import Reporter
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stage import Stage, StageRun
from medembed.recipes.stages import filters, merge, negatives, notes, pairs, publish, score, triplets

STAGES = (notes, pairs, filters, negatives, triplets, train, merge, score, publish)
NAMES = tuple(module.STAGE.name for module in STAGES)
# Raised versions of these change results, so a manifest says which were used; they are no part of fingerprints.
_LIBRARIES = ("medembed", "numpy", "torch", "transformers", "sentence-transformers", "bm25s", "vllm")


@dataclass(frozen=True)
class Step:
    """One stage of one run.

    Attributes:
        key: The stage's name, with the round from the second on: ``"negatives-2"``.
        stage: What is done.
        recipe: The recipe as this step reads it: a round's own, or whole.
        round: 1, or the round of mining and training.
        config: What it depends on, beside its inputs.
        inputs: Role → key of the step that makes it.
        fingerprint: Name of its folder.
        folder: ``work/<stage>/<fingerprint>``.
    """

    key: str
    stage: Stage
    recipe: Recipe
    round: int
    config: Any
    inputs: dict[str, str]
    fingerprint: str
    folder: Path


@dataclass(frozen=True)
class Built:
    """A step that is finished.

    Attributes:
        step: Which.
        artifact: What it made, opened.
        reused: It was there already; this run did not have to make it.
        seconds: What making it took in this run; 0 where it was reused.
    """

    step: Step
    artifact: Artifact
    reused: bool
    seconds: float


def plan(recipe: Recipe, places: Places) -> list[Step]:
    """All steps of a recipe in order, with their fingerprints; nothing is run.

    Args:
        recipe: The recipe.
        places: Where its sources are; their contents enter the fingerprints.

    Raises:
        SourceError: A source without a declared hash is missing.
    """
    steps: dict[str, Step] = {}

    def add(stage: Stage, inputs: dict[str, str], read: Recipe = recipe, round_number: int = 1) -> str:
        key = stage.name if round_number == 1 else f"{stage.name}-{round_number}"
        config = stage.config(read, places, round_number)
        made_of = {role: steps[source].fingerprint for role, source in inputs.items()}
        mark = fingerprint(stage.name, stage.version, config, made_of)
        folder = recipe.execution.work / stage.name / mark
        steps[key] = Step(key, stage, read, round_number, config, inputs, mark, folder)
        return key

    written = add(pairs.STAGE, {"notes": add(notes.STAGE, {})})
    kept = add(filters.STAGE, {"pairs": written})
    tuned = rows = ""
    for round_number in range(1, recipe.negatives.rounds + 1):
        read = recipe.of_round(round_number)
        uses_model = tuned and read.negatives.method in ("dense", "both")
        mining = {"filters": kept} | ({"model": tuned} if uses_model else {})
        mined = add(negatives.STAGE, mining, read, round_number)
        rows = add(triplets.STAGE, {"filters": kept, "negatives": mined}, read, round_number)
        goes_on = tuned and recipe.train.start_from == "previous_round"
        training = {"triplets": rows} | ({"previous": tuned} if goes_on else {})
        tuned = add(train.STAGE, training, read, round_number)
    trained = [key for key, step in steps.items() if step.stage is train.STAGE]
    soup = {f"soup-{key}": key for key in trained[:-1]} if recipe.merge.soup else {}
    merged = add(merge.STAGE, {"train": tuned} | soup)
    scored = add(score.STAGE, {"merge": merged})
    add(publish.STAGE, {"merge": merged, "score": scored, "train": tuned, "triplets": rows})
    return list(steps.values())


def until(steps: Sequence[Step], target: str) -> list[Step]:
    """The steps up to the last one of a stage.

    Raises:
        RecipeConfigError: No such stage.
    """
    if target not in NAMES:
        raise RecipeConfigError(f"no stage '{target}'; there are {', '.join(NAMES)}")
    last = max(index for index, step in enumerate(steps) if step.stage.name == target)
    return list(steps[: last + 1])


def build(recipe: Recipe, places: Places, target: str = "publish") -> list[Built]:
    """Run what is missing, up to a stage.

    Args:
        recipe: The recipe.
        places: Where its sources are.
        target: Name of the last stage.

    Returns:
        Every step with its artefact, in order.

    Raises:
        RecipeError: The run cannot go on; what is finished stays and is used again.
        StorageFullError: The disk of the work folder is full.
        WorkFolderBusyError: Another run is at work in the same folder.
    """
    steps = until(plan(recipe, places), target)
    work = recipe.execution.work
    if int(os.environ.get("RANK", "0")) > 0:
        for step in steps:
            if step.stage.name == "train":
                train.follow(
                    step.recipe,
                    places,
                    step.folder,
                    {role: _folder(steps, key) for role, key in step.inputs.items()},
                    step.round,
                )
        return []
    log_path = work / "runs" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{recipe.name}-{os.getpid()}.jsonl"
    built: dict[str, Built] = {}
    publish.check_out(recipe.execution.out)
    shown = recipe.execution.progress
    with hold(work, recipe.execution.lock_wait_s), Reporter(log_path, progress=shown) as reporter:
        reporter.log("run_started", recipe=recipe.name, steps={step.key: step.fingerprint for step in steps})
        for step in steps:
            built[step.key] = _build_step(places, step, built, reporter)
            reporter.log("step_built", stage=step.key, fingerprint=step.fingerprint, reused=built[step.key].reused)
            _check_score(built[step.key])
            if step.stage.name == "publish":
                for what, where in publish.deliver(built[step.key].artifact.folder / "model", recipe.execution).items():
                    reporter.say(f"{what} {where}")
                    reporter.log("delivered", **{what.replace(" ", "_"): where})
        reporter.log("run_finished", recipe=recipe.name)
    return list(built.values())


def _folder(steps: Sequence[Step], key: str) -> Path:
    return next(step.folder for step in steps if step.key == key)


def _build_step(places: Places, step: Step, built: dict[str, Built], reporter: Reporter) -> Built:
    """Reuse a finished artefact, or run the stage in its folder."""
    found = open_artifact(step.folder)
    if found is not None:
        return Built(step, found, reused=True, seconds=0.0)
    started = time.perf_counter()
    out = ArtifactWriter(step.folder)
    inputs = {role: built[key].artifact for role, key in step.inputs.items()}
    with reporter.task(step.key) as task:
        summary = step.stage.run(StageRun(step.recipe, places, inputs, out, task, step.round))
        seconds = time.perf_counter() - started
        artifact = out.finish(_header(step, inputs, seconds), summary)
        task.log("summary", **summary)
    return Built(step, artifact, reused=False, seconds=seconds)


def _header(step: Step, inputs: dict[str, Artifact], seconds: float) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "stage": step.stage.name,
        "version": step.stage.version,
        "round": step.round,
        "fingerprint": step.fingerprint,
        "config": _plain(step.config),
        "inputs": {role: artifact.manifest["fingerprint"] for role, artifact in inputs.items()},
        "versions": versions,
        "seconds": round(seconds, 3),
    }


def _plain(value: Any) -> Any:
    """Pydantic models inside a config as JSON values."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _check_score(built: Built) -> None:
    """Stop before publishing a model that is worse than the recipe promises."""
    below = built.artifact.summary.get("below") if built.step.stage.name == "score" else None
    if below:
        lines = "\n".join(
            f"  {name}: {item['found']:.4f}, asked for {item['expected']:.4f}" for name, item in below.items()
        )
        raise ScoreError(
            f"the model scores below what the recipe asks for (nDCG@10):\n{lines}\nFigures are in {built.step.folder / 'results.json'}. "
            "To publish it all the same: score.must_rise=false, or other figures in expected.json"
        )
