"""JSON files: an array of objects, read an object at a time, or one object. Nested fields are named by dotted paths."""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from medembed import border
from medembed.errors import InputFileError
from medembed.rows.dialect import MAX_LINE_BYTES, PIECE_BYTES, text_stream
from medembed.rows.source import Record, Reject, Source
from medembed.rows.wanted import Wanted

_BLANK = " \t\r\n"


def _no_number(_: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


# made once: json.loads makes a decoder for each call that has an option
DECODER = json.JSONDecoder(parse_constant=_no_number)


def read(stream: IO[bytes], source: Source, wanted: Wanted) -> Iterator[Record | Reject]:
    """Records and rejects of a JSON file, numbered from 1.

    Raises:
        InputFileError: It is no JSON, or not in the encoding, or cut short.
    """
    wanted.begin()
    paths = dotted(wanted.columns)
    for number, values in items(text_stream(stream, source.name, source.dialect, keep_ends=True), source):
        if isinstance(values, Reject):
            yield values
        elif isinstance(values, dict):
            if "resourceType" in values:
                raise InputFileError(f"{source.name} is FHIR: read it with --format fhir; see docs/guides/fhir.md")
            named = reached(values, paths)
            wanted.in_row(source, named)
            yield Record(number, named)
        else:
            yield Reject(source.name, number, f"a JSON {type(values).__name__}, not an object")
    wanted.end(source)


def dotted(columns: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Columns that may be paths to nested fields, and their steps."""
    return [(name, name.split(".")) for name in columns if "." in name]


def reached(values: dict[str, Any], paths: Sequence[tuple[str, list[str]]]) -> dict[str, Any]:
    """Values of a row, with those of nested fields under their dotted paths. A field of that very name comes first.

    Example:
        >>> reached({"note": {"text": "fever"}, "codes": [{"code": "R50"}]}, dotted(["note.text", "codes.0.code"]))["note.text"]
        'fever'
    """
    found: dict[str, Any] = {}
    for name, steps in paths:
        if name not in values:
            place: Any = values
            for step in steps:
                if isinstance(place, Mapping) and step in place:
                    place = place[step]
                elif isinstance(place, list) and step.isdecimal() and int(step) < len(place):
                    place = place[int(step)]
                else:
                    break
            else:
                found[name] = place
    return {**values, **found} if found else values


def items(
    stream: IO[bytes], source: Source, longest: int = MAX_LINE_BYTES, *, several: bool = False
) -> Iterator[tuple[int, Any]]:
    """Numbered values of an array, each as soon as it is whole, or the one value that a file holds.

    Args:
        stream: The file.
        source: What it is.
        longest: Characters of a value at most.
        several: Whether values may follow each other without an array.

    Raises:
        InputFileError: It is no JSON, or not in the encoding, or cut short.
    """
    text = _Text(stream, source, longest)
    if text.next_sign() != "[":
        number = 1
        yield 1, text.value(1)
        while several and text.next_sign():
            number += 1
            yield number, text.value(number)
        text.end(number)
        return
    text.step()
    number = 0
    while (sign := text.next_sign()) != "]":
        if number:
            if sign != ",":
                raise text.broken(number)
            text.step()
        number += 1
        yield number, text.value(number)
    text.step()
    text.end(number)


class _Text:
    """A file's text, of which a bounded piece is held."""

    def __init__(self, stream: IO[bytes], source: Source, longest: int) -> None:
        self._stream, self._source, self._longest = stream, source, longest
        self._held, self._at, self._more = "", 0, True
        name = source.dialect.line_encoding
        self._decoder = codecs.getincrementaldecoder("utf-8-sig" if name == "utf-8" else name)()

    def _read(self, count: int = PIECE_BYTES) -> None:
        piece = self._stream.read(count)
        self._more = bool(piece)
        try:
            new = self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError:
            raise InputFileError(
                f"{self._source.name} is not {self._source.dialect.encoding_shown}: save it as UTF-8"
            ) from None
        self._held, self._at = self._held[self._at :] + new, 0

    def next_sign(self) -> str:
        """The next sign that is not blank; an empty text at the end."""
        while True:
            while self._at < len(self._held):
                if self._held[self._at] not in _BLANK:
                    return self._held[self._at]
                self._at += 1
            if not self._more:
                return ""
            self._read()

    def step(self) -> None:
        """Pass over a sign."""
        self._at += 1

    def value(self, number: int) -> Any:
        """The next value.

        Raises:
            InputFileError: There is none, or it is longer than a row may be.
        """
        self.next_sign()
        wanted = PIECE_BYTES
        while True:
            try:
                value, end = DECODER.raw_decode(self._held, self._at)
            except RecursionError:
                raise self.broken(number, "nested too deep") from None
            except ValueError:
                end = None
            # a number may go on behind what is held
            if end is not None and (end < len(self._held) or not self._more):
                self._at = end
                if border.is_deep(value):
                    raise self.broken(number, "nested too deep")
                return value
            if not self._more:
                raise self.broken(number)
            if len(self._held) - self._at > self._longest:
                raise self.broken(number, f"longer than {self._longest >> 20} MiB")
            self._read(wanted)
            wanted *= 2  # or a long value would be begun anew for each piece

    def end(self, number: int) -> None:
        """Check that nothing follows.

        Raises:
            InputFileError: Something does.
        """
        if self.next_sign():
            raise self.broken(number, "something follows its end: one object a line is JSON lines, --format jsonl")

    def broken(self, number: int, why: str = "not valid JSON, or cut short") -> InputFileError:
        """The error for what cannot be read further."""
        return InputFileError(f"{self._source.name}, value {number}: {why}")
