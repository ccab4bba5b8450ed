"""Finds recipes: those shipped with the package, and folders or files of the user's own."""

import difflib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from medembed.errors import RecipeError, UnknownRecipeError
from medembed.storage.durable import write_folder

_SHIPPED = Path(__file__).parent / "shipped"
_CHECKOUT = Path(__file__).parents[2] / "recipes"


@dataclass(frozen=True)
class Entry:
    """A recipe on disk: ``recipe.toml``, and beside it ``README.md`` and ``expected.json``.

    Attributes:
        folder: Its folder, whose name is the recipe's.
        file: The ``recipe.toml``.
    """

    folder: Path
    file: Path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name


def shipped() -> list[Entry]:
    """All recipes that come with the package, by name."""
    root = _SHIPPED if _SHIPPED.is_dir() else _CHECKOUT
    return [Entry(file.parent, file) for file in sorted(root.glob("*/recipe.toml"))]


def find(name: str) -> Entry:
    """A recipe by its name, its folder or its file.

    Raises:
        UnknownRecipeError: There is none; the message names the nearest.
    """
    entries = {entry.name: entry for entry in shipped()}
    if name in entries:
        return entries[name]
    path = Path(name).expanduser()
    file = path / "recipe.toml" if path.is_dir() else path
    if file.is_file():
        return Entry(file.parent.resolve(), file.resolve())
    near = difflib.get_close_matches(name, entries, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UnknownRecipeError(
        f"no recipe '{name}': {hint}shipped are {', '.join(entries)}; otherwise give the path of a folder with recipe.toml"
    )


def copy(name: str, target: Path) -> Path:
    """Copy a recipe's folder, to be edited.

    Raises:
        RecipeError: ``target`` exists.
        UnknownRecipeError: No such recipe.
    """
    source = find(name).folder
    if os.path.lexists(target):
        raise RecipeError(f"{target} exists already; choose a new folder")
    write_folder(target, lambda folder: shutil.copytree(source, folder, dirs_exist_ok=True))
    return target
