"""Details kept beside mteb's result of a task. They are scores per query, times, machine and versions."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import medembed
from medembed.evaluation.rankings import RunFiles

# pytrec_eval's name of a measure → mteb's; the measures `medembed compare` can test
PER_QUERY = {
    "ndcg_cut_10": "ndcg_at_10",
    "ndcg_cut_1": "ndcg_at_1",
    "map_cut_100": "map_at_100",
    "P_10": "precision_at_10",
    "recall_10": "recall_at_10",
    "recall_100": "recall_at_100",
}


@contextmanager
def keep_per_query(task: Any, kept: dict[str, Any], runs: RunFiles | None = None) -> Iterator[None]:
    """Keep the measures of each query of a retrieval task, and its ranking where that is wanted.

    While this is open, they are taken from mteb's metrics and added to ``kept[split][subset]``.
    """
    original = getattr(task, "task_specific_scores", None)
    if original is None:
        yield
        return

    own = getattr(task, "per_query", None)

    def recording(
        scores: Mapping[str, Mapping[str, float]], qrels: Any, results: Any, *, hf_split: str, hf_subset: str
    ) -> Any:
        ids = sorted(scores)
        columns = {ours: [round(scores[i][theirs], 6) for i in ids] for theirs, ours in PER_QUERY.items()}
        columns |= own(results, hf_subset) if own is not None else {}
        kept.setdefault(hf_split, {})[hf_subset] = {"query_ids": ids, **columns}
        if runs is not None:
            runs.write(hf_split, hf_subset, results)
        return original(scores, qrels, results, hf_split=hf_split, hf_subset=hf_subset)

    task.task_specific_scores = recording
    try:
        yield
    finally:
        del task.task_specific_scores


def describer(
    task: Any, per_query: Mapping[str, Any], encoding: Callable[[], dict[str, Any]] | None
) -> Callable[[], dict[str, Any]]:
    """The content of the details file, as a function.

    The function gives it as it stands when mteb writes a result. The clock starts now.

    Args:
        task: The mteb task.
        per_query: Filled by `keep_per_query`.
        encoding: Tells time and texts of the encoding; None for models that medembed does not run.
    """
    start = time.perf_counter()

    def describe() -> dict[str, Any]:
        return {
            "task": task.metadata.name,
            "dataset_revision": task.metadata.revision,
            "medembed_version": medembed.__version__,
            "mteb_version": version("mteb"),
            "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system()},
            "seconds": round(time.perf_counter() - start, 3),
            "encoding": encoding() if encoding is not None else None,
            "per_query": per_query,
        }

    return describe
