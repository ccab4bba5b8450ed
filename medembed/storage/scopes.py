"""Scopes of a store: which rows a reader may reach at all, for instance those of one patient."""

from collections.abc import Mapping
from typing import Any, Literal

from medembed.errors import CorpusScopeError, SettingError
from medembed.typed import typed

Scope = Mapping[str, Any] | Literal["all"]
"""A scope of a store: ``{"patient": "17"}`` for the rows of one value of its scope column, a list for those of several, or ``"all"``."""
ALL: Literal["all"] = "all"


def checked(scope: object, column: str | None, kept: Mapping[str, str]) -> Scope | None:
    """A scope that fits a store, its values read by the type of the column.

    Args:
        scope: What the caller named; None for nothing.
        column: The store's scope column; None where it has none.
        kept: Kept columns and their types.

    Returns:
        The scope, several values as a tuple without repeats; None for a store without a scope column whose caller named none.

    Raises:
        CorpusScopeError: The store has a scope column and none was named, or what was named is no scope of this store.
    """
    if scope == ALL:
        return ALL
    if column is None:
        if scope is None:
            return None
        raise CorpusScopeError(
            "this store has no scope column, so a scope would leave nothing out: index with --scope-column NAME, or use a filter"
        )
    if scope is None:
        raise CorpusScopeError(
            f"the rows of this store are divided by {column!r}, and no scope was named: say --scope {column}=VALUE or --scope all, "
            f"in Python scope={{{column!r}: value}} or scope='all'"
        )
    if not isinstance(scope, Mapping) or list(scope) != [column]:
        raise CorpusScopeError(
            f"that is no scope of this store: expected scope={{{column!r}: value}} or scope='all', on the command line "
            f"--scope {column}=VALUE or --scope all"
        )
    named = scope[column]
    if not isinstance(named, list | tuple):
        return {column: _value(named, column, kept[column])}
    if not named:
        raise CorpusScopeError(
            f"a scope has at least one value of {column!r}, and this list is empty: name one, or scope='all'"
        )
    values = tuple(dict.fromkeys(_value(value, column, kept[column]) for value in named))
    return {column: values if len(values) > 1 else values[0]}


def _value(value: Any, column: str, kind: str) -> Any:
    """A value of a scope in its column's type. It is never a missing one."""
    found = None
    if not isinstance(value, list | tuple | set | frozenset | Mapping) and (kind != "string" or isinstance(value, str)):
        try:
            found = typed(value, kind)
        except ValueError:
            found = None
    if found is None or found == "":
        raise CorpusScopeError(
            f"a scope has one value of {column!r}, or a list of them, of type {kind}, and this is {_named(value)}: give one, or scope='all'"
        )
    return found


def _named(value: object) -> str:
    return "no value" if value is None or value == "" else f"a {type(value).__name__} that does not fit"


def parse(given: str) -> Scope:
    """A scope as it is written on the command line: ``all``, or ``patient=17``.

    Raises:
        SettingError: Neither.
    """
    if given == ALL:
        return ALL
    name, sign, value = given.partition("=")
    if not sign or not name or not value:
        raise SettingError("--scope: expected NAME=VALUE with the name of the scope column, or all")
    return {name.strip(): value}
