"""Measurements of several models → tables, paired tests, wins and size classes. No files, no drawing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from medembed.errors import ResultsError
from medembed.evaluation import tables
from medembed.evaluation.models import BM25, MTEB_BM25
from medembed.evaluation.paired import RESAMPLES, Floats, holm, paired_test
from medembed.evaluation.results import Measurement, ModelCard
from medembed.evaluation.tables import ByModel, Part, Parts

MEAN = "mean"
ALPHA = 0.05
# How much larger a base model must be to count: the same model saved twice may differ by a few position weights.
LARGER = 1.2


@dataclass(frozen=True)
class Pair:
    """Two models on one task, or on the mean of several. The mean is over all tasks they share.

    Attributes:
        task: Task, or ``"mean"``.
        first: Label of the first model.
        second: Label of the second.
        difference: First minus second, 0 to 1.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p_value: Of the paired randomisation test, alone.
        p_holm: The same, corrected for all tests of this comparison.
        n_queries: Queries compared.
        verdict: ``"better"``, ``"worse"`` or ``"no difference shown"``, of the first against the second.
    """

    task: str
    first: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    n_queries: int
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Everything a report shows.

    Attributes:
        measure: The measure compared.
        models: Cards by label, in order of their mean, best first.
        tasks: Task names.
        queries: Queries by task.
        scores: Label → task → score, 0 to 1; a missing task is absent.
        means: Label → mean over the tasks every model has; absent where there are none.
        mean_tasks: The tasks that mean is over.
        pairs: Paired tests, the mean first.
        wins: Label → label → measures on tasks where the first is ahead.
        win_cells: Label → label → measures on tasks that both have.
        sizes: Size class → labels, best first.
        tuned_against_base: Pairs of a tuned model and a larger base model, on the mean.
        speed: Label → texts per second of pure encoding, over all tasks that know it.
        notes: What a reader must know: what could not be tested, and why.
    """

    measure: str
    models: dict[str, ModelCard]
    tasks: list[str]
    queries: dict[str, int]
    scores: dict[str, dict[str, float]]
    means: dict[str, float]
    mean_tasks: list[str]
    pairs: list[Pair]
    wins: dict[str, dict[str, int]]
    win_cells: dict[str, dict[str, int]]
    sizes: dict[str, list[str]]
    tuned_against_base: list[Pair]
    speed: dict[str, float]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Question:
    """The question put to the measurements.

    Attributes:
        measure: Measure to compare, ``"ndcg_at_10"`` by default.
        against: Compare every model with this one only; None for every pair.
        tuned: Labels or names of tuned models; empty for those whose description names a base model.
        base: Labels or names of base models; empty for those whose description names none.
        resamples: Random draws of each test.
        seed: Of the draws.
    """

    measure: str = "ndcg_at_10"
    against: str | None = None
    tuned: Sequence[str] = ()
    base: Sequence[str] = ()
    resamples: int = RESAMPLES
    seed: int = 0


def compare(measurements: Sequence[Measurement], question: Question | None = None) -> Comparison:
    """Compare models on what they were measured on.

    Args:
        measurements: From ``medembed.evaluation.results.load_results``.
        question: What to compare; None for every pair on nDCG@10.

    Returns:
        Tables and tests. A task of several parts counts as the mean of the parts that every model has.

    Raises:
        ResultsError: Fewer than two models, different data under one task name, or an unknown model name.
    """
    question = question or Question()
    by_model = tables.by_model(measurements)
    if len(by_model) < 2:
        raise ResultsError(f"{len(by_model)} model in these results; a comparison needs two. Give more result folders")
    tables.check_same_data(measurements)
    cards = {label: next(iter(next(iter(tasks.values())).values())).model for label, tasks in by_model.items()}
    tasks = sorted({item.task for item in measurements})
    common = {task: tables.common_parts(by_model, task) for task in tasks}
    notes = [f"{task}: the models have no part in common; left out" for task in tasks if not common[task]]
    tasks = [task for task in tasks if common[task]]
    if not tasks:
        raise ResultsError("these models were measured on different parts of every task; nothing can be compared")
    scores = tables.scores(by_model, tasks, common, question.measure)
    mean_tasks = [task for task in tasks if all(task in row for row in scores.values())]
    means = {label: float(np.mean([row[task] for task in mean_tasks])) for label, row in scores.items() if mean_tasks}
    order = sorted(cards, key=lambda label: -means.get(label, 0.0))
    tuned_pairs = _tuned_pairs(cards, order, question)
    pairs, more_notes = _tests(by_model, common, _asked(order, cards, question, tuned_pairs), question)
    wins, cells = tables.wins(by_model, order, tasks, common)
    overall = MEAN if len(tasks) > 1 else tasks[0]
    chosen = [p for p in pairs if p.task == overall and (p.first, p.second) in tuned_pairs]
    return Comparison(
        measure=question.measure,
        models={label: cards[label] for label in order},
        tasks=tasks,
        queries={task: tables.n_queries(by_model, task, common[task]) for task in tasks},
        scores={label: scores[label] for label in order},
        means=means,
        mean_tasks=mean_tasks,
        pairs=pairs,
        wins=wins,
        win_cells=cells,
        sizes=tables.sizes(cards, order),
        tuned_against_base=chosen,
        speed=tables.speed(by_model, order),
        notes=notes + more_notes,
    )


def _asked(
    order: list[str], cards: dict[str, ModelCard], question: Question, tuned: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    if question.against is None:
        pairs = list(combinations(order, 2))
    else:
        baseline = _find(question.against, cards)
        pairs = [(label, baseline) for label in order if label != baseline]
    known = {frozenset(pair) for pair in tuned}
    return tuned + [pair for pair in pairs if frozenset(pair) not in known]


def _find(name: str, cards: dict[str, ModelCard]) -> str:
    asked = MTEB_BM25 if name == BM25 else name
    found = [label for label, card in cards.items() if asked in (label, card.name, card.name.split("/")[-1])]
    if len(found) != 1:
        problem = "names several models" if found else "is not among the models"
        raise ResultsError(f"{name!r} {problem} of these results: {', '.join(sorted(cards))}")
    return found[0]


def _tuned_pairs(cards: dict[str, ModelCard], order: list[str], question: Question) -> list[tuple[str, str]]:
    """Pairs of a tuned model and a larger base model, in order."""
    tuned = [_find(name, cards) for name in question.tuned] or [label for label in order if cards[label].base_model]
    base = [_find(name, cards) for name in question.base] or [label for label in order if not cards[label].base_model]
    return [
        (small, large)
        for small in tuned
        for large in base
        if small != large and 0 < LARGER * (cards[small].parameters or 0) <= (cards[large].parameters or 0)
    ]


def _tests(
    by_model: ByModel, common: dict[str, list[Part]], asked: list[tuple[str, str]], question: Question
) -> tuple[list[Pair], list[str]]:
    notes: list[str] = []
    rows: list[Pair] = []
    for first, second in asked:
        by_task: dict[str, list[Floats]] = {}
        for task, parts in common.items():
            if parts and task in by_model[first] and task in by_model[second]:
                differences = _differences(by_model[first][task], by_model[second][task], parts, question.measure)
                if differences is None:
                    notes.append(f"{task}: {first} against {second} cannot be tested, scores per query are missing")
                else:
                    by_task[task] = differences
        if len(by_task) > 1:
            rows.append(_pair(MEAN, first, second, list(by_task.values()), question))
        rows.extend(_pair(task, first, second, [differences], question) for task, differences in by_task.items())
    corrected = holm([row.p_value for row in rows])
    return [judged(row, p) for row, p in zip(rows, corrected, strict=True)], notes


def _differences(first: Parts, second: Parts, parts: list[tuple[str, str]], measure: str) -> list[Floats] | None:
    found = []
    for part in parts:
        a, b = first[part], second[part]
        if (
            measure not in a.per_query
            or measure not in b.per_query
            or a.query_ids != b.query_ids
            or len(a.query_ids) < 2
        ):
            return None
        found.append(a.per_query[measure] - b.per_query[measure])
    return found


def _pair(task: str, first: str, second: str, tasks: list[list[Floats]], question: Question) -> Pair:
    # Every task weighs the same however many parts it has, and every part of a task the same however many queries.
    weights = [1 / len(parts) for parts in tasks for _ in parts]
    parts = [part for parts in tasks for part in parts]
    test = paired_test(parts, weights=weights, resamples=question.resamples, seed=question.seed)
    low, high, p_value = test.low, test.high, test.p_value
    return Pair(task, first, second, test.difference, low, high, p_value, p_value, test.n_queries, "")


def judged(row: Pair, p_holm: float) -> Pair:
    """A pair with its corrected p-value and what it shows."""
    shown = p_holm < ALPHA and (row.low > 0 or row.high < 0)
    verdict = ("better" if row.difference > 0 else "worse") if shown else "no difference shown"
    return replace(row, p_holm=p_holm, verdict=verdict)
