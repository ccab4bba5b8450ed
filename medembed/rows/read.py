"""Sources → rows of id and text, one at a time. What cannot be used becomes a reject with line and reason."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medembed import border
from medembed.errors import CorpusError, InputFileError
from medembed.rows import sources
from medembed.rows.readers import WHOLE_FILES, WITHOUT_COLUMNS, records
from medembed.rows.source import Reject, Source
from medembed.rows.wanted import ROWS_THAT_TELL, Wanted
from medembed.typed import KEPT_TYPES, typed

RESERVED = ("id", "text", "source", "line", "text_hash", "vector", "scopes")


@dataclass(frozen=True, slots=True)
class Row:
    """A text with its id and its origin. The values of kept columns come with it, in their order."""

    id: str
    text: str
    source: str
    line: int
    kept: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Columns:
    """The meanings of columns or fields.

    Attributes:
        text: Hold the text; several are joined by a space, empty ones left out.
        id: Holds the id; None to make ids of file and line.
        kept: Further columns to keep for filters, and their types: string, int, float, bool or date.
        scope: A column that divides the rows, for instance by patient: a search has to name a value of it, or all. It is kept, as
            a string unless ``kept`` says otherwise. None to divide nothing.

    Raises:
        CorpusError: A kept column's name is taken or comes twice, or its type is unknown.
    """

    text: Sequence[str] = ("text",)
    id: str | None = "id"
    kept: Mapping[str, str] = field(default_factory=dict)
    scope: str | None = None

    def __post_init__(self) -> None:
        """Check the names and types, and keep the column of the scope."""
        if self.scope is not None and self.scope not in self.kept:
            object.__setattr__(self, "kept", {**self.kept, self.scope: "string"})
        for name, kind in self.kept.items():
            if name in RESERVED:
                raise CorpusError(f"the column {name!r} cannot be kept under that name: a corpus has its own")
            if kind not in KEPT_TYPES:
                raise CorpusError(f"column {name!r}: type {kind!r} is unknown; choose one of {', '.join(KEPT_TYPES)}")

    def wanted(self, n_rows: int = ROWS_THAT_TELL) -> Wanted:
        """All columns to read, with the options that name them.

        ``n_rows`` is how many rows tell that one is missing.
        """
        advice = dict.fromkeys(self.text, "name the column with --text-column")
        if self.id is not None:
            advice.setdefault(
                self.id, "name the column with --id-column, or make ids of file and line with --number-rows"
            )
        for name in self.kept:
            advice.setdefault(name, "name the column with --keep")
        # objects may leave a kept field out in a whole file, but not in all files
        own = (*self.text, self.id)
        return Wanted(advice, anywhere=[name for name in self.kept if name not in own], n_rows=n_rows)


def read(
    files: Iterable[Source], columns: Columns, on_bytes: Callable[[int], object], *, blank: bool = False
) -> Iterator[Row | Reject]:
    """Rows and rejects of sources, in order.

    Args:
        files: The files.
        columns: Which columns mean what.
        on_bytes: Called with numbers of bytes as they are read.
        blank: Whether a blank text makes a row, and the first row must have all columns. Otherwise a blank text makes a reject, and a
            blank line of plain lines nothing.

    Raises:
        InputFileError: A file as a whole cannot be read: no such column, damaged compression, it changed meanwhile.
    """
    wanted = columns.wanted(1 if blank else ROWS_THAT_TELL)
    for source in files:
        own = Columns(kept=columns.kept) if source.format in WITHOUT_COLUMNS else columns
        for item in records(source, wanted, on_bytes):
            if isinstance(item, Reject):
                yield item
            elif blank or source.format != "lines" or item.values["text"].strip():
                yield row_of(item.values, source, item.line, own, blank=blank)
    wanted.end_of_all()


def all_rows(files: Iterable[Source], columns: Columns, on_bytes: Callable[[int], object]) -> Iterator[Row]:
    """Rows of sources, blank ones too.

    Each must be usable: one vector per row is wanted, and a row is known by its place.

    Raises:
        InputFileError: As :func:`read`, or a row that cannot be used, by file and line.
    """
    yield from _usable(read(files, columns, on_bytes, blank=True))


def _usable(items: Iterable[Row | Reject]) -> Iterator[Row]:
    for item in items:
        if isinstance(item, Reject):
            raise InputFileError(f"{item.source}, line {item.line}: {item.reason}; mend the row or remove it")
        yield item


def lines_of(pattern: str) -> list[str]:
    """The lines of a file, or of standard input, that are not blank: ids, or questions.

    Args:
        pattern: A path, or ``-`` for standard input.

    Raises:
        InputFileError: It cannot be read, or a line is not text in UTF-8; the message has file and line.
    """
    found = sources.find([pattern], "lines")
    read_here = read(found, Columns(), lambda _: None)
    return [item.text for item in _usable(read_here)]


def row_of(
    named: Mapping[str, Any], source: Source, line: int, columns: Columns, *, blank: bool = False
) -> Row | Reject:
    """Named values as a row, or why they are none.

    Args:
        named: By column.
        source: Where they come from.
        line: Their line or number there.
        columns: Which columns mean what.
        blank: Whether a blank text makes a row.
    """
    name: str | None = None
    try:
        name = _id_of(named, source, line, columns)
        text = _text_of(named, columns, blank=blank)
        kept = tuple(_converted(named.get(column), kind, column) for column, kind in columns.kept.items())
    except _UnusableError as error:
        return Reject(source.name, line, str(error), name)
    return Row(name, text, source.name, line, kept)


class _UnusableError(Exception):
    """The reason that a row cannot be used. It becomes a reject."""


def _id_of(named: Mapping[str, Any], source: Source, line: int, columns: Columns) -> str:
    if columns.id is None:
        return source.short if source.format in WHOLE_FILES else f"{source.short}:{line}"
    name = named.get(columns.id)
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    if not isinstance(name, str) or not name:
        raise _UnusableError(f"no id under {columns.id!r}, but {_kind(name)}")
    if not border.is_text(name):
        raise _UnusableError("not UTF-8")
    return name


def _text_of(named: Mapping[str, Any], columns: Columns, *, blank: bool) -> str:
    if not any(column in named for column in columns.text):
        raise _UnusableError(f"no text under {columns.text[0]!r}")
    texts: list[str] = []
    for column in columns.text:
        text = named.get(column)
        if not isinstance(text, str | None):
            raise _UnusableError(f"{column!r} holds {_kind(text)}, not text")
        if text is None and blank and len(columns.text) == 1:
            raise _UnusableError(f"{column!r} holds nothing: fill missing texts first")
        texts += [text] if text else []
    joined = " ".join(texts)
    if not blank and not joined.strip():
        raise _UnusableError("empty text")
    if not border.is_text(joined):
        raise _UnusableError("not UTF-8")
    return joined


def _converted(value: Any, kind: str, column: str) -> Any:
    """A kept value in its type. An empty value is None."""
    try:
        return typed(value, kind)
    except ValueError:
        raise _UnusableError(f"{column!r} is not of type {kind}") from None


def _kind(value: object) -> str:
    return "nothing" if value in (None, "") else f"a {type(value).__name__}"
