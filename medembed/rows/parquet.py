"""Parquet files, read strictly. A bounded number of rows is held at a time."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import count
from typing import IO, Any

from medembed.errors import InputFileError
from medembed.extras import require
from medembed.rows.source import Record, Reject, Source
from medembed.rows.wanted import Wanted

ROWS_AT_A_TIME = 1024


def read(stream: IO[bytes], source: Source, wanted: Wanted) -> Iterator[Record | Reject]:
    """Records and rejects of a Parquet file. Of its columns, only the wanted ones are read, where any are.

    Raises:
        InputFileError: It is not a Parquet file, or damaged, or a column is missing.
    """
    parquet = require("pyarrow.parquet")
    with tempfile.TemporaryFile() as spooled:
        number = 0
        try:
            file = parquet.ParquetFile(stream if stream.seekable() else _spooled(stream, spooled))
        except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
            raise InputFileError(
                f"{source.name} is not a Parquet file, or is damaged ({type(error).__name__})"
            ) from None
        wanted.in_header(source, list(file.schema_arrow.names))
        try:
            for batch in file.iter_batches(batch_size=ROWS_AT_A_TIME, columns=wanted.columns or None):
                yield from _items(batch, source, number)
                number += batch.num_rows
        except (OSError, ValueError, ArithmeticError, NotImplementedError) as error:
            raise InputFileError(
                f"{source.name}, after row {number}: cannot be read further ({type(error).__name__}): copy it again"
            ) from None


def _spooled(stream: IO[bytes], file: Any) -> Any:
    """A copy that can be read from any place. It is for what comes through a pipe."""
    shutil.copyfileobj(stream, file, 1 << 20)
    file.seek(0)
    return file


def _items(batch: Any, source: Source, start: int) -> Iterable[Record | Reject]:
    try:
        return map(Record, count(start + 1), batch.to_pylist())
    except (ValueError, ArithmeticError):  # bytes that are not UTF-8, dates that Python cannot hold: find the row
        return _one_by_one(batch, source, start)


def _one_by_one(batch: Any, source: Source, start: int) -> Iterator[Record | Reject]:
    for index in range(batch.num_rows):
        try:
            yield Record(start + index + 1, batch.slice(index, 1).to_pylist()[0])
        except UnicodeDecodeError:
            yield Reject(source.name, start + index + 1, "not UTF-8")
        except (ValueError, ArithmeticError):
            yield Reject(source.name, start + index + 1, "a value that cannot be read")
