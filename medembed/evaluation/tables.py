"""Measurements grouped by model: scores, wins, size classes, speed. Plain tables, no statistics."""

from collections.abc import Sequence

import numpy as np

from medembed.errors import ResultsError
from medembed.evaluation.results import Measurement, ModelCard

# Measures the win matrix counts, those of them that both models have.
WIN_MEASURES = ("ndcg_at_10", "map_at_100", "mrr_at_10", "precision_at_10", "recall_at_10", "recall_at_100")
# Upper bounds in parameters; the classes embedding models are commonly compared in.
SIZE_CLASSES = (("under 35 M", 35e6), ("35 to 120 M", 120e6), ("120 to 350 M", 350e6), ("350 M and more", float("inf")))

Part = tuple[str, str]
Parts = dict[Part, Measurement]
ByModel = dict[str, dict[str, Parts]]


def by_model(measurements: Sequence[Measurement]) -> ByModel:
    """Measurements by label, task and part. A label names its revision where there are several."""
    revisions: dict[str, set[str]] = {}
    for item in measurements:
        revisions.setdefault(item.model.label, set()).add(item.model.revision)
    by_model: ByModel = {}
    for item in measurements:
        label = item.model.label
        if len(revisions[label]) > 1:
            label = f"{label} @{item.model.revision[:12]}"
        by_model.setdefault(label, {}).setdefault(item.task, {})[item.part] = item
    return by_model


def check_same_data(measurements: Sequence[Measurement]) -> None:
    """Refuse a task that was measured on different data."""
    first: dict[str, Measurement] = {}
    for item in measurements:
        known = first.setdefault(item.task, item)
        if known.data_revision != item.data_revision:
            raise ResultsError(
                f"{item.task} was measured on different data: {known.data_revision} in {known.path}, "
                f"{item.data_revision} in {item.path}. Measure both models on the same data"
            )


def common_parts(by_model: ByModel, task: str) -> list[Part]:
    """Parts of a task that every model with the task has."""
    parts = [set(tasks[task]) for tasks in by_model.values() if task in tasks]
    return sorted(set.intersection(*parts))


def scores(
    by_model: ByModel, tasks: list[str], common: dict[str, list[Part]], measure: str
) -> dict[str, dict[str, float]]:
    """Mean scores over the common parts, by label and task."""
    return {
        label: {
            task: float(np.mean([_score(measured[task][part], measure) for part in common[task]]))
            for task in tasks
            if task in measured
        }
        for label, measured in by_model.items()
    }


def _score(item: Measurement, measure: str) -> float:
    """The score by the measure. Where the task is not a retrieval task, it is the task's own main score."""
    return item.scores.get(measure, item.scores["main_score"])


def n_queries(by_model: ByModel, task: str, parts: list[Part]) -> int:
    """Queries of a task, or 0 where no result says."""
    return max(
        sum(len(measured[task][part].query_ids) for part in parts) for measured in by_model.values() if task in measured
    )


def wins(
    by_model: ByModel, order: list[str], tasks: list[str], common: dict[str, list[Part]]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Measures where the first is ahead, and measures that both have. Each is a count by first and second label."""
    wins: dict[str, dict[str, int]] = {label: {} for label in order}
    cells: dict[str, dict[str, int]] = {label: {} for label in order}
    table = {
        label: {
            (task, measure): float(np.mean([by_model[label][task][part].scores[measure] for part in common[task]]))
            for task in tasks
            for measure in (*WIN_MEASURES, "main_score")
            if task in by_model[label]
            and all(measure in by_model[label][task][part].scores for part in common[task])
            # main_score stands in for tasks that are not retrieval
            and (measure != "main_score" or "ndcg_at_10" not in by_model[label][task][common[task][0]].scores)
        }
        for label in order
    }
    for first in order:
        for second in order:
            if first != second:
                both = table[first].keys() & table[second].keys()
                cells[first][second] = len(both)
                wins[first][second] = sum(table[first][cell] > table[second][cell] for cell in both)
    return wins, cells


def sizes(cards: dict[str, ModelCard], order: list[str]) -> dict[str, list[str]]:
    """Labels by size class, in the order given."""
    classes: dict[str, list[str]] = {name: [] for name in (*(name for name, _ in SIZE_CLASSES), "size unknown")}
    for label in order:
        classes[size_class(cards[label].parameters)].append(label)
    return {name: labels for name, labels in classes.items() if labels}


def size_class(parameters: int | None) -> str:
    """Name of the size class of a model."""
    if not parameters:
        return "size unknown"
    return next(name for name, below in SIZE_CLASSES if parameters < below)


def speed(by_model: ByModel, order: list[str]) -> dict[str, float]:
    """Texts encoded per second by label, over the tasks that know it."""
    speed: dict[str, float] = {}
    for label in order:
        timed = [next(iter(parts.values())) for parts in by_model[label].values()]
        seconds = sum(item.encode_seconds or 0.0 for item in timed)
        texts = sum(item.texts or 0 for item in timed)
        if seconds:
            speed[label] = texts / seconds
    return speed
