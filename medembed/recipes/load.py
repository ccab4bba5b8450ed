"""TOML and ``key=value`` → Recipe, with every problem reported together."""

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from medembed import border
from medembed.errors import RecipeConfigError
from medembed.recipes import catalog
from medembed.recipes.execution import Execution
from medembed.recipes.schema import Base, Later, Recipe
from medembed.recipes.sources import Places
from medembed.storage import paths

# the longest shipped recipe has 5 KB
MOST_BYTES = 1 << 20
# recipes that extend one another; mini's own chain has three
MOST_EXTENDED = 20


def open_recipe(name: str, overrides: Sequence[str] = ()) -> tuple[Recipe, Places]:
    """Find a recipe, load it, and tell where what it names is looked for.

    Args:
        name: Name of a shipped recipe, or path of a folder or file.
        overrides: Settings on top of the file.

    Raises:
        UnknownRecipeError: No such recipe.
        RecipeConfigError: The file or a setting is wrong.
    """
    entry = catalog.find(name)
    recipe = load_recipe(entry.file, overrides)
    return recipe, Places(entry.folder, recipe.execution, expected=entry.beside("expected.json"))


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply settings on top of it.

    Args:
        path: The ``recipe.toml``; what it ``extends`` is read first.
        overrides: Settings such as ``"train.epochs=2"``; later ones win.

    Returns:
        The checked recipe.

    Raises:
        RecipeConfigError: The file or a setting is wrong; the message lists all problems, each with what is allowed.
    """
    values = _read(path, ())
    problems = closed_to_files(values)
    problems += [problem for text in overrides if (problem := _apply(values, text))]
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems += [_describe(item) for item in error.errors()]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise RecipeConfigError(f"{path} has {len(problems)} problem(s):\n{lines}")
    return _with_own_prompt(recipe, path.parent)


def _with_own_prompt(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the text of its prompt, where that lies beside it."""
    file = paths.below(folder, f"{recipe.pairs.llm.prompt}.txt")
    if not file.is_file():
        return recipe
    try:
        text = border.read_bytes(file, most=MOST_BYTES, error=RecipeConfigError).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecipeConfigError(f"{file} cannot be read as UTF-8: {error.reason}") from error
    pairs = recipe.pairs.model_copy(update={"llm": recipe.pairs.llm.with_prompt(text)})
    return recipe.model_copy(update={"pairs": pairs})


def _read(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """The values of a file on top of those of the file it extends."""
    if path.resolve() in extending:
        raise RecipeConfigError(f"{path} extends itself, by way of {extending[-1]}: leave one 'extends' out")
    if len(extending) > MOST_EXTENDED:
        raise RecipeConfigError(
            f"{extending[0]} extends more than {MOST_EXTENDED} recipes, one after another: join some"
        )
    try:
        values = tomllib.loads(border.read_bytes(path, most=MOST_BYTES, error=RecipeConfigError).decode("utf-8"))
    except RecursionError:
        raise RecipeConfigError(f"{path} is nested too deep to be a recipe: leave lists in lists out") from None
    except (FileNotFoundError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeConfigError(f"{path} cannot be read as TOML: {error}") from error
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise RecipeConfigError(f"{path}: extends is a {type(base).__name__}, expected the path of one file")
    candidates = [path.parent / base, catalog.root() / base]
    file = next((file for file in candidates if file.is_file()), None)
    if file is None:
        raise RecipeConfigError(
            f"{path} extends {base}, which is neither in {candidates[0].parent} nor among the shipped recipes in {catalog.root()}: "
            "name a file that is there"
        )
    return _merged(Recipe, _read(file, (*extending, path.resolve())), values)


def _merged(model: type[BaseModel], below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge sections key by key. Everything else is replaced whole, tables such as ``caps`` included."""
    result = dict(below)
    if model is Base and "model" in above:
        result.pop("revision", None)  # it is a commit of the other model
    for key, value in above.items():
        section, named = _section_of(model, key)
        known = result.get(key)
        if section is None or not isinstance(value, dict) or not isinstance(known, dict):
            result[key] = value
        elif named:
            result[key] = known | {
                name: _merged(section, known[name], item) if name in known and isinstance(item, dict) else item
                for name, item in value.items()
            }
        else:
            result[key] = _merged(section, known, value)
    return result


def _section_of(model: type[BaseModel], key: str) -> tuple[type[BaseModel] | None, bool]:
    """The section that a key holds, if any, and whether it holds several, each under a name of the user's."""
    fields = Recipe.model_fields if model is Later else model.model_fields
    annotation = fields[key].annotation if key in fields else None
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    section = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
    return section, get_origin(annotation) is dict


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
    """Set one ``a.b.c=value`` in place. Returns a sentence when it cannot be done."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        return f"'{override}' is not a setting; write key=value, for instance train.epochs=2"
    *parents, last = key.strip().split(".")
    table = values
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return f"'{key}': '{name}' holds a value, not settings"
    if (parents, last) == (["base"], "model"):
        table.pop("revision", None)  # it is a commit of the other model
    table[last] = _parse(text.strip())
    return None


def _parse(text: str) -> Any:
    """A value as TOML reads it. Anything TOML does not know is a string, so that quotes may be left out."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _describe(item: Any) -> str:
    """One pydantic problem as a sentence. For a misspelt key, the sentence names the nearest that exists."""
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
        # a name the user chose, such as sources.NAME, stays in the value's type
        model = _section_of(model, str(part))[0] or model
    return set(model.model_fields)
