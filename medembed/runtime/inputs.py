"""Values that callers pass as texts → a list of str.

Anything else is an error that names the index and the type.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from medembed.errors import InputTypeError


def checked_texts(texts: object) -> list[str]:
    """Check a sequence of texts once.

    Args:
        texts: A list, tuple, one-dimensional array, or column (pandas, polars, pyarrow) of ``str``. A single ``str`` is refused, since
            its characters are not texts; a table, since going over it gives its columns' names.

    Returns:
        The same texts as a list.

    Raises:
        InputTypeError: Not a sized, ordered collection of one dimension, or an item that is not a ``str``.
    """
    if isinstance(texts, str):
        raise InputTypeError("texts must be a sequence of str here, not a str: wrap a single text in a list")
    items = _items(texts)
    if not isinstance(items, Sequence) and not hasattr(items, "__len__"):
        raise InputTypeError(
            f"texts must be a str or a sequence of str, not {type(texts).__name__}: for an iterator use encode_stream()"
        )
    return _checked_window(list(items), 0)


def _items(texts: object) -> Iterable[Any]:
    """The iterable that gives the texts one by one.

    Raises:
        InputTypeError: Going over it would not give texts, or not in their order.
    """
    shape = getattr(texts, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise InputTypeError(f"texts must be a str or a sequence of str, not {_table(texts, len(shape))}")
    if isinstance(texts, str | bytes | bytearray | memoryview | Mapping | AbstractSet) or not isinstance(
        texts, Iterable
    ):
        raise InputTypeError(f"texts must be a str or a sequence of str, not {type(texts).__name__}{_advice(texts)}")
    # an Arrow column gives values of Arrow's own type when it is gone over
    return texts.to_pylist() if hasattr(texts, "to_pylist") else texts


def _table(texts: object, dimensions: int) -> str:
    """A table or array as an error names it, and the line that works."""
    name = type(texts).__name__
    if hasattr(texts, "columns") or hasattr(texts, "column_names"):
        return f"a table ({name}): pass one column of it, for instance model.encode(table['text'])"
    return f"an array of {dimensions} dimensions ({name}): pass one dimension, for instance model.encode(array[:, 0].tolist())"


def windows(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Cut any iterable of texts into lists of at most ``size``, checking each text as it comes.

    Args:
        texts: Any iterable of ``str``; a single ``str`` is refused, since its characters are not texts.
        size: Texts per window.

    Yields:
        Lists of texts.

    Raises:
        InputTypeError: Not an iterable of ``str``; the message names the index in the stream.
    """
    if isinstance(texts, str):
        raise InputTypeError("encode_stream() takes an iterable of str, not a str: wrap a single text in a list")
    window: list[str] = []
    start = 0
    for text in _items(texts):
        window.append(text)
        if len(window) == size:
            yield _checked_window(window, start)
            start += size
            window = []
    if window:
        yield _checked_window(window, start)


def _checked_window(window: list[str], start: int) -> list[str]:
    if not all(isinstance(text, str) for text in window):
        raise _bad_item(window, start)
    return window


def _bad_item(items: Sequence[object], start: int) -> InputTypeError:
    index, item = next((i, item) for i, item in enumerate(items, start) if not isinstance(item, str))
    return InputTypeError(f"text {index} is a {type(item).__name__}, not a str{_advice(item)}")


def _advice(item: object) -> str:
    """Advice on a type that people pass by mistake."""
    return next((f": {advice}" for holds, advice in _ADVICE if holds(item)), "")


def _is_missing(item: object) -> bool:
    """Tell whether it is what tables have where a text is missing."""
    return (
        item is None or (isinstance(item, float) and math.isnan(item)) or type(item).__name__ in ("NAType", "NaTType")
    )


_ADVICE: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (lambda item: isinstance(item, bytes | bytearray), "decode it first, for instance with .decode('utf-8')"),
    (_is_missing, "fill or drop missing values first"),
    (lambda item: isinstance(item, Mapping), "pass the text field, for instance [row['text'] for row in rows]"),
    (
        lambda item: isinstance(item, AbstractSet),
        "it has no order, and vectors come in the order of their texts; pass sorted(texts) and keep that list",
    ),
    (lambda item: isinstance(item, list | tuple), "flatten nested lists first"),
    # a query of polars
    (
        lambda item: hasattr(item, "collect"),
        "pass one column of what it gives, for instance model.encode(query.collect()['text'])",
    ),
    (lambda item: hasattr(item, "as_py"), "pass the column itself, or column.to_pylist()"),
)
