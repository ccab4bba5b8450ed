"""What is public: names, docstrings, the error tree and its drawing."""

import builtins
import inspect
import re

import pytest

import medembed
from medembed import errors

ERRORS = [
    value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.MedEmbedError)
]


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted(medembed.__all__, key=str.lower) == sorted(medembed._HOMES.keys() | {"__version__"}, key=str.lower)
    for name in medembed.__all__:
        assert getattr(medembed, name) is not None
        assert name.startswith("__") or name == "MODELS" or inspect.getdoc(getattr(medembed, name)), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Medembed'"):
        medembed.Medembed  # noqa: B018


@pytest.mark.parametrize("public", [medembed.MedEmbed, medembed.EmbeddedCorpus], ids=["MedEmbed", "EmbeddedCorpus"])
def test_every_public_method_is_documented(public: type) -> None:
    for name, member in inspect.getmembers(public):
        assert name.startswith("_") or inspect.getdoc(member), name


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_stands_in_the_drawing_where_it_stands_in_the_tree(error: type[errors.MedEmbedError]) -> None:
    drawing = errors.__doc__ or ""
    line = next((line for line in drawing.splitlines() if re.search(rf"\b{error.__name__}\b", line)), None)
    assert line is not None
    depth = len([base for base in error.__mro__ if issubclass(base, errors.MedEmbedError)]) - 1
    assert line.index(error.__name__) == 4 + 4 * depth


@pytest.mark.parametrize(
    "error", [e for e in ERRORS if e is not errors.MedEmbedError], ids=lambda error: error.__name__
)
def test_every_error_is_also_a_builtin(error: type[errors.MedEmbedError]) -> None:
    assert any(
        base.__module__ == builtins.__name__ and base not in (Exception, BaseException, object)
        for base in error.__mro__
    )
