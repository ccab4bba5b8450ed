"""A stage, and what it is handed when it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medembed.recipes.artifacts import Artifact, ArtifactWriter
from medembed.recipes.reporting import Task
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places

Summary = dict[str, Any]


@dataclass(frozen=True)
class StageRun:
    """Everything a stage may use.

    Attributes:
        recipe: The whole recipe, in stages of a round as that round reads it; a stage reads its own section.
        places: Where source files are.
        inputs: Finished artefacts by role, for instance ``inputs["notes"]``.
        out: The folder to fill.
        task: Progress and run log.
        round: 1, or the round of mining and training in recipes that have several.
    """

    recipe: Recipe
    places: Places
    inputs: Mapping[str, Artifact]
    out: ArtifactWriter
    task: Task
    round: int = 1


@dataclass(frozen=True)
class Stage:
    """One row of the pipeline's table.

    Attributes:
        name: What it makes; the name of its folder and of its module.
        version: Part of the fingerprint: raised when the code starts to give other results.
        makes: One line for people.
        config: The part of the recipe its result depends on.
        run: Does the work; returns counts and figures.
    """

    name: str
    version: int
    makes: str
    config: Callable[[Recipe, Places, int], Any]
    run: Callable[[StageRun], Summary]


def is_kept(index: int, key: str, scale: float, floor: int) -> bool:
    """Tell whether a shrunken run keeps a row.

    It keeps the first ``floor`` rows always, and of the others a share chosen by their hash.

    Args:
        index: Number of the row in its source.
        key: A hexadecimal hash of the row.
        scale: Share to keep, 1 for all.
        floor: Rows that are always kept, so that a tiny share still leaves something to work with.
    """
    return scale >= 1.0 or index < floor or int(key[:8], 16) < scale * 2**32
