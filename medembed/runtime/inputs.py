"""What callers pass as texts → a list of str, or an error that names the index and the type."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

from medembed.errors import InputTypeError, SettingError

PromptKind = Literal["query", "document"]
"""What texts are, where a model has a prompt of its own for each."""


def checked_texts(texts: object) -> list[str]:
    """Check a sequence of texts once.

    Args:
        texts: A list, tuple, array, column ... of ``str``; a single ``str`` is refused, since its characters are not texts.

    Returns:
        The same texts as a list.

    Raises:
        InputTypeError: Not a sized, ordered collection, or an item that is not a ``str``.
    """
    if isinstance(texts, str):
        raise InputTypeError("texts must be a sequence of str here, not a str: wrap a single text in a list")
    if isinstance(texts, bytes | bytearray | memoryview | Mapping | AbstractSet) or not isinstance(texts, Iterable):
        raise InputTypeError(f"texts must be a str or a sequence of str, not {type(texts).__name__}{_advice(texts)}")
    if not isinstance(texts, Sequence) and not hasattr(texts, "__len__"):
        raise InputTypeError(
            f"texts must be a str or a sequence of str, not {type(texts).__name__}: for an iterator use encode_stream()"
        )
    listed = list(texts)
    return _checked_window(listed, 0)


def prompt_of(prompts: Mapping[str, str], kind: PromptKind | None, prompt: str | None) -> str:
    """What is put before each text.

    Args:
        prompts: The model's own, by kind.
        kind: Which of them; None for none.
        prompt: The caller's own; None for none.

    Raises:
        SettingError: Both are given, or the kind is unknown.
    """
    if kind is None:
        return prompt or ""
    if prompt is not None:
        raise SettingError(f"kind={kind!r} and a prompt of your own: give one of them")
    if kind not in prompts:
        raise SettingError(f"kind={kind!r}: choose 'query' or 'document'")
    return prompts[kind]


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
    if isinstance(texts, str | bytes | bytearray | Mapping) or not isinstance(texts, Iterable):
        raise InputTypeError(
            f"encode_stream() takes an iterable of str, not {type(texts).__name__}: wrap a single text in a list"
        )
    window: list[str] = []
    start = 0
    for text in texts:
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
    """What to do about a type that people pass by mistake."""
    if isinstance(item, bytes | bytearray):
        return ": decode it first, for instance with .decode('utf-8')"
    if item is None or (isinstance(item, float) and math.isnan(item)):  # what tables have where a text is missing
        return ": fill or drop missing values first"
    if isinstance(item, Mapping):
        return ": pass the text field, for instance [row['text'] for row in rows]"
    if isinstance(item, list | tuple):
        return ": flatten nested lists first"
    return ""
