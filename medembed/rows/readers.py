"""The one table of formats. A new format is a function here or in a file beside, and a row in the table."""

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from medembed import border
from medembed.errors import InputFileError
from medembed.rows import documents, fhir, json_arrays, parquet, tables, xml_kinds
from medembed.rows.dialect import MAX_LINE_BYTES, TooLong, lines, text_stream
from medembed.rows.source import COMPRESSED, Record, Reject, Source
from medembed.rows.wanted import Wanted


class Read(Protocol):
    """A function that reads an opened file's records, in order. What is not a record is a reject.

    Raises:
        InputFileError: The file as a whole cannot be read.
    """

    def __call__(self, stream: IO[bytes], source: Source, wanted: Wanted) -> Iterator[Record | Reject]: ...  # noqa: D102


@dataclass(frozen=True)
class Reader:
    """A format.

    Attributes:
        endings: Of files in it, in lower case.
        read: What reads it.
        is_text: Whether an encoding means something for it.
        is_table: Whether a delimiter, a quote and a header do.
        names_columns: Whether the file names its columns; otherwise the reader does, ``id`` and ``text`` among them.
    """

    endings: tuple[str, ...]
    read: Read
    is_text: bool = True
    is_table: bool = False
    names_columns: bool = True


def _json_lines(stream: IO[bytes], source: Source, wanted: Wanted) -> Iterator[Record | Reject]:
    wanted.begin()
    encoding, paths = source.dialect.line_encoding, json_arrays.dotted(wanted.columns)
    for number, line in lines(text_stream(stream, source.name, source.dialect)):
        if isinstance(line, TooLong):
            yield _too_long(source, number)
        elif line.strip():
            item = _of_json(line, source, number, encoding)
            if isinstance(item, Record):
                item.values = json_arrays.reached(item.values, paths) if paths else item.values
                wanted.in_row(source, item.values)
            yield item
    wanted.end(source)


def _of_json(line: bytes, source: Source, number: int, encoding: str) -> Record | Reject:
    try:
        # halves of characters are told of by the column that holds them, and only where that is read
        values = border.parse_json(
            line.decode(encoding), source="the line", error=InputFileError, most=MAX_LINE_BYTES, surrogates="keep"
        )
    except UnicodeDecodeError:
        return Reject(source.name, number, f"not {source.dialect.encoding_shown}")
    except InputFileError:
        return Reject(source.name, number, "not valid JSON")
    if not isinstance(values, dict):
        return Reject(source.name, number, f"a JSON {type(values).__name__}, not an object")
    return Record(number, values)


def _plain_lines(stream: IO[bytes], source: Source, wanted: Wanted) -> Iterator[Record | Reject]:
    for number, line in lines(text_stream(stream, source.name, source.dialect)):
        name = f"{source.short}:{number}"
        if isinstance(line, TooLong):
            yield _too_long(source, number)
        else:
            yield _of_text(line, name, source, number, wanted)


def _whole_file(stream: IO[bytes], source: Source, wanted: Wanted) -> Iterator[Record | Reject]:
    content = text_stream(stream, source.name, source.dialect, keep_ends=True).read(MAX_LINE_BYTES + 1)
    if len(content) > MAX_LINE_BYTES:
        yield _too_long(source, 1)
    else:
        yield _of_text(content.removeprefix(b"\xef\xbb\xbf"), source.short, source, 1, wanted)


def _of_text(content: bytes, name: str, source: Source, number: int, wanted: Wanted) -> Record | Reject:
    try:
        values = {"id": name, "text": content.decode(source.dialect.line_encoding)}
    except UnicodeDecodeError:
        return Reject(source.name, number, f"not {source.dialect.encoding_shown}", name)
    wanted.in_row(source, values)
    return Record(number, values)


def _too_long(source: Source, number: int) -> Reject:
    return Reject(source.name, number, f"longer than {MAX_LINE_BYTES >> 20} MiB")


# A text file is a document of its own, as clinical systems export notes; --format lines for one text per line.
READERS: dict[str, Reader] = {
    "jsonl": Reader((".jsonl", ".ndjson"), _json_lines),
    "csv": Reader((".csv",), tables.read, is_table=True),
    "tsv": Reader((".tsv", ".tab"), tables.read, is_table=True),
    "parquet": Reader((".parquet",), parquet.read, is_text=False),
    "json": Reader((".json",), json_arrays.read),
    "fhir": Reader((), fhir.read, names_columns=False),
    "xml": Reader((".xml", ".nxml"), xml_kinds.read, is_text=False, names_columns=False),
    "html": Reader((".html", ".htm", ".xhtml"), documents.WholeFile(documents.of_html), names_columns=False),
    "rtf": Reader((".rtf",), documents.WholeFile(documents.of_rtf), is_text=False, names_columns=False),
    "docx": Reader((".docx",), documents.WholeFile(documents.of_word), is_text=False, names_columns=False),
    "pdf": Reader((".pdf",), documents.WholeFile(documents.of_pdf), is_text=False, names_columns=False),
    "files": Reader((".txt", ".md"), _whole_file, names_columns=False),
    "lines": Reader((), _plain_lines, names_columns=False),
}
FORMATS = tuple(READERS)
BY_ENDING = {ending: name for name, reader in READERS.items() for ending in reader.endings}
# formats whose rows have no columns to name
WITHOUT_COLUMNS = tuple(name for name, reader in READERS.items() if not reader.names_columns)
# formats whose files are a row each
WHOLE_FILES = ("files", "html", "rtf", "docx", "pdf")


_DOCUMENT, _TABLE = (
    "save it as .docx or .pdf; see docs/guides/documents.md",
    "save it as .csv; see docs/guides/files.md",
)
_IMAGE, _FHIR = "a picture needs OCR first; see docs/guides/documents.md", "ask for it as FHIR; see docs/guides/fhir.md"
NEAREST = {
    ".doc": _DOCUMENT, ".odt": _DOCUMENT, ".wpd": _DOCUMENT, ".pages": _DOCUMENT, ".xls": _TABLE, ".xlsx": _TABLE, ".ods": _TABLE,
    ".sas7bdat": _TABLE, ".png": _IMAGE, ".jpg": _IMAGE, ".jpeg": _IMAGE, ".tif": _IMAGE, ".tiff": _IMAGE, ".dcm": _IMAGE,
    ".hl7": _FHIR, ".cda": "C-CDA is .xml here; see docs/guides/documents.md",
}  # fmt: skip


def ending_of(name: str) -> str:
    """The ending that tells the format, in lower case. The ending of compression is left out."""
    lowered = name.lower()
    for ending in COMPRESSED:
        lowered = lowered.removesuffix(ending)
    return os.path.splitext(lowered)[1]  # noqa: PTH122 - may be a URL


def nearest(name: str) -> str:
    """The page of the docs that is nearest to what a file is, and what it may be saved as."""
    return NEAREST.get(ending_of(name), "see docs/guides/files.md")


def known_endings() -> str:
    """All endings, for messages."""
    return f"{', '.join(BY_ENDING)}, also with .gz or .zst"


def records(source: Source, wanted: Wanted, on_bytes: Callable[[int], object]) -> Iterator[Record | Reject]:
    """Records and rejects of a file, in order.

    Args:
        source: The file.
        wanted: Columns it must have; one set for all files of a call.
        on_bytes: Called with numbers of bytes as they are read.

    Raises:
        InputFileError: The file as a whole cannot be read: no such column, damaged compression, it changed meanwhile.
    """
    number = 0
    with source.open(on_bytes) as stream:
        try:
            for item in READERS[source.format].read(stream, source, wanted):
                number = item.line
                yield item
        except (OSError, EOFError, zlib.error) as error:
            raise InputFileError(
                f"{source.name}, after line {number}: cannot be read further ({_cause(error)}): copy or compress it again"
            ) from error


def _cause(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "it ends too early"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return "damaged compression"
