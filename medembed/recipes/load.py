"""TOML and ``key=value`` → Recipe, with every problem reported together."""

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from medembed.errors import RecipeConfigError
from medembed.recipes.schema import Execution, Recipe


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply settings on top of it.

    Args:
        path: The ``recipe.toml``.
        overrides: Settings such as ``"train.epochs=2"``; later ones win.

    Returns:
        The checked recipe.

    Raises:
        RecipeConfigError: The file or a setting is wrong; the message lists all problems, each with what is allowed.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeConfigError(f"{path} cannot be read as TOML: {error}") from error
    problems = closed_to_files(values)
    problems += [problem for text in overrides if (problem := _apply(values, text))]
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems += [_describe(item) for item in error.errors()]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise RecipeConfigError(f"{path} has {len(problems)} problem(s):\n{lines}")
    return recipe


def closed_to_files(values: dict[str, Any]) -> list[str]:
    """Problems with settings that a recipe's file names but only the person who starts it may choose.

    Args:
        values: The file's content, before settings from the command line are put on top of it.
    """
    execution = values.get("execution")
    named = set(execution) if isinstance(execution, dict) else set()
    closed = sorted((named & set(Execution.model_fields)) - Execution.FILE_MAY_SET)
    return [
        f"execution.{name}: no recipe's file may say where things are sent or kept, or which secret is used. Take the line out; "
        f"if you want it, say it on the command line: execution.{name}=VALUE"
        for name in closed
    ]


def _apply(values: dict[str, Any], override: str) -> str | None:
    """Set one ``a.b.c=value`` in place; a sentence when it cannot be done."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        return f"'{override}' is not a setting; write key=value, for instance train.epochs=2"
    *parents, last = key.strip().split(".")
    table = values
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return f"'{key}': '{name}' holds a value, not settings"
    table[last] = _parse(text.strip())
    return None


def _parse(text: str) -> Any:
    """A value as TOML reads it; anything TOML does not know is a string, so that quotes may be left out."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _describe(item: Any) -> str:
    """One pydantic problem as a sentence; a misspelt key names the nearest that exists."""
    where = ".".join(str(part) for part in item["loc"]) or "recipe"
    if item["type"] != "extra_forbidden":
        shown = "" if isinstance(item["input"], dict) else f" (found {item['input']!r})"
        return f"{where}: {item['msg'].removeprefix('Value error, ')}{shown}"
    allowed = sorted(_fields_at(item["loc"][:-1]))
    nearest = difflib.get_close_matches(str(item["loc"][-1]), allowed, n=1)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"allowed here: {', '.join(allowed)}"
    return f"{where}: no such setting; {hint}"


def _fields_at(location: Sequence[int | str]) -> set[str]:
    """Names allowed at a place in the recipe, found by walking the schema."""
    model: type[BaseModel] = Recipe
    for part in location:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        candidates = [annotation, *get_args(annotation)] if annotation else []
        inner = [kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = inner[0] if inner else model  # a name the user chose, such as sources.NAME: stay in the value's type
    return set(model.model_fields)
