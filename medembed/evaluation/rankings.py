"""Rankings as TREC run files: one for each task and model, so that other tools can judge them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medembed.errors import TaskDataError
from medembed.storage.durable import disk_errors, write_whole

_BLANK = re.compile(r"\s")
ENDING = ".run"

Found = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class RunFiles:
    """The run files of one model on one task. A task of several sub-sets has one for each.

    Attributes:
        path: The file of a task that has one part.
        parts: Split and sub-set of each part.
        tag: Name of the run: the model's, without blanks.
    """

    path: Path
    parts: tuple[tuple[str, str], ...]
    tag: str

    def path_of(self, split: str, subset: str) -> Path:
        """The file of one part."""
        if len(self.parts) == 1:
            return self.path
        return self.path.with_name(f"{self.path.stem}.{split}.{subset}{ENDING}")

    def are_there(self) -> bool:
        """Tell whether every part has its file."""
        return all(self.path_of(*part).is_file() for part in self.parts)

    def write(self, split: str, subset: str, found: Found) -> None:
        """Write a part's ranking, whole.

        Args:
            split: The part's split.
            subset: The part's sub-set.
            found: Query → document → score.

        Raises:
            TaskDataError: An id holds a blank, which separates the fields of a run file.
            StorageFullError: The disk or the quota is used up.
        """
        path = self.path_of(split, subset)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda made: _fill(made, found, self.tag))


def run_files(folder: Path, result: Path, task: Any, model: str) -> RunFiles | None:
    """The run files that belong to a result. None for a task that ranks nothing.

    Args:
        folder: Folder of all run files.
        result: The result's path below its own folder of results.
        task: The mteb task.
        model: Name of the model, with its variant.
    """
    if not hasattr(task, "task_specific_scores"):
        return None
    parts = tuple((split, subset) for split in task.eval_splits for subset in task.hf_subsets)
    return RunFiles((folder / result).with_suffix(ENDING), parts, _BLANK.sub("_", model))


def lines(found: Found, tag: str) -> Iterator[str]:
    """The lines of a run file: ``qid Q0 docid rank score tag``.

    Queries are in the order of their ids. Documents of one score are in the order in which trec_eval takes them: the last id first.

    Raises:
        TaskDataError: An id holds a blank.

    Example:
        >>> list(lines({"q1": {"a": 0.5, "b": 0.75}}, "mini"))
        ['q1 Q0 b 1 0.75 mini', 'q1 Q0 a 2 0.5 mini']
    """
    for query in sorted(found):
        ranked = sorted(found[query].items(), key=lambda item: (item[1], item[0]), reverse=True)
        for rank, (document, score) in enumerate(ranked, 1):
            if _BLANK.search(query) or _BLANK.search(document):
                raise TaskDataError(
                    "an id of this task holds a blank, and blanks separate the fields of a TREC run file: write ids without them, "
                    "or measure without --save-rankings"
                )
            yield f"{query} Q0 {document} {rank} {float(score)!r} {tag}"


def _fill(path: Path, found: Found, tag: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines(found, tag))
