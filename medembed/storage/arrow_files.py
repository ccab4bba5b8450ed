"""Arrow files with a hash in their names.

They are written whole, and hashed before they are mapped. They are read without a copy.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.extras import require
from medembed.storage.durable import has_sha256, write_hashed


def save(path: Path, table: Any) -> None:
    """Write a table, every column in one chunk."""
    arrow = require("pyarrow")
    with arrow.OSFile(str(path), "wb") as file, arrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def write(folder: Path, name: Callable[[str], str], table: Any) -> tuple[Path, str]:
    """Write a table aside and move it into place.

    Args:
        folder: Where it belongs.
        name: The file's name, from the SHA-256 of its bytes.
        table: The table.

    Returns:
        The file and its SHA-256.

    Raises:
        OSError: The disk is full, broken or read-only; nothing half-written stays behind.
    """
    return write_hashed(folder, name, lambda aside: save(aside, table))


def mapped(path: Path) -> Any:
    """A table read through a memory map. Its bytes have to be known: a wrong offset in a map ends the process.

    Raises:
        OSError: It cannot be read.
        ValueError: Not an Arrow file.
    """
    arrow = require("pyarrow")
    return arrow.ipc.open_file(arrow.memory_map(str(path))).read_all()


def fits(table: Any, schema: Any, n_rows: int) -> bool:
    """Tell whether a mapped table has these columns and rows, without a missing value.

    Raises:
        ValueError: Its bytes are no such columns.
    """
    table.validate(full=True)
    whole = all(column.null_count == 0 for column in table.columns)
    return bool(whole and table.schema.equals(schema) and table.num_rows == n_rows)


def is_intact(path: Path, digest: str) -> bool:
    """Tell whether a file is there with the bytes that were written."""
    return has_sha256(path, digest)


def to_column(vectors: NDArray[Any], kind: Any) -> Any:
    """A matrix as a column of fixed-size lists. *Shape:* ``(n, columns)``."""
    arrow = require("pyarrow")
    flat = arrow.array(np.ascontiguousarray(vectors).reshape(-1), type=kind.value_type)
    return arrow.FixedSizeListArray.from_arrays(flat, type=kind)


def to_matrix(column: Any) -> NDArray[Any]:
    """A column of fixed-size lists, in one chunk, as a matrix. Nothing is copied. *Shape:* ``(n, columns)``."""
    size = column.type.list_size
    if not len(column):
        return np.empty((0, size), dtype=column.type.value_type.to_pandas_dtype())
    chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    matrix: NDArray[Any] = chunk.flatten().to_numpy(zero_copy_only=True)
    return matrix.reshape(len(chunk), size)


def to_bytes(column: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of a ``large_binary`` column in one chunk, and their offsets.

    The bytes are as they lie in the map. The offsets say where each row's bytes begin and end.
    """
    if not len(column):
        return np.empty(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    _, offsets, values = chunk.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
    return np.frombuffer(values, dtype=np.uint8) if values is not None else np.empty(0, dtype=np.uint8), ends


def from_bytes(values: NDArray[Any], ends: NDArray[np.integer]) -> Any:
    """A ``large_binary`` array of rows that lie one after the other.

    Args:
        values: The bytes of all rows.
        ends: Where each row's bytes begin, and the end of the last. *Shape:* ``(rows + 1,)``.
    """
    arrow = require("pyarrow")
    buffers = [
        None,
        arrow.py_buffer(np.ascontiguousarray(ends, dtype=np.int64)),
        arrow.py_buffer(np.ascontiguousarray(values)),
    ]
    return arrow.Array.from_buffers(arrow.large_binary(), len(ends) - 1, buffers)
