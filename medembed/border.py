"""Checks on what comes from outside: regular files, JSON of bounded size and depth, whole numbers within bounds.

Every file of a model folder, a store or a recipe's work folder, and every reply of an endpoint, is data from somebody else. One
place decides how much of it is read, so that no file, reply or number can take all memory, hang, or crash a later write.
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from medembed.errors import MedEmbedError

MakeError = Callable[[str], MedEmbedError]
"""An error of our tree, or a function that makes one from the first half of a sentence."""

Surrogates = Literal["refuse", "replace", "keep"]
"""What to do with half of a UTF-16 pair, which JSON can spell and UTF-8 cannot: refuse the document, read U+FFFD, or keep it.

Only a caller that checks each string which it uses may keep halves.
"""

# The largest legitimate file is the tokenizer of a multilingual model (XLM-RoBERTa 17 MB, EmbeddingGemma 33 MB).
MOST_JSON_BYTES = 128 << 20
# The deepest legitimate file measured is a tokenizer.json of 9 levels; Python's parser ends near 1,000, others crash.
MOST_DEPTH = 64

_LONE = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_bytes(path: Path, *, most: int, error: MakeError) -> bytes:
    """Read a regular file whole, following links. See :func:`read_buffer`."""
    return bytes(read_buffer(path, most=most, error=error))


def read_buffer(path: Path, *, most: int, error: MakeError) -> bytearray:
    """Read a regular file whole into memory that may be written to, following links.

    Args:
        path: The file.
        most: The largest size, in bytes.
        error: Makes what is raised.

    Returns:
        The bytes of one moment: the file is opened once, and a file that changes while it is read is refused.

    Raises:
        FileNotFoundError: There is no such file.
        MedEmbedError: From ``error``: a folder, a pipe or a device, a file above ``most``, or one that cannot be read.
    """
    try:
        # without O_NONBLOCK, opening a pipe waits for its writer
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError) as reason:
        raise FileNotFoundError(f"there is no file {path}") from reason
    except (OSError, ValueError) as reason:  # ValueError: a zero byte in the name
        raise error(f"{path} cannot be opened ({_reason(reason)})") from reason
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            raise error(f"{path} is not a regular file")
        if before.st_size > most:
            raise error(f"{path} has {before.st_size:,} bytes; at most {most:,} were expected")
        content = _read(handle, before.st_size, path, error)
        after = os.fstat(handle)
    finally:
        os.close(handle)
    if len(content) != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise error(f"{path} was changed while it was read")
    return content


def _read(handle: int, size: int, path: Path, error: MakeError) -> bytearray:
    """Up to ``size`` bytes, in place: a file of gigabytes is in memory once."""
    content = bytearray(size)
    try:
        with open(handle, "rb", buffering=0, closefd=False) as file:
            done = 0
            while done < size and (count := file.readinto(memoryview(content)[done:])):
                done += count
    except OSError as reason:
        raise error(f"{path} cannot be read ({_reason(reason)})") from reason
    return content if done == size else content[:done]


def read_json(
    path: Path, *, error: MakeError, most: int = MOST_JSON_BYTES, surrogates: Surrogates = "refuse"
) -> object:
    """Read a JSON file.

    Args:
        path: The file.
        error: Makes what is raised.
        most: The largest size, in bytes.
        surrogates: What to do with halves of UTF-16 pairs.

    Returns:
        The parsed value.

    Raises:
        FileNotFoundError: There is no such file.
        MedEmbedError: From ``error``: not a regular file, too large, or not JSON within the bounds.
    """
    content = read_bytes(path, most=most, error=error)
    return parse_json(content, source=str(path), error=error, most=most, surrogates=surrogates)


def read_json_object(
    path: Path, *, error: MakeError, most: int = MOST_JSON_BYTES, not_finite: bool = False
) -> dict[str, Any]:
    """Read a JSON file that holds an object. See :func:`read_json`.

    Args:
        path: The file.
        error: Makes what is raised.
        most: The largest size, in bytes.
        not_finite: Read NaN and Infinity too.

    Returns:
        The object.

    Raises:
        FileNotFoundError: There is no such file.
        MedEmbedError: From ``error``: as for :func:`read_json`, or another kind of value.
    """
    content = read_bytes(path, most=most, error=error)
    parsed = parse_json(content, source=str(path), error=error, most=most, not_finite=not_finite)
    if not isinstance(parsed, dict):
        raise error(f"{path} holds a JSON {_kind(parsed)}; an object was expected")
    return parsed


def parse_json(
    content: bytes | str,
    *,
    source: str,
    error: MakeError,
    most: int = MOST_JSON_BYTES,
    surrogates: Surrogates = "refuse",
    not_finite: bool = False,
) -> object:
    """Parse a JSON document from outside.

    Args:
        content: UTF-8 bytes, with or without a byte order mark, or text.
        source: Named in errors; nothing of ``content`` ever is.
        error: Makes what is raised.
        most: The largest size, in bytes or characters.
        surrogates: What to do with halves of UTF-16 pairs.
        not_finite: Read NaN and Infinity too, which Python writes and RFC 8259 does not have.

    Returns:
        The parsed value; unless asked for, every number is finite, and unless halves are kept, every string can be written as UTF-8.

    Raises:
        MedEmbedError: From ``error``: too large, deeper than :data:`MOST_DEPTH`, not UTF-8, not JSON (RFC 8259 has neither
            NaN nor Infinity), a number beyond a float, or half a UTF-16 pair.

    Example:
        >>> from medembed.errors import CorruptFileError
        >>> parse_json('{"layers": 6}', source="config.json", error=CorruptFileError)
        {'layers': 6}
    """
    if len(content) > most:
        raise error(f"{source} has {len(content):,} bytes; at most {most:,} were expected")
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        parsed = (_LENIENT if not_finite else _DECODER).decode(text)
    except RecursionError:  # the parser's own limit, far above ours
        raise error(f"{source} is nested more than {MOST_DEPTH} levels deep") from None
    except ValueError as reason:  # JSONDecodeError, UnicodeDecodeError, and an integer of thousands of digits
        # its message quotes what was read, so neither its words nor its chain may reach a log
        place = f" at character {reason.pos}" if isinstance(reason, json.JSONDecodeError) else ""
        raise error(f"{source} is not valid JSON ({type(reason).__name__}{place})") from None
    # a document of few brackets cannot be deep: rows and replies are spared the look at each level
    if text.count("[") + text.count("{") > MOST_DEPTH and is_deep(parsed):
        raise error(f"{source} is nested more than {MOST_DEPTH} levels deep")
    if surrogates != "keep" and (_ESCAPED_HALF.search(text) or _LONE.search(text)):
        return _without_halves(parsed, source, error, surrogates)
    return parsed


def whole_number(value: object, *, named: str, least: int, most: int, error: MakeError) -> int:
    """Check a whole number from outside.

    Args:
        value: What was read.
        named: What it is, for the message.
        least: The smallest that is allowed.
        most: The largest that is allowed.
        error: Makes what is raised.

    Returns:
        The number.

    Raises:
        MedEmbedError: From ``error``: not a whole number, or outside the bounds.
    """
    if type(value) is not int or not least <= value <= most:
        # an integer of thousands of digits has no short form
        shown = f"{value:,}" if type(value) is int and abs(value) < 10**15 else f"a {_kind(value)}"
        raise error(f"{named} is {shown}; a whole number from {least:,} to {most:,} was expected")
    return value


def is_deep(value: object) -> bool:
    """Tell whether a parsed value has more than :data:`MOST_DEPTH` levels. It is looked at level by level."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MOST_DEPTH):
        level = [item for parent in level for item in _containers(parent)]
        if not level:
            return False
    return True


def _containers(parent: dict[str, Any] | list[Any]) -> list[dict[str, Any] | list[Any]]:
    items = parent.values() if isinstance(parent, dict) else parent
    # a vocabulary holds 30,000 numbers: asked for their types together they take a tenth of the time
    if _NESTS.isdisjoint(map(type, items)):
        return []
    return [item for item in items if type(item) in _NESTS]


# what the parser makes, and no subclass of it
_NESTS = frozenset((dict, list))


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("beyond the range of a float")
    return value


# made once: json.loads makes a decoder for each call that has an option
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_LENIENT = json.JSONDecoder()


def _without_halves(parsed: Any, source: str, error: MakeError, surrogates: Surrogates) -> Any:
    """The value with U+FFFD for each half of a pair. Deep values were refused before, so recursion is safe."""
    if isinstance(parsed, str):
        if not _LONE.search(parsed):
            return parsed
        if surrogates == "refuse":
            raise error(f"{source} holds half of a UTF-16 pair, which is not a character")
        return _LONE.sub("\ufffd", parsed)
    if isinstance(parsed, list):
        return [_without_halves(item, source, error, surrogates) for item in parsed]
    if isinstance(parsed, dict):
        return {
            _without_halves(key, source, error, surrogates): _without_halves(item, source, error, surrogates)
            for key, item in parsed.items()
        }
    return parsed


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "truth value", type(None): "null"}
    return names.get(type(value), "number")


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__


def is_text(value: str) -> bool:
    """Tell whether a string can be written as UTF-8: JSON and arguments may hold half of a surrogate pair."""
    return _LONE.search(value) is None
