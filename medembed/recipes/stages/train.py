"""Stage ``train``: rows → a tuned model, on sentence-transformers' trainers."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medembed import border
from medembed.clinical.sentences import clean, sentence_spans
from medembed.errors import RecipeConfigError, RecipeError
from medembed.extras import require
from medembed.recipes import models
from medembed.recipes.artifacts import ArtifactWriter, open_artifact, open_manifest
from medembed.recipes.records import Triplet, read_parquet
from medembed.recipes.reporting import Reporter
from medembed.recipes.retrieval import read_sets
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places, identity, set_identity
from medembed.recipes.sources import rows as read_rows
from medembed.recipes.stage import Stage, StageRun, Summary
from medembed.recipes.train_settings import Teacher
from medembed.recipes.training import processes
from medembed.recipes.writers.contrasts import rules_mark
from medembed.storage import paths
from medembed.storage.durable import write_text_whole, write_whole
from medembed.vectors import Floats

_POLL_S = 0.5
_READY = "ready.json"


def config(recipe: Recipe, places: Places, round_number: int) -> Any:
    """The settings, the base model, the seed and the development sets.

    The sets are those that choose the checkpoint. The devices are not included.
    """
    watched = {
        name: set_identity(item, name, places)
        for name, item in sorted(recipe.development.items())
        if recipe.train.evaluations
    }
    guide, teacher = recipe.train.guide, recipe.train.teacher
    starts_from_base = round_number == 1 or recipe.train.start_from == "base"
    return {
        "train": recipe.train.model_dump(mode="json", exclude={"contrasts", "teacher"}) | _teacher_settings(teacher),
        **_contrasts(recipe, places),
        "base": models.base_identity(recipe, places) if starts_from_base else None,
        "guide": None if guide is None else models.identity(places, guide),
        "teacher": None
        if teacher is None or teacher.model is None
        else models.identity(places, teacher.model, late_interaction=teacher.maxsim > 0),
        "seed": recipe.seed,
        "sets": watched,
    }


def _teacher_settings(teacher: Teacher | None) -> dict[str, Any]:
    """The teacher's settings: without the share of MaxSim where it is one, so that older recipes have the mark they had."""
    if teacher is None:
        return {"teacher": None}
    return {"teacher": teacher.model_dump(mode="json", exclude={"maxsim"} if teacher.maxsim == 1 else None)}


def _contrasts(recipe: Recipe, places: Places) -> dict[str, Any]:
    """What is read of contrasts: nothing where the recipe has none, so that its mark is what it was without them."""
    settings = recipe.train.contrasts
    if not settings.batch_size:
        return {}
    sources = {name: identity(source, name, places) for name, source in settings.sources.items()}
    # names left out where there are none, as in the marks of older recipes
    unread = {"sources"} if settings.names else {"sources", "names"}
    told = settings.model_dump(mode="json", exclude=unread)
    return {"contrasts": told, "contrast sources": sources, "contrast rules": rules_mark()}


def run(stage: StageRun) -> Summary:
    """Train, or go on at the last whole checkpoint. The model that scored best on the development sets is kept."""
    if (stage.out.folder / "model").is_dir() and (stage.out.folder / "training.json").is_file():
        return _summary(stage.out.folder)  # killed between the model and the manifest
    scratch = stage.out.scratch("training")
    if processes.count() > 1:
        write_text_whole(scratch / _READY, "{}")  # the other processes may come
    history = _train(stage, scratch)
    _finish(stage, scratch, history)
    return _summary(stage.out.folder)


def follow(recipe: Recipe, places: Places, folder: Path, inputs: dict[str, Path], round_number: int) -> None:
    """Take part in a training run that rank 0's process leads. It returns when the model is built.

    Args:
        recipe: The recipe.
        places: Where development sets are.
        folder: The train stage's folder.
        inputs: Folders of the stage's inputs by role.
        round_number: Round of mining and training.
    """
    ready = folder / "scratch" / "training" / _READY
    while not ready.exists():
        if open_manifest(folder) is not None:
            return
        time.sleep(_POLL_S)
    found = {role: artifact for role, path in inputs.items() if (artifact := open_artifact(path)) is not None}
    with Reporter(progress=False) as reporter, reporter.task("train") as task:
        stage = StageRun(recipe, places, found, _FollowerFolder(folder), task, round_number)
        _train(stage, folder / "scratch" / "training")


class _FollowerFolder(ArtifactWriter):
    """The leader's folder seen by a follower: read, never tidied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def _train(stage: StageRun, scratch: Path) -> list[dict[str, Any]]:
    """Run the trainer to its end, and return its log."""
    from medembed.recipes.training import callbacks, contrasting, frozen, losses, tuning

    recipe, settings = stage.recipe, stage.recipe.train
    if recipe.execution.threads is not None:
        require("torch").set_num_threads(recipe.execution.threads)
    if tuning.on_cpu(recipe.execution.device):
        tuning.keep_freed_memory()
    tuning.quiet()
    require("transformers").set_seed(
        recipe.seed
    )  # weights the base has none of, such as a ColBERT projection, begin alike
    base = models.base_files(recipe, stage.places)
    prompts = models.base_prompts(recipe.base, base)
    start = _start_folder(stage, base, scratch)
    model = tuning.load_model(start, settings, prompts, recipe.execution.device)
    rows = list(read_parquet(stage.inputs["triplets"].parts("train"), Triplet))
    guide = models.fetch(stage.places, settings.guide).folder if settings.guide else None
    # refuses what cannot be trained before anything is learnt for it, or a teacher asked
    loss = losses.load(model, settings, guide, partial(_directions, stage, start, rows, scratch))
    late = settings.architecture == "colbert"
    drawn = _contrasts_of(stage, rows)
    if drawn is not None and not late:
        loss = contrasting.BesideRows(model, loss, drawn, settings.contrasts, prompts)
    with _teacher(stage, scratch) as teach:
        data = tuning.training_data(rows, settings, recipe.seed, teach)
    if drawn is not None and late:
        count = len(rows) * settings.contrasts.batch_size // settings.batch_size
        data = tuning.with_contrasts(data, contrasting.as_rows(drawn, count, recipe.seed), settings)
    sets = read_sets(recipe, stage.places) if settings.evaluations else []
    kept = tuning.dropouts(start)
    runner = tuning.trainer(
        model,
        data,
        loss,
        tuning.watch(sets, settings),
        [
            callbacks.Progress(stage.task, settings.batch_size),
            callbacks.WholeCheckpoints(),
            callbacks.KeepBest(scratch, lambda tuned, folder: callbacks.save_plain(tuned, folder, kept)),
        ],
        tuning.Setup(settings, recipe.execution, prompts, recipe.seed, scratch / "checkpoints"),
    )
    if settings.trainable == "projection":
        rows_of_ids = frozen.distinct_rows(data, runner.data_collator)
        out = ArtifactWriter(scratch / f"states-{os.environ.get('RANK', '0')}")
        states = frozen.compute_states(rows_of_ids, base, out, recipe.execution, settings.precision, stage.task)
        frozen.freeze(model, states, settings.projection)
    checkpoint = callbacks.last_checkpoint(scratch / "checkpoints", stage.task.reporter.say)
    runner.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if runner.is_world_process_zero():
        callbacks.save_plain(runner.model, scratch / "last", kept)
    runner.accelerator.wait_for_everyone()
    history: list[dict[str, Any]] = runner.state.log_history
    return history


def _contrasts_of(stage: StageRun, rows: Sequence[Triplet]) -> Any:
    """The contrasts to draw from; None where the recipe has none."""
    from medembed.recipes.training import contrasting

    recipe, settings = stage.recipe, stage.recipe.train.contrasts
    if not settings.batch_size:
        return None
    return contrasting.supply(list(_sentences(recipe, stage.places)), _names(rows, settings.names), recipe.seed)


def _sentences(recipe: Recipe, places: Places) -> Iterator[tuple[str, str]]:
    """Ids and sentences of the notes that contrasts are made of."""
    for name, source in recipe.train.contrasts.sources.items():
        columns = {source.text: f"train.contrasts.sources.{name}.text"}
        for number, row in enumerate(read_rows(source, name, places, columns)):
            text = clean(str(row[source.text] or ""))
            note = str(row.get(source.id or "id") or number)
            yield from ((note, text[start:end]) for start, end in sentence_spans(text, recipe.words.abbreviated))


def _names(rows: Sequence[Triplet], sources: Mapping[Any, str]) -> dict[str, list[str]]:
    """The names that each list of words is given: the queries of the rows of a source."""
    names = {listed: [row.query for row in rows if row.source == source] for listed, source in sources.items()}
    empty = next((listed for listed, found in names.items() if not found), None)
    if empty is not None:
        raise RecipeConfigError(
            f"train.contrasts.names.{empty} = {sources[empty]!r}, but no training row is of that source: "
            "name one of the pairs' sources, and let triplets.caps keep some of its rows"
        )
    return names


def _directions(stage: StageRun, start: Path, rows: Sequence[Triplet], scratch: Path) -> Floats:
    """Directions of shorter vectors in training, learnt once: a run that goes on has the same."""
    from medembed.recipes.training import directions

    settings = stage.recipe.train
    learnt = partial(directions.of_model, start, rows, settings.matryoshka_dims[1:], stage.recipe, stage.task)
    found: Floats = np.load(models.array_part(ArtifactWriter(scratch / "directions"), "matrix", 0, learnt))
    return found


@contextmanager
def _teacher(stage: StageRun, scratch: Path) -> Iterator[Any]:
    """The function that scores rows for training, while its models are loaded. None where the recipe has no teacher."""
    from medembed.recipes.training.teaching import Teacher

    settings = stage.recipe.train
    if settings.teacher is None:
        yield None
        return
    out = ArtifactWriter(scratch / "teacher")
    told = settings.teacher
    # where the loss asks the start itself, BM25 is all that is left to look at here
    left = (
        {"maxsim": 0.0, "cosine": 0.0}
        if told.model is None
        else {"model": models.path_or_name(stage.places, told.model)}
    )
    named = told.model_copy(update=left)
    with Teacher(named, settings.batch_size, stage.recipe.execution, out, stage.task) as teacher:
        yield teacher.scores


def _start_folder(stage: StageRun, base: Any, scratch: Path) -> Path:
    """The model to start from, as plain float32 safetensors: the previous round's, or the base, exported if it is compact."""
    from medembed.checkpoints import checkpoint, tensors

    if "previous" in stage.inputs:
        return stage.inputs["previous"].folder / "model"
    if (base.folder / tensors.WHOLE).is_file():
        return Path(base.folder)
    exported = scratch / f"base-{os.environ.get('RANK', '0')}"
    paths.remove_folder(scratch, exported.name)
    checkpoint.export(base, exported)
    return exported


def _finish(stage: StageRun, scratch: Path, history: list[dict[str, Any]]) -> None:
    """Store the chosen model, the log and the curves."""
    from medembed.recipes.training import callbacks

    best = callbacks.best_so_far(scratch)
    chosen = scratch / ("model" if best is not None else "last")
    figures = {
        "best": best,
        "history": history,
        "rows": len(list(read_parquet(stage.inputs["triplets"].parts("train"), Triplet))),
    }
    write_text_whole(stage.out.folder / "training.json", json.dumps(figures, indent=1))
    draw_curves(history, stage.out.folder / "curves.png")
    stage.out.write_folder("model", lambda folder: shutil.copytree(chosen, folder, dirs_exist_ok=True))


def _summary(folder: Path) -> Summary:
    figures = border.read_json_object(folder / "training.json", error=RecipeError, not_finite=True)  # a loss may be NaN
    losses = [entry["loss"] for entry in figures["history"] if "loss" in entry]
    summary: Summary = {"rows": figures["rows"], "last loss": round(losses[-1], 4) if losses else None}
    if figures["best"]:
        summary |= {
            "best step": figures["best"]["step"],
            "best nDCG@10 while training": round(figures["best"]["score"], 5),
        }
    return summary


def draw_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Loss, learning rate and development scores over the steps, as PNG.

    Args:
        history: The trainer's log.
        path: Where to write; it appears whole.
    """
    require("matplotlib").use("Agg")
    pyplot = require("matplotlib.pyplot")
    scores = sorted({key for entry in history for key in entry if key.endswith("ndcg@10")})
    panels = [("loss", ["loss"]), ("learning rate", ["learning_rate"]), ("nDCG@10", scores)]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(12, 3.2), layout="constrained")
    for axis, (title, keys) in zip(axes, panels, strict=True):
        for key in keys:
            points = [(entry["step"], entry[key]) for entry in history if key in entry]
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    marker=".",
                    label=key.removeprefix("eval_").removesuffix("_cosine_ndcg@10"),
                )
        axis.set(title=title, xlabel="step")
        if len(keys) > 1:
            axis.legend(fontsize="x-small")
    write_whole(path, lambda made: figure.savefig(made, format="png", dpi=110))
    pyplot.close(figure)


STAGE = Stage("train", 1, "a tuned model", config, run)
