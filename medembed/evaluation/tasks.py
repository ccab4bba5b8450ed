"""Names and folders after ``--tasks`` → task references. mteb itself is not needed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from medembed.errors import TaskDataError, UnknownTaskError
from medembed.rows.beir import BeirFolder, open_folder


@dataclass(frozen=True)
class TaskRef:
    """One task to measure, not yet loaded.

    Attributes:
        name: mteb's name of the task, or the name of the folder.
        subsets: mteb's sub-sets (languages) to run; None for all of them.
        folder: Files of a local task; None for a task of mteb.
    """

    name: str
    subsets: tuple[str, ...] | None = None
    folder: BeirFolder | None = None


# The five tasks MedEmbed was published with; PublicHealthQA in English only, as there.
_FIVE = (
    TaskRef("ArguAna"),
    TaskRef("MedicalQARetrieval"),
    TaskRef("NFCorpus"),
    TaskRef("PublicHealthQA", ("english",)),
    TaskRef("TRECCOVID"),
)

# The English part of MTEB(Medical, v1), which also holds Chinese, Polish and other languages.
_ENGLISH = (
    TaskRef("CUREv1", ("en",)),
    TaskRef("MedicalQARetrieval"),
    TaskRef("MedrxivClusteringP2P.v2"),
    TaskRef("MedrxivClusteringS2S.v2"),
    TaskRef("NFCorpus"),
    TaskRef("PublicHealthQA", ("english",)),
    TaskRef("SciFact"),
    TaskRef("TRECCOVID"),
)

# Medical sets without the documents that training data hold, as mteb has them.
_DECONTAMINATED = (
    TaskRef("ArguAnaDecontaminated"),
    TaskRef("NFCorpusDecontaminated"),
    TaskRef("SciFactDecontaminated"),
    TaskRef("TrecCOVIDDecontaminated"),
)

TASK_SETS: Mapping[str, tuple[TaskRef, ...]] = MappingProxyType(
    {
        "medembed-five": _FIVE,
        "medical-en": _ENGLISH,
        "decontaminated": _DECONTAMINATED,
        "RTEB(Health)": (TaskRef("RTEB(Health, beta)"),),  # mteb's own name of it
    }
)


def task_refs(names: Sequence[str | Path], split: str | None = None) -> list[TaskRef]:
    """Turn what the user asked for into references. Folders are opened, and sets are spelt out.

    Args:
        names: Names of sets, benchmarks or tasks, or paths of BEIR folders.
        split: Split of the folders' judgements; by default ``test``, or the only one there is.

    Returns:
        References in the order given, each once. Names that are not a set are passed on for mteb to look up.

    Raises:
        UnknownTaskError: A path that is not a folder.
        TaskDataError: A folder that is not a BEIR folder, or two folders of one name.
    """
    refs: list[TaskRef] = []
    for name in names:
        refs.extend(_refs_of(name, split))
    unique = list(dict.fromkeys(refs))
    folders: dict[str, Path] = {}
    for ref in unique:
        if ref.folder is not None and folders.setdefault(ref.name, ref.folder.path) != ref.folder.path:
            raise TaskDataError(
                f"{ref.folder.path} and {folders[ref.name]} have the same name, {ref.name!r}, so their results would "
                "overwrite each other; rename one folder, or give each its own --output"
            )
    return unique


def _refs_of(name: str | Path, split: str | None) -> Sequence[TaskRef]:
    if isinstance(name, str) and name in TASK_SETS:
        return TASK_SETS[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return (TaskRef(folder_name(path), folder=open_folder(path.resolve(), split)),)
    if isinstance(name, Path) or name.startswith((".", "/", "~")) or name.endswith("/"):
        raise UnknownTaskError(
            f"{path}: no such folder; give a BEIR folder (corpus.jsonl, queries.jsonl, qrels/) or a name"
        )
    return (TaskRef(name),)


def folder_name(path: Path) -> str:
    """Task name of a folder.

    It is the folder's own, with a dash for all but letters, digits, dots, dashes and underscores.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).strip("-.") or "folder"
