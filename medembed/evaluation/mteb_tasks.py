"""Tasks of mteb, BEIR folders, and the suite of clinical contrasts.

Written against mteb 2.26: ``AbsTaskRetrieval.load_data`` and ``task_specific_scores``. Only this file and `mteb_bridge` import mteb.
"""

import difflib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import mteb
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.get_tasks import _TASKS_REGISTRY

from medembed.errors import UnknownTaskError
from medembed.evaluation import contrasts
from medembed.evaluation.arrow_tables import read_folder
from medembed.evaluation.tasks import TASK_SETS, TaskRef
from medembed.rows import beir


def load_tasks(refs: Sequence[TaskRef]) -> list[Any]:
    """Turn references into mteb tasks, nothing downloaded or read yet.

    Raises:
        UnknownTaskError: A name that mteb does not know; the message names the nearest ones.
    """
    tasks: list[Any] = []
    for ref in refs:
        if ref.folder is not None:
            tasks.append(folder_task(ref.name, ref.folder))
        elif ref.name == contrasts.TASK:
            tasks.append(ContrastTask())
        elif ref.name in (known := _benchmarks()):
            tasks.extend(known[ref.name].tasks)
        else:
            tasks.append(_named(ref))
    return tasks


def _benchmarks() -> dict[str, Any]:
    found = {benchmark.name: benchmark for benchmark in mteb.get_benchmarks()}
    return found | {alias: benchmark for benchmark in found.values() for alias in benchmark.aliases or ()}


def _named(ref: TaskRef) -> Any:
    if ref.name not in _TASKS_REGISTRY:
        everything = {name.lower(): name for name in (*_TASKS_REGISTRY, *_benchmarks(), *TASK_SETS, contrasts.TASK)}
        near = difflib.get_close_matches(ref.name.lower(), everything, n=3, cutoff=0.7)
        hint = f"did you mean {' or '.join(repr(everything[name]) for name in near)}? " if near else ""
        raise UnknownTaskError(
            f"no task {ref.name!r}: {hint}Give a task of mteb, a set ({', '.join(TASK_SETS)}), a benchmark such as "
            "'MTEB(Medical, v1)', or a BEIR folder; a relative folder begins with ./"
        )
    return mteb.get_task(ref.name, hf_subsets=list(ref.subsets) if ref.subsets else None)


def is_hub_task(name: str) -> bool:
    """Tell whether mteb has a task of this name."""
    return name in _TASKS_REGISTRY


def folder_task(name: str, folder: beir.BeirFolder) -> Any:
    """A BEIR folder as an mteb retrieval task. A name that mteb already uses gets ``-local`` appended."""
    metadata = TaskMetadata(
        name=f"{name}-local" if name in _TASKS_REGISTRY else name,
        description="A folder on this disk in BEIR's layout.",
        dataset={"path": f"local/{name}", "revision": beir.revision(folder)},
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=[folder.split],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )
    # mteb keeps a task's metadata on its class, and drops a copy on the instance when it unloads the data.
    return type("FolderTask", (FolderTask,), {"metadata": metadata, "folder": folder})()


class FolderTask(AbsTaskRetrieval):
    """A task whose data come from a folder, not from the hub."""

    folder: beir.BeirFolder
    metadata: TaskMetadata
    data_loaded: bool = False

    def load_data(self, **_: Any) -> None:
        """Check and read the folder. Its texts stay on disk until they are needed."""
        if self.data_loaded:
            return
        self._scratch = tempfile.TemporaryDirectory(prefix="medembed-evaluate-")
        corpus, queries, qrels = read_folder(self.folder, Path(self._scratch.name))
        data = {"corpus": corpus, "queries": queries, "relevant_docs": qrels, "top_ranked": None}
        self.dataset = {"default": {self.folder.split: data}}
        self.data_loaded = True

    def unload_data(self) -> None:
        """Forget the data and remove the scratch files."""
        super().unload_data()
        self._scratch.cleanup()


class ContrastTask(AbsTaskRetrieval):
    """The suite of clinical contrasts.

    Each query chooses between a passage that fits and one that differs in one respect.

    Its score, ``right``, is the share of queries that choose right, in the mean over the kinds; each kind is a sub-set.
    """

    metadata = TaskMetadata(
        name=contrasts.TASK,
        description="What clinical sentences assert: negation, whose, when, certainty, side, quantity, drug, severity, and controls.",
        dataset={"path": f"local/{contrasts.TASK}", "revision": contrasts.revision()},
        type="Reranking",
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs={kind: ["eng-Latn"] for kind in sorted(contrasts.read())},
        main_score="right",
    )

    def load_data(self, **_: Any) -> None:
        """Read the bundled pairs."""
        from datasets import Dataset

        self.dataset = {}
        for name, kind in contrasts.read().items():
            passages = [{"id": key, "title": "", "text": text} for key, text in kind.passages.items()]
            self.dataset[name] = {
                "test": {
                    "corpus": Dataset.from_list(passages),
                    "queries": Dataset.from_list([{"id": key, "text": text} for key, text in kind.queries.items()]),
                    "relevant_docs": {query: dict.fromkeys(fits, 1) for query, fits in kind.fitting.items()},
                    "top_ranked": kind.candidates(),
                }
            }
        self.data_loaded = True

    def task_specific_scores(
        self,
        scores: Any,  # noqa: ARG002  # the signature is mteb's
        qrels: Any,  # noqa: ARG002
        results: Mapping[str, Mapping[str, float]],
        hf_split: str,  # noqa: ARG002
        hf_subset: str,
    ) -> dict[str, float]:
        """Add the share of queries that are right, and the mean margin."""
        kind = contrasts.read()[hf_subset]
        return {
            "right": mean(self.per_query(results, hf_subset)["right"]),
            "margin": mean(contrasts.margins(kind, results).values()),
        }

    @staticmethod
    def per_query(results: Mapping[str, Mapping[str, float]], hf_subset: str) -> dict[str, list[float]]:
        """Measures of each query beside mteb's own, by sorted query id."""
        right = contrasts.right(contrasts.read()[hf_subset], results)
        return {"right": [float(right[query]) for query in sorted(right)]}
