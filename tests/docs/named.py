"""Commands and files that pages name: whether there are such. Commands are parsed, never run."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from medembed.cli import app
from medembed.recipes import catalog, pipeline
from medembed.recipes.load import load_recipe

ROOT = Path(__file__).parents[2]
RECIPE_OPTIONS = ("--recipe", "--until", "--dry-run", "--help", "-h")
# what a reader has to fill in: DIR, FOLDER, …, my-recipe
PLACEHOLDER = re.compile(r"[A-Z_]{2,}|…|\.\.\.")


def check(words: Sequence[str], where: str, *, whole: bool = True) -> None:
    """Look a command up, be it medembed's, a module's or make's; others are not ours to know.

    Args:
        words: As a shell splits it.
        where: For messages.
        whole: It is a whole command, not one that prose names with its arguments left out.

    Raises:
        AssertionError: No such command, option, module, target, recipe, stage or setting.
        click.UsageError: Arguments that a whole command does not take.
    """
    if words[:1] == ["medembed"]:
        _medembed(words[1:], where, whole=whole)
        if words[1:2] == ["recipes"] and len(words) > 3 and not words[3].startswith("-"):
            _recipe(["--recipe", *words[3:]], where)
    elif words[:1] == ["make"]:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        asked = [word for word in words[1:] if "=" not in word and not PLACEHOLDER.search(word)]
        assert not set(asked) - set(targets), f"{where}: make knows no {asked}"
    elif "-m" in words and words[0] in ("python", "torchrun", "accelerate"):
        module, rest = words[words.index("-m") + 1], words[words.index("-m") + 2 :]
        assert importlib.util.find_spec(module), f"{where}: no module {module}"
        if module.startswith("medembed.recipes") and not module.endswith("bundle"):
            _recipe(rest, where)


def _medembed(words: Sequence[str], where: str, *, whole: bool) -> None:
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"{where}: no command {words}"
        command, rest = command.commands[rest[0]], rest[1:]
    if whole:
        command.make_context(" ".join(words), rest)
        return
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word for word in rest if word.startswith("--")} - known - {"--help"}
    assert not unknown, f"{where}: {words} knows no {unknown}"


def _recipe(words: Sequence[str], where: str) -> None:
    """Options, recipe and settings; a recipe of the reader's own is held against the sample it is copied from."""
    unknown = [word for word in words if word.startswith("-") and word not in RECIPE_OPTIONS]
    assert not unknown, f"{where}: recipes know no {unknown}"
    if "--until" in words:
        assert words[words.index("--until") + 1] in pipeline.NAMES, f"{where}: no such stage"
    named = words[words.index("--recipe") + 1] if "--recipe" in words else "tiny"
    shipped = {entry.name: entry for main in catalog.shipped() for entry in (main, *catalog.parts(main))}
    own = named.startswith(("my", "/", ".")) or PLACEHOLDER.search(named)
    assert own or named in shipped, f"{where}: no recipe {named}"
    settings = [word for word in words if "=" in word and not PLACEHOLDER.search(word)]
    load_recipe(shipped[named if named in shipped else "tiny"].file, settings)


FILE = re.compile(r"(?:\.ci|docs|examples|integrations|medembed|recipes|tests)/[\w./*-]+")


OTHER = ("medembed/mini", "medembed/recipes/shipped")  # a model's name in results, a folder of the wheel


def missing_file(text: str) -> bool:
    """Whether a path in the repository is named that is not there."""
    if not FILE.fullmatch(text) or text in OTHER:
        return False
    return not any(ROOT.glob(text.rstrip("/"))) and not any(ROOT.glob(f"integrations/*/{text}"))
