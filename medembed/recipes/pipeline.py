"""The stages in order: what a recipe's run consists of, and the building of what is missing."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from medembed.errors import RecipeConfigError, ScoreError
from medembed.recipes import chain, models
from medembed.recipes.artifacts import Artifact, ArtifactWriter, broken_files, hold, open_artifact, open_manifest
from medembed.recipes.chain import ModelsOnDemand
from medembed.recipes.fingerprint import fingerprint
from medembed.recipes.reporting import Reporter
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import MadeModel, Places
from medembed.recipes.stage import Stage, StageRun
from medembed.recipes.stages import filters, merge, negatives, notes, pairs, publish, score, train, triplets
from medembed.recipes.training import processes

STAGES = (notes, pairs, filters, negatives, triplets, train, merge, score, publish)
NAMES = tuple(module.STAGE.name for module in STAGES)
# Raised versions of these change results, so a manifest says which were used; they are no part of fingerprints.
_LIBRARIES = ("medembed", "numpy", "torch", "transformers", "sentence-transformers", "bm25s", "vllm")


@dataclass(frozen=True)
class Step:
    """One stage of one run.

    Attributes:
        key: The stage's name, with the round from the second on: ``"negatives-2"``. Before it stands the recipe's name where the
            step belongs to another recipe, whose model is needed: ``"mini/1:negatives-2"``.
        stage: What is done.
        recipe: The recipe as this step reads it: a round's own, or whole.
        round: 1, or the round of mining and training.
        places: Where what the recipe names is.
        config: What it depends on, beside its inputs.
        inputs: Role → key of the step that makes it.
        fingerprint: Name of its folder.
        folder: ``work/<stage>/<fingerprint>``.
    """

    key: str
    stage: Stage
    recipe: Recipe
    round: int
    places: Places
    config: Any
    inputs: dict[str, str]
    fingerprint: str
    folder: Path

    @property
    def is_own(self) -> bool:
        """Tell whether the step belongs to the recipe itself.

        If not, it belongs to a recipe whose model that one needs.
        """
        return ":" not in self.key


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
    """All steps of a recipe in order, with their fingerprints. Nothing is run.

    Where the recipe names a model that another recipe makes, the steps of that one come before the first that needs it. They are
    left out where the model is there already: published in the work folder, or in ``execution.models``.

    Args:
        recipe: The recipe.
        places: Where its sources are; their contents enter the fingerprints.

    Raises:
        RecipeConfigError: Recipes that need each other.
        SourceError: A source without a declared hash is missing.
    """
    return _Planner(recipe, places, "", ()).steps


class _Planner:
    """The steps of one recipe, after those of the recipes whose models it needs."""

    def __init__(self, recipe: Recipe, places: Places, prefix: str, above: tuple[str, ...]) -> None:
        self._recipe, self._prefix, self._above = recipe, prefix, above
        self._places = replace(places, models=ModelsOnDemand(self._made), hashes={})  # files may change between plans
        self._steps: dict[str, Step] = {}
        _add_all(recipe, self._add)

    @property
    def steps(self) -> list[Step]:
        """All steps in the order in which they are built."""
        return list(self._steps.values())

    def _add(self, stage: Stage, inputs: dict[str, str], read: Recipe, round_number: int, run: int = 1) -> str:
        key = f"{self._prefix}{_key(stage, round_number, run)}"
        config = stage.config(read, self._places, round_number)  # may plan other recipes, whose steps come first
        made_of = {role: self._steps[source].fingerprint for role, source in inputs.items()}
        mark = fingerprint(stage.name, stage.version, config, made_of)
        folder = self._recipe.execution.work / stage.name / mark
        self._steps[key] = Step(key, stage, read, round_number, self._places, config, inputs, mark, folder)
        return key

    def _made(self, name: str) -> MadeModel:
        """The model that ``recipe:NAME`` stands for. Its steps are planned unless it is there."""
        if name in self._above:
            raise RecipeConfigError(
                f"{' → '.join((*self._above, name))}: recipes that need each other's models; name another model in one"
            )
        recorded = self._places.expected.get("models", {}).get(name)
        if (found := chain.find_made(recorded, self._recipe.execution.models)) is not None:
            return MadeModel(found, recorded)
        recipe, places = chain.open_made(name, self._recipe)
        steps = _Planner(recipe, places, f"{name.removeprefix(models.MADE)}:", (*self._above, name)).steps
        last = steps[-1]
        is_there = open_manifest(last.folder) is not None and not broken_files(last.folder)
        for step in [last] if is_there else steps:
            self._steps[step.key] = step
        return MadeModel(last.folder / "model", f"{name}@{last.fingerprint}")


def _key(stage: Stage, round_number: int, run: int) -> str:
    name = stage.name if round_number == 1 else f"{stage.name}-{round_number}"
    return name if run == 1 else f"{name}.{run}"


class _Add(Protocol):
    """Adds a stage with its inputs by role, the recipe as it reads it, and the round's and the run's number. Gives the key."""

    def __call__(self, stage: Stage, inputs: dict[str, str], read: Recipe, round_number: int, run: int = 1, /) -> str:
        """The step's key."""


def _add_all(recipe: Recipe, add: _Add) -> None:
    """Name every stage of a recipe in order, with the steps it reads by role."""
    written = add(pairs.STAGE, {"notes": add(notes.STAGE, {}, recipe, 1)}, recipe, 1)
    kept = add(filters.STAGE, {"pairs": written}, recipe, 1)
    trained: list[str] = []
    rows = ""
    for number in range(1, recipe.negatives.rounds + 1):
        read = recipe.of_round(number)
        last = trained[-1:]
        mining = {"filters": kept} | ({"model": last[0]} if last and read.negatives.method in ("dense", "both") else {})
        mined = add(negatives.STAGE, mining, read, number)
        rows = add(triplets.STAGE, {"filters": kept, "negatives": mined}, read, number)
        training = {"triplets": rows} | (
            {"previous": last[0]} if last and read.train.start_from == "previous_round" else {}
        )
        trained.append(add(train.STAGE, training, read, number))
    averaged = trained[:-1] if recipe.merge.average_rounds else []
    for run in range(2, recipe.merge.runs + 1):  # of the last round, whose inputs they read too
        averaged.append(
            add(train.STAGE, training, read.model_copy(update={"seed": recipe.seed + run - 1}), number, run)
        )
    merged = add(merge.STAGE, {"train": trained[-1]} | {f"average-{key}": key for key in averaged}, recipe, 1)
    scored = add(score.STAGE, {"merge": merged}, recipe, 1)
    add(publish.STAGE, {"merge": merged, "score": scored, "train": trained[-1], "triplets": rows}, recipe, 1)


def settings_fingerprint(recipe: Recipe, places: Places) -> str:
    """Fingerprint of what figures depend on beside the code: settings, data and named models.

    Models are taken by their names in the recipe, so that it does not matter whether one was made again, reused or given as a
    folder. Versions of stages are left out: a change of code must not silence the comparison with what was measured before.

    Returns:
        12 hexadecimal digits; the figures in ``expected.json`` hold for the recipe that has them under ``settings``.
    """
    names = {digest: name for name, digest in places.expected.get("models", {}).items()}
    named = replace(places, same=names, models=ModelsOnDemand(lambda name: MadeModel(Path(), name)))
    configs: dict[str, Any] = {}

    def add(stage: Stage, inputs: dict[str, str], read: Recipe, round_number: int, run: int = 1) -> str:
        key = _key(stage, round_number, run)
        if stage.name not in ("score", "publish"):
            configs[key] = [stage.config(read, named, round_number), inputs]
        return key

    _add_all(recipe, add)
    return fingerprint("settings", 1, configs, {})


def until(steps: Sequence[Step], target: str) -> list[Step]:
    """The steps up to the last one of a stage.

    Raises:
        RecipeConfigError: No such stage.
    """
    if target not in NAMES:
        raise RecipeConfigError(f"no stage '{target}'; there are {', '.join(NAMES)}")
    last = max(index for index, step in enumerate(steps) if step.is_own and step.stage.name == target)
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
    _check_rounds(steps)
    work = recipe.execution.work
    if int(os.environ.get("RANK", "0")) > 0:
        for step in steps:
            if step.stage.name == "train":
                train.follow(
                    step.recipe,
                    step.places,
                    step.folder,
                    {role: _folder(steps, key) for role, key in step.inputs.items()},
                    step.round,
                )
        return []
    log_path = work / "runs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{recipe.name}-{os.getpid()}.jsonl"
    built: dict[str, Built] = {}
    publish.check_out(recipe.execution.out)
    shown = recipe.execution.progress
    with hold(work, recipe.execution.lock_wait_s), Reporter(log_path, progress=shown) as reporter:
        reporter.log("run_started", recipe=recipe.name, steps={step.key: step.fingerprint for step in steps})
        for step in steps:
            built[step.key] = _build_step(step, built, reporter)
            reporter.log("step_built", stage=step.key, fingerprint=step.fingerprint, reused=built[step.key].reused)
            if step.stage.name == "score":
                _judge(built[step.key], reporter)
            if step is steps[-1] and step.stage.name == "publish":
                for what, where in publish.deliver(built[step.key].artifact.folder / "model", recipe.execution).items():
                    reporter.say(f"{what} {where}")
                    reporter.log("delivered", **{what.replace(" ", "_"): where})
        reporter.log("run_finished", recipe=recipe.name)
    return list(built.values())


def _check_rounds(steps: Sequence[Step]) -> None:
    """Refuse what a later round could not be trained with, before the first one is trained."""
    for step in steps:
        if step.stage.name == "train":
            processes.check(step.recipe.train)


def _folder(steps: Sequence[Step], key: str) -> Path:
    return next(step.folder for step in steps if step.key == key)


def _build_step(step: Step, built: dict[str, Built], reporter: Reporter) -> Built:
    """Reuse a finished artefact, or run the stage in its folder."""
    found = open_artifact(step.folder)
    if found is not None:
        return Built(step, found, reused=True, seconds=0.0)
    started = time.perf_counter()
    out = ArtifactWriter(step.folder)
    inputs = {role: built[key].artifact for role, key in step.inputs.items()}
    with reporter.task(step.key) as task:
        summary = step.stage.run(StageRun(step.recipe, step.places, inputs, out, task, step.round))
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
        "inputs": {role: artifact.folder.name for role, artifact in inputs.items()},
        "versions": versions,
        "seconds": round(seconds, 3),
    }


def _plain(value: Any) -> Any:
    """Pydantic models inside a config as JSON values."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _judge(built: Built, reporter: Reporter) -> None:
    """Compare a model with its base and with earlier measurements.

    Tell the result, and stop before publishing a model that may not be published.

    Raises:
        ScoreError: It is below what ``expected.json`` says of this recipe, or not above its base where the recipe asks for that.
    """
    step = built.step
    verdict = score.judge(
        built.artifact.summary, step.recipe, step.places.expected, settings_fingerprint(step.recipe, step.places)
    )
    reporter.log("judged", stage=step.key, comparison=verdict.comparison, below=verdict.below)
    reporter.say(f"{step.recipe.name}: {verdict.comparison}")
    if verdict.warning:
        reporter.say(f"WARNING: {verdict.warning}")
    if verdict.below:
        lines = "\n".join(
            f"  {name}: {got:.4f}, asked for {wanted:.4f}" for name, (got, wanted) in verdict.below.items()
        )
        raise ScoreError(
            f"the model scores below what the recipe asks for (nDCG@10):\n{lines}\nFigures are in {step.folder / 'results.json'}. "
            "To publish it all the same: score.must_rise=false, or other figures in expected.json"
        )
