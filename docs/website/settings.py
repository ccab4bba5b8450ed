"""The reference of recipe settings, from the models that check them."""

import inspect
import re
import types
import typing
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medembed.recipes import schema

INTRO = """# Recipe settings

What a `recipe.toml` may say; anything else is refused before a run starts, all problems in one report. The same keys work behind a command:
`python -m medembed.recipes.train --recipe tiny train.epochs=2`. Nothing under `[execution]` changes a result.

"""
# a line of "Attributes:", with the lines that go on with it
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def page() -> str:
    """A table for each section, in the order of the recipe."""
    return INTRO + "\n".join(_section("", schema.Recipe))


def _section(path: str, model: type[BaseModel]) -> list[str]:
    title = f"[{path}]" if path else "The recipe"
    lines = [f"## `{title}`" if path else f"## {title}", "", _prose(model), ""]
    meanings = _meanings(model)
    tables, inner = [], []
    for name, field in model.model_fields.items():
        nested, repeated = _nested(field.annotation)
        if nested:
            inner += _section(".".join(filter(None, (path, name, "NAME" if repeated else ""))), nested)
        else:
            tables.append(f"| `{name}` | {meanings[name]} | {_type(field)} | {_default(field)} |")
    if tables:
        lines += ["| key | meaning | type | default |", "|---|---|---|---|", *tables, ""]
    return lines + inner


def _prose(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").partition("\nAttributes:")[0].replace("``", "`").strip()


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """What each key means, from the docstrings of a section and of those that it extends."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        told = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")[2]
        for match in _ATTRIBUTE.finditer(told):
            found[match[1]] = " ".join(match[2].split()).replace("``", "`")
    return found


def _nested(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The section a field holds, and whether it is a table of such sections, each under a name of the user's."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if get_origin(annotation) is types.UnionType:  # a section that may be left out
        return next((found for one in get_args(annotation) if (found := _nested(one))[0]), (None, False))
    if get_origin(annotation) is dict and isinstance(get_args(annotation)[1], type):
        value = get_args(annotation)[1]
        return (value, True) if issubclass(value, BaseModel) else (None, False)
    return None, False


def _type(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, sign in _SIGNS.items()
        if hasattr(rule, name)
    ]
    return " ".join([_name(field.annotation), *([f"({', '.join(bounds)})"] if bounds else [])])


_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): ""}


def _name(annotation: Any) -> str:
    if get_origin(annotation) is typing.Annotated:
        return _name(get_args(annotation)[0])
    if get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) in (types.UnionType, typing.Union):
        return " or ".join(filter(None, (_name(one) for one in get_args(annotation))))
    if get_origin(annotation) is tuple:
        return f"list of {_name(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return f"table of {_name(get_args(annotation)[1])}"
    return _NAMES.get(annotation, "path" if getattr(annotation, "__name__", "") == "Path" else "any value")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value in ("", (), {}):
        return ""
    shown = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
    return ", ".join(f"`{one}`" for one in value) if isinstance(value, tuple) else f"`{shown}`"
