"""Texts from files and vectors to files, a bounded number of rows at a time."""

import csv
import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from medembed.errors import InputFileError
from medembed.extras import require
from medembed.storage.durable import whole

ROWS_AT_A_TIME = 4096


def read_texts(path: Path, column: str) -> Iterator[str]:
    """Texts of a file, one by one.

    Args:
        path: ``.txt`` (one a line), ``.jsonl``, ``.csv``, ``.tsv``, each also with ``.gz``, or ``.parquet``.
        column: Column or field that holds the text; of no meaning for ``.txt``.

    Returns:
        The texts, read as they are asked for.

    Raises:
        InputFileError: No such file, an unknown ending, a missing column, or a line that cannot be read.
    """
    if path.is_dir():
        raise InputFileError(f"{path} is a folder: name one file of it, or embed all of them with `medembed index`")
    if not path.is_file():
        raise InputFileError(f"there is no file {path}")
    readers = {".txt": _lines, ".jsonl": _json_lines, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if ending not in readers:
        raise InputFileError(
            f"{path}: the ending {ending!r} is unknown; expected one of {', '.join(readers)} (text formats also with .gz)"
        )
    return readers[ending](path, column)


def open_text(path: Path) -> IO[str]:
    """Open a text file for reading, gzipped or not by its ending, line ends as they are, without a byte-order mark."""
    # utf-8-sig drops the mark that some editors and spreadsheets put before the first character
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _lines(path: Path, _: str) -> Iterator[str]:
    with open_text(path) as file:
        for _number, line in _numbered(file, path):
            yield line.rstrip("\r\n")


def _numbered(file: IO[str], path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        for number, line in enumerate(file, 1):
            yield number, line
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise InputFileError(f"{path}, after line {number}: {type(error).__name__}; expected UTF-8 text") from error


def _json_lines(path: Path, column: str) -> Iterator[str]:
    with open_text(path) as file:
        for number, line in _numbered(file, path):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputFileError(f"{path}, line {number}: not valid JSON") from error
            yield _field(row, column, f"{path}, line {number}")


def _field(row: object, column: str, where: str) -> str:
    if not isinstance(row, dict):
        raise InputFileError(f"{where}: a {type(row).__name__}, not an object with the field {column!r}")
    if column not in row:
        raise InputFileError(
            f"{where}: no text under {column!r}, but the fields {sorted(row)}: name the field with --text-column"
        )
    if not isinstance(text := row[column], str):
        raise InputFileError(
            f"{where}: {column!r} holds a {type(text).__name__}, not text: fill or drop missing values first"
        )
    return text


def _csv(path: Path, column: str) -> Iterator[str]:
    csv.field_size_limit(sys.maxsize)  # notes are longer than the default of 131,072 characters
    with open_text(path) as file:
        rows = csv.DictReader(
            (line for _, line in _numbered(file, path)), delimiter="\t" if ".tsv" in path.suffixes else ","
        )
        if column not in (rows.fieldnames or []):
            raise InputFileError(
                f"{path}: no column {column!r}, but {rows.fieldnames}: name the column with --text-column"
            )
        for row in rows:
            if row[column] is None:
                raise InputFileError(f"{path}, line {rows.line_num}: the row ends before column {column!r}")
            yield row[column]


def _parquet(path: Path, column: str) -> Iterator[str]:
    parquet = require("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise InputFileError(f"{path} is not a Parquet file ({type(error).__name__})") from error
    names = file.schema_arrow.names
    if column not in names:
        raise InputFileError(f"{path}: no column {column!r}, but {names}: name the column with --text-column")
    start = 0
    for batch in file.iter_batches(batch_size=ROWS_AT_A_TIME, columns=[column]):
        for index, text in enumerate(batch.column(0).to_pylist(), start):
            if not isinstance(text, str):
                raise InputFileError(
                    f"{path}, row {index}: {column!r} holds a {type(text).__name__}, not text: fill or drop missing values first"
                )
            yield text
        start += batch.num_rows


class _Sink(Protocol):
    """Where rows go; the file is complete after close."""

    def write(self, rows: NDArray[np.float32], start: int) -> None: ...

    def close(self, n_rows: int) -> None: ...


class VectorWriter:
    """Writes vectors beside their final place and moves them there when all is well; after an error nothing is left.

    Args:
        path: ``.npy``, ``.jsonl`` or ``.parquet``.
        dimension: Length of a vector.

    Raises:
        InputFileError: Unknown ending, a folder that does not exist, or a folder of that name.
        WriteError: The folder may not be written to, or the disk is full.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        """Open the file aside."""
        sinks: dict[str, type[Any]] = {".npy": _Npy, ".jsonl": _JsonLines, ".parquet": _Parquet}
        if path.suffix not in sinks:
            raise InputFileError(f"{path}: the ending {path.suffix!r} is unknown; expected one of {', '.join(sinks)}")
        if not path.parent.is_dir():
            raise InputFileError(f"there is no folder {path.parent}: make it first")
        if path.is_dir():
            raise InputFileError(f"{path} is a folder: name a file")
        self.n_rows = 0
        with ExitStack() as files:
            self._sink: _Sink = sinks[path.suffix](files.enter_context(whole(path)), dimension)
            self._files = files.pop_all()

    def write(self, rows: NDArray[np.float32]) -> None:
        """Append vectors. *Shape:* ``(n, dimension)``."""
        self._sink.write(rows, self.n_rows)
        self.n_rows += len(rows)

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish and move into place, or remove what was written."""
        with self._files:
            self._sink.close(self.n_rows)
            if error is not None:
                raise error


class _Npy:
    """numpy leaves room in its header for a growing first axis, so the header can be rewritten in place at the end."""

    def __init__(self, path: Path, dimension: int) -> None:
        self._file, self._dimension = path.open("wb"), dimension
        self._header(0)

    def _header(self, n_rows: int) -> None:
        shape = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, self._dimension)}
        np.lib.format.write_array_header_1_0(self._file, shape)

    def write(self, rows: NDArray[np.float32], start: int) -> None:
        del start
        self._file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())

    def close(self, n_rows: int) -> None:
        with self._file:
            self._file.seek(0)
            self._header(n_rows)


class _JsonLines:
    def __init__(self, path: Path, dimension: int) -> None:
        del dimension
        self._file = path.open("w", encoding="utf-8")

    def write(self, rows: NDArray[np.float32], start: int) -> None:
        for index, row in enumerate(rows, start):
            # nine significant digits bring a float32 back exactly
            self._file.write(f'{{"row": {index}, "vector": [{", ".join(f"{x:.9g}" for x in row.tolist())}]}}\n')

    def close(self, n_rows: int) -> None:
        del n_rows
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, dimension: int) -> None:
        self._arrow = require("pyarrow")
        self._type = self._arrow.list_(self._arrow.float32(), dimension)
        self._schema = self._arrow.schema([("row", self._arrow.int64()), ("vector", self._type)])
        self._writer = require("pyarrow.parquet").ParquetWriter(path, self._schema)

    def write(self, rows: NDArray[np.float32], start: int) -> None:
        flat = self._arrow.array(rows.ravel(), type=self._arrow.float32())
        vectors = self._arrow.FixedSizeListArray.from_arrays(flat, type=self._type)
        numbers = self._arrow.array(np.arange(start, start + len(rows)))
        self._writer.write_table(self._arrow.Table.from_arrays([numbers, vectors], schema=self._schema))

    def close(self, n_rows: int) -> None:
        del n_rows
        self._writer.close()
