"""Tables of text, CSV and TSV, read strictly.

A row that breaks the rules is a reject. A quote that is never closed is an error.
"""

import csv
from collections.abc import Iterator
from typing import IO, Any

from medembed.errors import InputFileError
from medembed.rows.dialect import MAX_LINE_BYTES, SEPARATORS, TooLong, lines, text_stream
from medembed.rows.source import Record, Reject, Source
from medembed.rows.wanted import Wanted


def read(stream: IO[bytes], source: Source, wanted: Wanted) -> Iterator[Record | Reject]:
    """Records and rejects of a table.

    Raises:
        InputFileError: No such column, a quote that is never closed, or an empty file.
    """
    table = _Table(text_stream(stream, source.name, source.dialect), source)
    header = _header(table, source, wanted) if source.dialect.header else None
    for item in table.rows():
        if isinstance(item, Reject):
            yield item
            continue
        line, fields = item
        if header is None:
            header = [str(number) for number in range(1, len(fields) + 1)]
            wanted.in_header(source, header)
        yield _record(line, fields, header, source)


def _header(table: "_Table", source: Source, wanted: Wanted) -> list[str]:
    first = next(table.rows(), None)
    if first is None:
        columns = ", ".join(repr(name) for name in wanted.columns)
        raise InputFileError(
            f"{source.name} is empty: expected a first line that names the columns{columns and ' '}{columns}"
        )
    if isinstance(first, Reject):
        raise InputFileError(f"{source.name}, line {first.line}: the header cannot be read: {first.reason}")
    header = first[1]
    wanted.in_header(source, header)
    return header


def _record(line: int, fields: list[str], header: list[str], source: Source) -> Record | Reject:
    if len(fields) != len(header):
        of = "header" if source.dialect.header else "first row"
        return Reject(source.name, line, f"{len(fields)} fields, but the {of} has {len(header)}")
    return Record(line, dict(zip(header, fields, strict=True)))


class _Table:
    """Rows of fields, each with its first line."""

    def __init__(self, stream: IO[bytes], source: Source) -> None:
        self._lines, self._source, self._encoding = lines(stream), source, source.dialect.line_encoding
        self._last = 0  # the last line that was read
        self._overlong = self._wrong = False
        first = next(self._lines, None)
        self._first = None if first is None else first[1]
        self._reader = csv.reader(self._decoded(), **_format(source, self._first), strict=True)

    def _decoded(self) -> Iterator[str]:
        if self._first is not None:
            yield self._text(1, self._first)
        for number, line in self._lines:
            yield self._text(number, line)

    def _text(self, number: int, line: bytes | TooLong) -> str:
        """A line as the parser takes it. What makes its row unusable is noted."""
        self._last = number
        if isinstance(line, TooLong):
            self._overlong = True
            # a stand-in that opens or closes a quote where the line does
            return '"\n' if line.n_quotes % 2 and self._source.dialect.quote == '"' else "\n"
        try:
            return line.decode(self._encoding) + "\n"
        except UnicodeDecodeError:
            self._wrong = True
            return line.decode("latin-1") + "\n"  # quotes and delimiters stay where they are; the row is rejected

    def rows(self) -> Iterator[tuple[int, list[str]] | Reject]:
        """First line and fields of each row that is not blank. For a row that is unusable, the reject is given.

        Raises:
            InputFileError: A quote that is never closed.
        """
        _allow_long_fields()
        while True:
            start = self._last + 1
            self._overlong = self._wrong = False
            try:
                fields = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._broken(start, str(error))
                continue
            reason = self._fault()
            if reason is not None:
                yield Reject(self._source.name, start, reason)
            elif fields:
                yield start, fields

    def _fault(self) -> str | None:
        if self._overlong:
            return f"longer than {MAX_LINE_BYTES >> 20} MiB"
        return f"not {self._source.dialect.encoding_shown}" if self._wrong else None

    def _broken(self, start: int, problem: str) -> Reject:
        """The reject for a line with a misplaced quote.

        Raises:
            InputFileError: The row goes over several lines, or to the end: nobody can tell where the next one begins.
        """
        name = self._source.name
        advice = (
            f"if quotes are ordinary characters in this file, read it with {self._source.dialect.told('quote', 'none')}; "
            "otherwise close the quote or double those inside it"
        )
        if self._overlong and self._last == start:
            return Reject(name, start, f"longer than {MAX_LINE_BYTES >> 20} MiB")
        if "new-line character" in problem:
            return Reject(name, start, "a lone carriage return outside quotes")
        if "unexpected end of data" in problem or "field limit" in problem:
            raise InputFileError(f"{name}, line {start}: a quote is opened and never closed: {advice}")
        if self._last > start:
            raise InputFileError(
                f"{name}, line {start}: a quote is opened, and closed in the midst of a field in line {self._last}: {advice}"
            )
        return Reject(name, start, "text behind a closing quote")


def _format(source: Source, first: bytes | TooLong | None) -> dict[str, Any]:
    dialect = source.dialect
    usual = "\t" if source.format == "tsv" else _separator(first, dialect.quote)
    quoting = {"quoting": csv.QUOTE_NONE} if dialect.quote is None else {"quotechar": dialect.quote}
    return {"delimiter": dialect.delimiter or usual, **quoting}


def _separator(first: bytes | TooLong | None, quote: str | None) -> str:
    """The separator of the fields in a first line.

    It is the comma, unless the line has none outside of quotes and has another usual sign.
    """
    if not isinstance(first, bytes):
        return ","
    parts = first.decode("latin-1").split(quote) if quote else [first.decode("latin-1")]
    outside = "".join(parts[::2])
    return next((sign for sign in SEPARATORS if sign in outside), ",")


def _allow_long_fields() -> None:
    """Raise the field limit of Python's csv module, once. The whole process shares the limit. It is never lowered."""
    if csv.field_size_limit() < MAX_LINE_BYTES:
        csv.field_size_limit(MAX_LINE_BYTES)
