"""Filters for the rows that a search may find.

They go by values of columns, by conditions in words, or by an Arrow expression.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medembed.errors import CorpusError, SettingError
from medembed.extras import require
from medembed.typed import typed

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
# columns that every store has and that may be filtered by
OWN = {"id": "string", "source": "string", "line": "int"}
_CONDITION = re.compile(r"\s*(<=|>=|!=|==|=|<|>)\s*")


@dataclass(frozen=True)
class Condition:
    """A condition on one column of a row.

    Attributes:
        name: The column.
        operator: How it is compared.
        value: With what; None for rows without a value.
    """

    name: str
    operator: Operator
    value: Any


@dataclass(frozen=True)
class Every:
    """Filters that must all hold, each as it reads alone.

    Two conditions on one column let through what fits both of them. In one list they would let through what fits either.

    Attributes:
        parts: The filters.
    """

    parts: tuple[Any, ...]


Filter = Mapping[str, Any] | Sequence[Condition] | Every | Any
"""A mapping such as ``{"ward": "icu", "year": [2024, 2025]}``, conditions, several filters, or a ``pyarrow.compute`` expression.

All of a mapping must hold. A list means any of it, None means no value.
"""


def parse(given: Sequence[str], kept: Mapping[str, str]) -> list[Condition]:
    """Conditions as they are written on the command line. Values are read by their column's type.

    Args:
        given: For instance ``"ward=icu"``, ``"date>=2026-01-01"``, ``"year!=2020"``; ``"ward="`` is a row without a ward.
        kept: Kept columns and their types.

    Raises:
        SettingError: No such column, no operator, or a value of another type than the column's.
    """
    columns = {**OWN, **kept}
    return [_condition(item, columns) for item in given]


def _condition(item: str, columns: Mapping[str, str]) -> Condition:
    for name in sorted(columns, key=len, reverse=True):
        sign = _CONDITION.match(item, len(name)) if item.startswith(name) else None
        if sign is not None:
            try:
                value = typed(item[sign.end() :] or None, columns[name])
            except ValueError as error:
                raise SettingError(f"--where: {name} is of type {columns[name]}, {error}") from None
            operator: Any = "=" if sign[1] == "==" else sign[1]
            if value is None and operator not in ("=", "!="):
                raise SettingError(f"--where: {name}{operator} needs a value to compare with")
            return Condition(name, operator, value)
    raise SettingError(f"--where: expected NAME=VALUE, or one of != < <= > >=, with a name of {', '.join(columns)}")


def allowed(tables: Iterable[Any], chosen: Filter, kept: Mapping[str, str]) -> NDArray[np.bool_]:
    """Rows that a filter lets through.

    Args:
        tables: The rows of a store, in order.
        chosen: The filter.
        kept: Kept columns and their types.

    Returns:
        *Shape:* ``(rows,)``.

    Raises:
        CorpusError: A column that is not there, or a value of another type than the column's.
    """
    arrow = require("pyarrow")
    columns = {**OWN, **kept}
    expression = _expression(chosen, columns)
    rows = list(tables)
    if not rows:
        return np.zeros(0, dtype=bool)
    table = arrow.concat_tables(rows)
    if (names := _names(chosen)) is not None:  # or texts are copied only to be thrown away
        table = table.select(names)
    try:
        found = table.append_column("row number", arrow.array(np.arange(table.num_rows))).filter(expression)
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError, TypeError) as error:
        raise _unfit(type(error).__name__, columns) from error
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[found.column("row number").to_numpy()] = True
    return mask


def _unfit(why: str, columns: Mapping[str, str]) -> CorpusError:
    return CorpusError(
        f"this filter does not fit the store ({why}): its columns are {', '.join(columns)}; keep more with --keep when indexing"
    )


def _expression(chosen: Filter, columns: Mapping[str, str]) -> Any:
    if isinstance(chosen, Every):
        return _all([_expression(part, columns) for part in chosen.parts])
    if isinstance(chosen, Mapping):
        return _all([_any_of(name, _listed(value), columns) for name, value in chosen.items()])
    if not isinstance(chosen, Sequence):
        return chosen
    if unknown := [item.name for item in chosen if item.name not in columns]:
        raise _unfit(f"no column {unknown[0]!r}", columns)
    equal: dict[str, list[Any]] = {}  # the same column named twice means either value
    others = []
    for item in chosen:
        if item.operator == "=":
            equal.setdefault(item.name, []).append(item.value)
        else:
            others.append(_compared(item))
    return _all([*(_any_of(name, values, columns) for name, values in equal.items()), *others])


def _names(chosen: Filter) -> list[str] | None:
    """Columns that a filter reads. None where it does not say."""
    if isinstance(chosen, Every):
        named = [_names(part) for part in chosen.parts]
        return None if None in named else list(dict.fromkeys(name for some in named for name in some or ()))
    if isinstance(chosen, Mapping):
        return list(chosen)
    return list(dict.fromkeys(item.name for item in chosen)) if isinstance(chosen, Sequence) else None


def _all(expressions: Sequence[Any]) -> Any:
    whole = require("pyarrow.compute").scalar(True)
    for expression in expressions:
        whole = whole & expression
    return whole


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def _any_of(name: str, values: Sequence[Any], columns: Mapping[str, str]) -> Any:
    compute = require("pyarrow.compute")
    if name not in columns:
        raise _unfit("no such column", columns)
    kind = columns[name]
    try:
        if any(type(value) is not str and kind == "string" for value in values if value is not None):
            raise ValueError("expected text")
        wanted = [typed(value, kind) for value in values]
    except ValueError as error:
        raise _unfit(f"{name} is of type {kind}, {error}", columns) from None
    column = compute.field(name)
    some = require("pyarrow").array([value for value in wanted if value is not None], type=arrow_type(kind))
    return column.isin(some) | column.is_null() if None in wanted else column.isin(some)


def _compared(item: Condition) -> Any:
    compute = require("pyarrow.compute")
    column = compute.field(item.name)
    if item.value is None:
        return column.is_valid()
    value = compute.scalar(item.value)
    return {
        "!=": column != value,
        "<": column < value,
        "<=": column <= value,
        ">": column > value,
        ">=": column >= value,
    }[item.operator]


def arrow_type(kind: str) -> Any:
    """Arrow type of a kept column."""
    arrow = require("pyarrow")
    return {
        "string": arrow.string(),
        "int": arrow.int64(),
        "float": arrow.float64(),
        "bool": arrow.bool_(),
        "date": arrow.date32(),
    }[kind]
