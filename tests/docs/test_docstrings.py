"""Every public name says what it is; arrays have shapes, arguments are all described, errors that it raises are named.

Public is what packages export, what the reference pages show, and what the examples import; the reference has all three.
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs import blocks

DOCS = Path(__file__).parents[2] / "docs"
# packages with names of their own at the top
HOMES = ("medembed", "medembed.evaluation")
SHOWN = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
ARRAY = re.compile(r"NDArray|Floats|ndarray")
SHAPE = re.compile(r"[Ss]hape")


def _object(dotted: str) -> Any:
    """What a dotted name means: a module, or a name in one."""
    home, _, name = dotted.rpartition(".")
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(home), name)


def _exported() -> dict[str, Any]:
    names = [f"{home}.{name}" for home in HOMES for name in importlib.import_module(home).__all__]
    return {name: _object(name) for name in names}


def _shown() -> dict[str, Any]:
    """What the reference pages show; of a module, what it defines itself."""
    shown: dict[str, Any] = {}
    for page in sorted((DOCS / "reference").glob("*.md")):
        for dotted in SHOWN.findall(page.read_text(encoding="utf-8")):
            thing = _object(dotted)
            shown[dotted] = thing
            if inspect.ismodule(thing):
                own = {n: v for n, v in vars(thing).items() if getattr(v, "__module__", "") == thing.__name__}
                shown |= {f"{dotted}.{name}": value for name, value in own.items() if not name.startswith("_")}
    return shown


def _public() -> Iterator[Any]:
    """Classes and functions, and the public methods and properties of those classes, each once."""
    seen: set[int] = set()
    for name, thing in (_exported() | _shown()).items():
        if not (inspect.isclass(thing) or inspect.isfunction(thing)) or id(thing) in seen:
            continue
        seen.add(id(thing))
        yield pytest.param(thing, id=name)
        if inspect.isclass(thing):
            members = {m: f for m, f in vars(thing).items() if not m.startswith("_") and _is_code(f)}
            yield from (pytest.param(member, id=f"{name}.{m}") for m, member in members.items())


def _is_code(member: Any) -> bool:
    return inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)


def _function(thing: Any) -> Any:
    """The function behind a property or a class method; None for a class."""
    if isinstance(thing, property):
        return thing.fget
    return getattr(thing, "__func__", thing) if not inspect.isclass(thing) else None


PUBLIC = list(_public())


def test_reference_shows_every_exported_name() -> None:
    shown = {id(thing) for thing in _shown().values()}
    described = {"MODELS", "__version__"}  # data: prose on the page
    missing = [name for name, thing in _exported().items() if id(thing) not in shown]
    assert [name for name in missing if name.rpartition(".")[2] not in described] == []


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.name) for page in sorted([*DOCS.glob("start/*.md"), *DOCS.glob("guides/*.md")])],
)
def test_reference_shows_what_the_examples_import(page: Path) -> None:
    shown = {id(thing) for thing in _shown().values()}
    trees = [ast.parse(block.code) for block in blocks.find(page) if block.language == "python"]
    imported = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = [f"{n.module}.{a.name}" for n in imported if (n.module or "").split(".")[0] == "medembed" for a in n.names]
    assert [name for name in names if id(_object(name)) not in shown] == []


@pytest.mark.parametrize("thing", PUBLIC)
def test_public_name_has_a_docstring(thing: Any) -> None:
    assert inspect.getdoc(thing)


@pytest.mark.parametrize("thing", PUBLIC)
def test_arguments_are_described_or_those_of_a_named_function(thing: Any) -> None:
    function = _function(thing)
    if function is None or isinstance(thing, property):
        return
    text = inspect.getdoc(function) or ""
    given = [
        name for name in inspect.signature(function).parameters if name not in ("self", "cls", "show_progress_bar")
    ]
    refers = re.search(r"``[\w.]+``|`[\w.]+`", text) and "Args:" not in text
    short = len(given) <= 1 and "Args:" not in text
    assert _undescribed(given, text) == [] or refers or short


@pytest.mark.parametrize("thing", [param for param in PUBLIC if inspect.isclass(param.values[0])])
def test_what_a_class_is_made_with_is_described(thing: type) -> None:
    made = vars(thing).get("__init__")
    opened_otherwise = (inspect.getdoc(made) or "").startswith("Use :meth:")
    if not inspect.isfunction(made) or made.__module__ != thing.__module__ or opened_otherwise:
        return
    given = [name for name in inspect.signature(made).parameters if name != "self"]
    assert _undescribed(given, f"{inspect.getdoc(thing)}\n{inspect.getdoc(made)}") == []


def _undescribed(names: list[str], text: str) -> list[str]:
    return [name for name in names if not re.search(rf"^\s*\*{{0,2}}{name}:|``{name}``", text, re.MULTILINE)]


@pytest.mark.parametrize("thing", PUBLIC)
def test_arrays_have_shapes(thing: Any) -> None:
    function = _function(thing)
    if function is None or not any(ARRAY.search(str(a)) for a in inspect.get_annotations(function).values()):
        return
    text = inspect.getdoc(function) or ""
    assert SHAPE.search(text) or re.search(r"``\w*code\w*``", text), "say the shapes, or which function's they are"


def _written(function: Any) -> bool:
    """Not made by ``dataclass`` or ``Protocol``."""
    return function.__code__.co_filename != "<string>" and function.__module__ != "typing"


@pytest.mark.parametrize("thing", PUBLIC)
def test_errors_that_it_raises_itself_are_named(thing: Any) -> None:
    function = _function(thing)
    made = None if function is not None else vars(thing).get("__init__") or vars(thing).get("__post_init__")
    code = function or made
    if not inspect.isfunction(code) or not _written(code):
        return
    text = f"{inspect.getdoc(thing)}\n{inspect.getdoc(code)}"
    tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    raised = {
        node.exc.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name)
    }
    # a function that makes an error is written in small letters: what it makes is checked where that is public
    assert [name for name in raised if name[0].isupper() and name not in text] == []
