"""Every public name says what it is; what takes or gives arrays says their shapes; arguments are all described."""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

HOMES = (
    "medembed",
    "medembed.vectors",
    "medembed.errors",
    "medembed.demo",
    "medembed.evaluation",
    "medembed.corpus",
    "medembed.colbert",
)
ARRAY = re.compile(r"NDArray|Floats|ndarray")
SHAPE = re.compile(r"[Ss]hape")


def _names(module: Any) -> list[str]:
    """``__all__``, or what the module itself defines."""
    own = [
        n
        for n, v in vars(module).items()
        if getattr(v, "__module__", None) == module.__name__ and not n.startswith("_")
    ]
    return list(getattr(module, "__all__", own))


def _public() -> Iterator[tuple[str, Any]]:
    """Public classes and functions, and the public methods and properties of those classes, each once."""
    seen: set[str] = set()
    for home in HOMES:
        module = importlib.import_module(home)
        for name in _names(module):
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)) or thing.__qualname__ in seen:
                continue
            seen.add(thing.__qualname__)
            yield f"{home}.{name}", thing
            if inspect.isclass(thing):
                yield from (
                    (f"{home}.{name}.{m}", f) for m, f in vars(thing).items() if not m.startswith("_") and _is_code(f)
                )


def _is_code(member: Any) -> bool:
    return inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)


def _function(thing: Any) -> Any:
    """The function behind a property or a class method; None for a class."""
    if isinstance(thing, property):
        return thing.fget
    return getattr(thing, "__func__", thing) if not inspect.isclass(thing) else None


PUBLIC = [pytest.param(thing, id=name) for name, thing in _public()]


@pytest.mark.parametrize("thing", PUBLIC)
def test_public_name_has_a_docstring(thing: Any) -> None:
    assert inspect.getdoc(thing)


@pytest.mark.parametrize("thing", PUBLIC)
def test_arguments_are_described_or_those_of_a_named_function(thing: Any) -> None:
    function = _function(thing)
    if function is None or isinstance(thing, property):
        return
    text = inspect.getdoc(function) or ""
    given = [name for name in inspect.signature(function).parameters if name not in ("self", "cls", "show_progress")]
    missing = [name for name in given if not re.search(rf"^\s*\*{{0,2}}{name}:|``{name}``", text, re.MULTILINE)]
    refers = re.search(r"``[\w.]+``|`[\w.]+`", text) and "Args:" not in text
    short = len(given) <= 1 and "Args:" not in text
    assert missing == [] or refers or short


@pytest.mark.parametrize("thing", PUBLIC)
def test_arrays_have_shapes(thing: Any) -> None:
    function = _function(thing)
    if function is None or not any(ARRAY.search(str(a)) for a in inspect.get_annotations(function).values()):
        return
    text = inspect.getdoc(function) or ""
    assert SHAPE.search(text) or re.search(r"``\w*code\w*``", text), "say the shapes, or which function's they are"
