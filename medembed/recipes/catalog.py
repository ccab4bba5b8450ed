"""Finds recipes: those shipped with the package, and folders or files of the user's own."""

import difflib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medembed import border
from medembed.errors import RecipeError, UnknownRecipeError
from medembed.storage.durable import write_folder

_SHIPPED = Path(__file__).parent / "shipped"
_CHECKOUT = Path(__file__).parents[2] / "recipes"
FILE = "recipe.toml"


@dataclass(frozen=True)
class Entry:
    """A recipe on disk.

    Attributes:
        name: ``FOLDER`` for its ``recipe.toml``, ``FOLDER/PART`` for another file in the folder.
        file: The TOML file. Beside it lie ``README.md`` and ``expected.json``.
    """

    name: str
    file: Path

    @property
    def folder(self) -> Path:
        """The folder of the file."""
        return self.file.parent

    def beside(self, name: str) -> dict[str, Any]:
        """The recipe's entry in a JSON file beside it, or all of the file where it speaks of one recipe only."""
        path = self.folder / name
        content: dict[str, Any] = border.read_json_object(path, error=RecipeError) if path.is_file() else {}
        own: dict[str, Any] = content.get(self.file.stem, content if self.file.name == FILE else {})
        return own


def root() -> Path:
    """The folder of the shipped recipes."""
    return _SHIPPED if _SHIPPED.is_dir() else _CHECKOUT


def shipped() -> list[Entry]:
    """All recipes to choose from that come with the package, by name."""
    return [_entry(file) for file in sorted(root().glob(f"*/{FILE}"))]


def parts(entry: Entry) -> list[Entry]:
    """The other recipes in a shipped recipe's folder: the steps that lead to it."""
    return [_entry(file) for file in sorted(entry.folder.glob("*.toml")) if file.name != FILE]


def find(name: str) -> Entry:
    """A recipe by its name, its folder or its file.

    Args:
        name: ``FOLDER`` or ``FOLDER/PART`` of a shipped recipe, or a path.

    Raises:
        UnknownRecipeError: No such recipe; the message names the nearest.
    """
    entries = {entry.name: entry for main in shipped() for entry in (main, *parts(main))}
    if name in entries:
        return entries[name]
    path = Path(name).expanduser()
    file = (path / FILE if path.is_dir() else path).resolve()
    if file.is_file():
        return _entry(file)
    near = difflib.get_close_matches(name, entries, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    known = ", ".join(entry.name for entry in shipped())
    raise UnknownRecipeError(
        f"no recipe '{name}': {hint}shipped are {known}; otherwise give the path of a folder with {FILE}"
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


def _entry(file: Path) -> Entry:
    return Entry(file.parent.name if file.name == FILE else f"{file.parent.name}/{file.stem}", file)
