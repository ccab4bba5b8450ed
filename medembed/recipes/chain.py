"""Models that other recipes make: ``recipe:NAME`` as the name of a base, an anchor or a teacher."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medembed.checkpoints import checkpoint
from medembed.errors import CheckpointError
from medembed.recipes.load import open_recipe
from medembed.recipes.models import MADE, is_made
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import MadeModel, Places


@dataclass(frozen=True)
class Link:
    """A model on the way to a recipe's own.

    Attributes:
        name: As recipes name it.
        made_from: Models that its recipe names; empty for one that no recipe makes.
        digest: Hash of its files where it was made before and that was recorded; else None.
        folder: Where it lies with that hash, if it was found there; else None.
    """

    name: str
    made_from: tuple[str, ...]
    digest: str | None
    folder: Path | None


def named_models(recipe: Recipe) -> list[str]:
    """The models that a recipe names: its base, its teacher, and what its tuned weights are mixed with."""
    teacher = recipe.train.teacher
    names = (recipe.base.model, teacher.model if teacher is not None else None, recipe.merge.anchor)
    return list(dict.fromkeys(name for name in names if name is not None))


def chain_of(recipe: Recipe, places: Places) -> list[Link]:
    """Every model that leads to a recipe's own.

    They come in the order in which they are made. The list is empty where no other recipe makes one.
    """
    links: dict[str, Link] = {}

    def follow(recipe: Recipe, places: Places) -> None:
        for name in named_models(recipe):
            if name in links:
                continue
            recorded = places.expected.get("models", {})
            if not is_made(name):
                revisions = {
                    recipe.merge.anchor: recipe.merge.anchor_revision,
                    recipe.base.model: recipe.base.revision,
                }
                pinned = f"{name}@{revisions[name]}" if revisions.get(name) else name
                links[name] = Link(pinned, (), recorded.get(pinned), None)
                continue
            made, there = open_made(name, recipe)
            follow(made, there)
            found = find_made(recorded.get(name), recipe.execution.models)
            links[name] = Link(name, tuple(named_models(made)), recorded.get(name), found)

    if any(is_made(name) for name in named_models(recipe)):
        follow(recipe, places)
    return list(links.values())


class ModelsOnDemand(dict[str, MadeModel]):
    """Models by name, each looked up when it is first asked for.

    Args:
        make: Called with the name.
    """

    def __init__(self, make: Callable[[str], MadeModel]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> MadeModel:
        """Look a model up, once."""
        self[name] = made = self._make(name)
        return made


def open_made(name: str, asking: Recipe) -> tuple[Recipe, Places]:
    """The recipe that makes a model, run where and as fast as the one that asks for it.

    Args:
        name: As a recipe names the model: ``recipe:NAME``.
        asking: The recipe that needs the model; its ``scale`` holds for this one too.

    Raises:
        UnknownRecipeError: No such recipe.
    """
    recipe, places = open_recipe(name.removeprefix(MADE))
    execution = asking.execution.model_copy(update={"out": None, "push_to_hub": None})
    recipe = recipe.model_copy(update={"execution": execution, "scale": asking.scale})
    return recipe, Places(places.recipe, execution, expected=places.expected)


def find_made(digest: str | None, folder: Path | None) -> Path | None:
    """The model with a hash, among those that were made before.

    Args:
        digest: ``sha256-`` and 12 digits; None where no hash is recorded.
        folder: Holds a folder for each model; None where nobody named one.
    """
    if digest is None or folder is None:
        return None
    return next((path for path in sorted(folder.glob("*")) if digest in hashes(path)), None)


def hashes(folder: Path) -> set[str]:
    """Hashes a model is known by: as a model of one vector per text, and as one of a vector per token where it is one."""
    result: set[str] = set()
    for late_interaction in (None, True):
        try:
            result.add(checkpoint.fetch(str(folder), late_interaction=late_interaction).revision)
        except CheckpointError:
            continue  # not a model of this kind
    return result
