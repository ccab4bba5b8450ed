"""Stages of a work folder that earlier runs of a recipe built and the recipe as it is now does not use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medembed import border
from medembed.errors import RecipeError
from medembed.recipes.artifacts import MANIFEST, hold, open_manifest
from medembed.recipes.pipeline import NAMES, Step
from medembed.recipes.schema import Recipe
from medembed.storage import paths
from medembed.storage.durable import has_sha256

Place = tuple[str, str]  # a stage's name and a fingerprint, which are the folder's


@dataclass(frozen=True)
class Old:
    """A finished stage that is not used any more.

    Attributes:
        name: Its folder below the work folder: ``train/0c1f...``.
        files: What its manifest lists and is there unchanged, the manifest last.
        n_bytes: Their size.
        n_kept: Other files in the folder. They are never removed.
    """

    name: str
    files: tuple[str, ...]
    n_bytes: int
    n_kept: int


def find_old(recipe: Recipe, steps: Sequence[Step]) -> list[Old]:
    """Finished stages that earlier runs of a recipe list, and neither its plan nor the last run of another recipe.

    Args:
        recipe: The recipe; the logs of the work folder know its runs by its name.
        steps: Its plan.

    Returns:
        One for each folder, by name. A stage that was only begun is not among them: no manifest lists its files.

    Raises:
        UnsafePathError: A folder holds a link, or a manifest names a file outside of its folder.
    """
    work = recipe.execution.work
    listed: set[Place] = set()
    used = {(step.stage.name, step.fingerprint) for step in steps}
    last_of_others: dict[str, set[Place]] = {}
    for name, own, all_places in _runs(work):
        if name == recipe.name:
            listed |= own
        else:
            last_of_others[name] = all_places
    used |= set().union(*last_of_others.values())
    found = (_old(work, f"{stage}/{mark}") for stage, mark in sorted(listed - used))
    return [old for old in found if old is not None]


def remove_old(recipe: Recipe, steps: Sequence[Step]) -> list[Old]:
    """Remove what ``find_old`` finds, file by file. Each manifest goes last: what is left after a kill is found again.

    Returns:
        What was removed.

    Raises:
        WorkFolderBusyError: A run is at work in the folder.
        UnsafePathError: As ``find_old``.
    """
    work = recipe.execution.work
    with hold(work, recipe.execution.lock_wait_s):
        old = find_old(recipe, steps)
        for item in old:
            for file in item.files:
                paths.remove(work, f"{item.name}/{file}")
            paths.remove_empty(work, item.name)
    return old


def _old(work: Path, name: str) -> Old | None:
    """What may be removed of a folder; None where nothing in it is finished."""
    folder = paths.below(work, name)
    manifest = open_manifest(folder)
    if manifest is None:
        return None
    paths.check_tree(folder)
    files = [file for file, digest in manifest["files"].items() if has_sha256(paths.below(folder, file), digest)]
    files.append(MANIFEST)
    there = sum(1 for path in folder.rglob("*") if path.is_file())
    return Old(name, tuple(files), sum((folder / file).stat().st_size for file in files), there - len(files))


def _runs(work: Path) -> Iterator[tuple[str, set[Place], set[Place]]]:
    """Of each run, in order of time: the recipe's name, its own stages, and those of the recipes whose models it needed too."""
    for log in sorted((work / "runs").glob("*.jsonl")):
        with log.open("rb") as file:
            started = _event(file.readline())
        steps = started.get("steps")
        if isinstance(started.get("recipe"), str) and isinstance(steps, dict):
            places = {key: _place(key, str(mark)) for key, mark in steps.items()}
            own = {place for key, place in places.items() if place and ":" not in key}
            yield started["recipe"], own, {place for place in places.values() if place}


def _event(line: bytes) -> dict[str, Any]:
    """An event of a run's log; none where the line was torn."""
    try:
        event = border.parse_json(line, source="the run's log", error=RecipeError)
    except RecipeError:
        return {}
    return event if isinstance(event, dict) else {}


def _place(key: str, mark: str) -> Place | None:
    """The folder of a step by its key, such as ``mini/1:negatives-2``; None where that is no name of ours."""
    stage = key.rpartition(":")[2].partition("-")[0]
    return (stage, mark) if stage in NAMES and mark.isalnum() else None
