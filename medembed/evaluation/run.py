"""Measurement of models on tasks.

What is already measured is skipped. Each result is written before the next task starts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medembed.errors import MedEmbedError, StorageFullError
from medembed.evaluation.models import ModelRef, Setup, model_ref
from medembed.evaluation.rankings import run_files
from medembed.evaluation.tasks import task_refs
from medembed.extras import require


@dataclass(frozen=True)
class Outcome:
    """The outcome of one model on one task.

    Attributes:
        model: Name of the model, with its variant.
        task: Name of the task.
        score: Main score, nDCG@10 for retrieval, from 0 to 1; None where it failed.
        path: mteb's result file; None where it failed.
        reused: Whether the result was there already.
        error: Why there is no score; None where there is one.
    """

    model: str
    task: str
    score: float | None
    path: Path | None
    reused: bool = False
    error: MedEmbedError | None = None


def evaluate(
    models: Sequence[str | Path],
    tasks: Sequence[str | Path],
    output: Path,
    *,
    setup: Setup | None = None,
    split: str | None = None,
    rankings: Path | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Measure every model on every task, through mteb.

    Args:
        models: As for ``medembed.evaluation.models.model_ref``.
        tasks: As for ``medembed.evaluation.tasks.task_refs``.
        output: Folder of results. What it holds for the same revisions of model and data is not measured again.
        setup: Device, precision, prompts ...; None for the defaults.
        split: Split of folders' judgements; None for ``test``.
        rankings: Folder of TREC run files, one for each model and task of retrieval; None to keep no ranking. A task whose
            ranking is not there is measured again.
        on_outcome: Called after each task, for progress.

    Returns:
        One outcome for each pair, model by model. Data that are wrong or cannot be had, and models that do not fit,
        are outcomes with an error, so that one of them does not cost the others.

    Raises:
        UnknownTaskError: A task name nobody knows; nothing is measured then.
        MedEmbedError: A model cannot be found; nothing is measured then.
        StorageFullError: The disk or the quota is used up; results that are whole stay.
        MissingExtraError: The extra ``evaluation`` is not installed.
    """
    require("mteb")
    from medembed.evaluation import mteb_bridge, mteb_tasks

    setup = setup or Setup()
    loaded_tasks = mteb_tasks.load_tasks(task_refs(tasks, split))
    refs = [model_ref(model, setup) for model in models]
    cache = mteb_bridge.WholeFiles(output)
    cache.remove_leftovers()
    outcomes: list[Outcome] = []
    for ref in refs:
        for outcome in _of_model(ref, loaded_tasks, cache, setup, rankings):
            outcomes.append(outcome)
            if on_outcome:
                on_outcome(outcome)
    return outcomes


def _of_model(
    ref: ModelRef, tasks: Sequence[Any], cache: Any, setup: Setup, rankings: Path | None
) -> Iterator[Outcome]:
    from medembed.evaluation import mteb_bridge

    meta = mteb_bridge.model_meta(ref)
    name = meta.model_name_with_experiment or ref.name
    model = None
    for task in tasks:
        path = cache.result_path(task, meta)
        task_name = task.metadata.name
        below = path.relative_to(cache.cache_path / "results")
        runs = None if rankings is None else run_files(rankings, below, task, name)
        if cache.is_complete(task, meta) and (runs is None or runs.are_there()):
            yield Outcome(name, task_name, cache.score(task, meta), path, reused=True)
            continue
        try:
            model = model or _load(ref, setup)
            mteb_bridge.measure(model, task, cache, runs)
        except StorageFullError:
            raise  # what else was measured could not be kept either
        except MedEmbedError as error:
            yield Outcome(name, task_name, None, None, error=error)
        else:
            yield Outcome(name, task_name, cache.score(task, meta), path)
    if isinstance(model, mteb_bridge.MedEmbedEncoder):
        model.close()


def _load(ref: ModelRef, setup: Setup) -> Any:
    from medembed.evaluation import late_interaction, mteb_bridge

    return (
        late_interaction.load_model(ref, setup)
        if ref.kind == "late-interaction"
        else mteb_bridge.load_model(ref, setup)
    )
