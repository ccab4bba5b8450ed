"""Sources → rows of id and text, one at a time; what cannot be used becomes a reject with line and reason."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from medembed.errors import CorpusError, InputFileError
from medembed.extras import require
from medembed.rows.sources import Source

# A longer line is not a text but a mistake, and must not be held in memory to find out.
MAX_LINE_BYTES = 16 << 20
PIECE_BYTES = 1 << 20
# what a kept column may hold
KEPT_TYPES = {"string": str, "int": int, "float": float, "bool": bool}
RESERVED = ("id", "text", "source", "line", "vector")


@dataclass(frozen=True, slots=True)
class Row:
    """A text with its id, where it came from, and the values of kept columns in their order."""

    id: str
    text: str
    source: str
    line: int
    kept: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was left out: where it is, why, and its id where it has one. Never its text."""

    source: str
    line: int
    reason: str
    id: str | None = None


@dataclass(frozen=True)
class Columns:
    """Which columns or fields mean what.

    Attributes:
        text: Hold the text; several are joined by a space, empty ones left out.
        id: Holds the id; None to make ids of file and line.
        kept: Further columns to keep for filters, and their types: string, int, float or bool.

    Raises:
        CorpusError: A kept column's name is taken, or its type unknown.
    """

    text: Sequence[str] = ("text",)
    id: str | None = "id"
    kept: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names and types."""
        for name, kind in self.kept.items():
            if name in RESERVED:
                raise CorpusError(f"the column {name!r} cannot be kept under that name: a corpus has its own")
            if kind not in KEPT_TYPES:
                raise CorpusError(f"column {name!r}: type {kind!r} is unknown; choose one of {', '.join(KEPT_TYPES)}")

    def wanted(self) -> list[str]:
        """All columns to read."""
        return [*self.text, *([self.id] if self.id is not None else []), *self.kept]


def read(source: Source, columns: Columns, on_bytes: Callable[[int], object]) -> Iterator[Row | Reject]:
    """Rows and rejects of a source, in order.

    Args:
        source: The file.
        columns: Which columns mean what.
        on_bytes: Called with numbers of bytes as they are read.

    Raises:
        InputFileError: The file as a whole cannot be read: no such column, damaged compression, it changed meanwhile.
    """
    number = 0
    with source.open(on_bytes) as stream:
        try:
            for item in READERS[source.format](stream, source, columns):
                number = item.line
                yield item
        except OSError as error:
            raise InputFileError(
                f"{source.name}, after line {number}: cannot be read further ({error}): copy or compress it again"
            ) from error


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines without their ends; None for one that is too long, which is skipped without being held."""
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(PIECE_BYTES)
            yield number, None
            continue
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        yield number, line.rstrip(b"\r\n")


def _too_long(source: Source, number: int) -> Reject:
    return Reject(source.name, number, f"longer than {MAX_LINE_BYTES >> 20} MiB")


def _json_lines(stream: IO[bytes], source: Source, columns: Columns) -> Iterator[Row | Reject]:
    for number, line in _lines(stream):
        if line is None:
            yield _too_long(source, number)
        elif line.strip():
            yield _of_json(line, source, number, columns)


def _of_json(line: bytes, source: Source, number: int, columns: Columns) -> Row | Reject:
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError:
        return Reject(source.name, number, "not UTF-8")
    except (ValueError, RecursionError):
        return Reject(source.name, number, "not valid JSON")
    if not isinstance(values, dict):
        return Reject(source.name, number, f"a JSON {type(values).__name__}, not an object")
    return row_of(values, source, number, columns)


def _csv(stream: IO[bytes], source: Source, columns: Columns) -> Iterator[Row | Reject]:
    csv.field_size_limit(MAX_LINE_BYTES)
    overlong: list[int] = []
    # bytes that are not UTF-8 become surrogates, which no valid text holds: the row is found by them and rejected
    lines = (_decoded(number, line, overlong) for number, line in _lines(stream))
    reader = csv.reader(lines, delimiter="\t" if source.format == "tsv" else ",", strict=False)
    header = next(reader, [])
    if missing := [name for name in columns.wanted() if name not in header]:
        raise InputFileError(f"{source.name}: no column {missing[0]!r}, but {header}: {_advice(columns, missing[0])}")
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            yield Reject(source.name, start, f"not valid CSV ({error})")
            continue
        yield from (_too_long(source, number) for number in overlong)
        if fields and not overlong:
            yield _of_fields(fields, header, source, start, columns)
        overlong.clear()
    yield from (_too_long(source, number) for number in overlong)


def _decoded(number: int, line: bytes | None, overlong: list[int]) -> str:
    if line is None:
        overlong.append(number)
        return "\n"
    return line.decode(errors="surrogateescape") + "\n"


def _of_fields(fields: list[str], header: list[str], source: Source, line: int, columns: Columns) -> Row | Reject:
    if len(fields) != len(header):
        return Reject(source.name, line, f"{len(fields)} fields, but the header has {len(header)}")
    return row_of(dict(zip(header, fields, strict=True)), source, line, columns)


def _parquet(stream: IO[bytes], source: Source, columns: Columns) -> Iterator[Row | Reject]:
    try:
        file = require("pyarrow.parquet").ParquetFile(stream)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise InputFileError(f"{source.name} is not a Parquet file ({type(error).__name__})") from error
    names = file.schema_arrow.names
    if missing := [name for name in columns.wanted() if name not in names]:
        raise InputFileError(f"{source.name}: no column {missing[0]!r}, but {names}: {_advice(columns, missing[0])}")
    number = 0
    for batch in file.iter_batches(batch_size=1024, columns=columns.wanted()):
        for values in batch.to_pylist():
            number += 1
            yield row_of(values, source, number, columns)


def _plain_lines(stream: IO[bytes], source: Source, _: Columns) -> Iterator[Row | Reject]:
    for number, line in _lines(stream):
        if line is None:
            yield _too_long(source, number)
        elif line.strip():
            yield _of_text(line, f"{source.short}:{number}", source, number)


def _whole_file(stream: IO[bytes], source: Source, _: Columns) -> Iterator[Row | Reject]:
    content = stream.read(MAX_LINE_BYTES + 1)
    if len(content) > MAX_LINE_BYTES:
        yield _too_long(source, 1)
    else:
        yield _of_text(content.removeprefix(b"\xef\xbb\xbf"), source.short, source, 1)


def _of_text(content: bytes, name: str, source: Source, number: int) -> Row | Reject:
    try:
        return row_of({"id": name, "text": content.decode()}, source, number, Columns())
    except UnicodeDecodeError:
        return Reject(source.name, number, "not UTF-8", name)


def row_of(values: Mapping[str, Any], source: Source, line: int, columns: Columns) -> Row | Reject:
    """Named values as a row, or why they are none.

    Args:
        values: By column.
        source: Where they come from.
        line: Their line or number there.
        columns: Which columns mean what.
    """
    name: str | None = None
    try:
        name = _id_of(values, source, line, columns)
        text = _text_of(values, columns)
        kept = tuple(_converted(values.get(column), kind, column) for column, kind in columns.kept.items())
    except _UnusableError as error:
        return Reject(source.name, line, str(error), name)
    return Row(name, text, source.name, line, kept)


class _UnusableError(Exception):
    """Why a row cannot be used; becomes a reject."""


def _id_of(values: Mapping[str, Any], source: Source, line: int, columns: Columns) -> str:
    if columns.id is None:
        return f"{source.short}:{line}"
    name = values.get(columns.id)
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    if not isinstance(name, str) or not name:
        raise _UnusableError(f"no id under {columns.id!r}, but {_kind(name)}")
    if not _is_unicode(name):
        raise _UnusableError("not UTF-8")
    return name


def _text_of(values: Mapping[str, Any], columns: Columns) -> str:
    if not any(column in values for column in columns.text):
        raise _UnusableError(f"no text under {columns.text[0]!r}")
    texts: list[str] = []
    for column in columns.text:
        text = values.get(column)
        if not isinstance(text, str | None):
            raise _UnusableError(f"{column!r} holds {_kind(text)}, not text")
        texts += [text] if text else []
    joined = " ".join(texts)
    if not joined.strip():
        raise _UnusableError("empty text")
    if not _is_unicode(joined):
        raise _UnusableError("not UTF-8")
    return joined


def _is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8; JSON may smuggle in half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _converted(value: Any, kind: str, column: str) -> Any:
    """A kept value in its type; empty is None."""
    if value is None or (value == "" and kind != "string"):
        return None
    if kind == "bool":
        known = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() in known:
            return known[str(value).lower()]
    elif kind != "string" or isinstance(value, str | int | float | bool):
        try:
            converted = KEPT_TYPES[kind](value)
            fits = _is_unicode(converted) if kind == "string" else kind != "int" or -(2**63) <= converted < 2**63
            if fits:
                return converted
        except (TypeError, ValueError, OverflowError):
            pass  # told below, without the value
    raise _UnusableError(f"{column!r} is not of type {kind}")


def _kind(value: object) -> str:
    return "nothing" if value in (None, "") else f"a {type(value).__name__}"


def _advice(columns: Columns, missing: str) -> str:
    if missing == columns.id:
        return "name the column with --id-column, or say --number-rows to make ids of file and line"
    return f"name the column with {'--text-column' if missing in columns.text else '--keep'}"


READERS: dict[str, Callable[[IO[bytes], Source, Columns], Iterator[Row | Reject]]] = {
    "jsonl": _json_lines,
    "csv": _csv,
    "tsv": _csv,
    "parquet": _parquet,
    "lines": _plain_lines,
    "files": _whole_file,
}
