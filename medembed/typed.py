"""Values of kept columns, read by their type: the same and strictly when rows are indexed and when they are filtered."""

import math
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

_WHOLE = re.compile(r"[+-]?[0-9]+")
_BOOLS = {"true": True, "1": True, "false": False, "0": False}


def _string(value: object) -> str:
    if not isinstance(value, str | int | float | bool):
        raise ValueError  # noqa: TRY004 - one error for all that is not of the type
    text = str(value)
    text.encode()  # half of a surrogate pair cannot be stored
    return text


def _int(value: object) -> int:
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value.strip()):
            raise ValueError
        number = int(value)
    elif isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        number = int(value)
    else:
        raise ValueError
    if not -(2**63) <= number < 2**63:
        raise ValueError
    return number


def _float(value: object) -> float:
    if not isinstance(value, str | int | float) or (isinstance(value, str) and "_" in value):
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _bool(value: object) -> bool:
    if isinstance(value, str | int | float) and (known := str(value).strip().lower()) in _BOOLS:
        return _BOOLS[known]
    raise ValueError


def _date(value: object) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, str) and len(value.strip()) == len("2026-01-31"):
        return date.fromisoformat(value.strip())
    raise ValueError


KEPT_TYPES: dict[str, Callable[[object], Any]] = {
    "string": _string,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "date": _date,
}
EXPECTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true, false, 1 or 0",
    "date": "a date such as 2026-01-31",
}


def typed(value: object, kind: str) -> Any:
    """A value in its column's type.

    Args:
        value: As it stands in a file or on the command line; None, and for other types than ``string`` an empty text,
            is not a value.
        kind: One of :data:`KEPT_TYPES`.

    Returns:
        The value, or None for no value.

    Raises:
        ValueError: It is not of this type; the message does not hold it.

    Example:
        >>> typed("TRUE", "bool"), typed("3", "int"), typed("", "float")
        (True, 3, None)
    """
    if value is None or (value == "" and kind != "string"):
        return None
    try:
        return KEPT_TYPES[kind](value)
    except (ValueError, OverflowError):
        raise ValueError(f"expected {EXPECTED[kind]}") from None
