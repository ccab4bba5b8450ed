"""Files of vectors, written a bounded number of rows at a time. A file appears when it is whole."""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from medembed.errors import InputFileError, WriteError
from medembed.extras import require
from medembed.storage.durable import whole

ENDINGS = (".npy", ".jsonl", ".parquet")


class _Sink(Protocol):
    """A place that rows go to. The file is complete after close."""

    def write(self, rows: NDArray[np.float32], start: int, ids: Sequence[str] | None) -> None: ...

    def close(self, n_rows: int) -> None: ...


def paths_of(path: Path, *, with_ids: bool) -> list[Path]:
    """The files that :class:`VectorWriter` makes.

    ``.npy`` has no place for ids, so these are in ``.ids.json`` beside it.
    """
    return [path, path.with_suffix(".ids.json")] if with_ids and path.suffix == ".npy" else [path]


class VectorWriter:
    """A writer of vectors that leaves nothing after an error.

    It writes the files beside their final place, and moves them there when all is well.

    Args:
        path: ``.npy``, ``.jsonl`` or ``.parquet``.
        dimension: Length of a vector.
        with_ids: Whether each row has an id.

    Raises:
        InputFileError: Unknown ending, a folder that does not exist, or a folder of that name.
        WriteError: The folder may not be written to, or the disk is full.
    """

    def __init__(self, path: Path, dimension: int, *, with_ids: bool = False) -> None:
        """Open the files aside."""
        check_place(path)
        sinks: dict[str, type[Any]] = {".npy": _Npy, ".jsonl": _JsonLines, ".parquet": _Parquet}
        self._path, self._with_ids, self.n_rows = path, with_ids, 0
        with ExitStack() as files:
            made = [files.enter_context(whole(item)) for item in paths_of(path, with_ids=with_ids)]
            self._sinks: list[_Sink] = [sinks[path.suffix](made[0], dimension, with_ids)]
            self._sinks += [_Ids(item) for item in made[1:]]
            self._files = files.pop_all()

    def write(self, rows: NDArray[np.float32], ids: Sequence[str] | None = None) -> None:
        """Append vectors, and their ids where the file has these. *Shape:* ``(n, dimension)``."""
        with self._refused():
            for sink in self._sinks:
                sink.write(rows, self.n_rows, ids if self._with_ids else None)
        self.n_rows += len(rows)

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish and move into place, or remove what was written."""
        with self._files:
            # after an error the files are removed, and what cannot be closed any more is not told beside it
            with self._refused() if error is None else suppress(OSError):
                for sink in self._sinks:
                    sink.close(self.n_rows)
            if error is not None:
                raise error

    @contextmanager
    def _refused(self) -> Iterator[None]:
        """Name the file where the system refuses to write. A full disk is named by what holds the file.

        Raises:
            WriteError: It refused.
        """
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            why = os.strerror(error.errno) if error.errno else type(error).__name__
            raise WriteError.of(
                f"{self._path} cannot be written ({why}): name a file elsewhere", error.errno
            ) from error


def check_place(path: Path) -> None:
    """Check that a file of vectors can be named so.

    Raises:
        InputFileError: Unknown ending, no such folder, or a folder of that name.
    """
    if path.suffix not in ENDINGS:
        raise InputFileError(f"{path}: the ending {path.suffix!r} is unknown; expected one of {', '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise InputFileError(f"there is no folder {path.parent}: make it first")
    if path.is_dir():
        raise InputFileError(f"{path} is a folder: name a file")


class _Npy:
    """A ``.npy`` file of a number of rows not known in advance.

    numpy leaves room in its header for a growing first axis, so the header can be rewritten in place at the end.
    """

    def __init__(self, path: Path, dimension: int, with_ids: bool) -> None:
        del with_ids
        self._file, self._dimension = path.open("wb"), dimension
        self._header(0)

    def _header(self, n_rows: int) -> None:
        shape = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, self._dimension)}
        np.lib.format.write_array_header_1_0(self._file, shape)

    def write(self, rows: NDArray[np.float32], start: int, ids: Sequence[str] | None) -> None:
        del start, ids
        self._file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())

    def close(self, n_rows: int) -> None:
        with self._file:
            self._file.seek(0)
            self._header(n_rows)


class _Ids:
    """A JSON list of the ids of a file of vectors."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8")

    def write(self, rows: NDArray[np.float32], start: int, ids: Sequence[str] | None) -> None:
        del rows
        for number, name in enumerate(ids or (), start):
            self._file.write(f"{',' if number else '['}\n{json.dumps(name, ensure_ascii=False)}")

    def close(self, n_rows: int) -> None:
        with self._file:
            self._file.write("\n]\n" if n_rows else "[]\n")


class _JsonLines:
    def __init__(self, path: Path, dimension: int, with_ids: bool) -> None:
        del dimension, with_ids
        self._file = path.open("w", encoding="utf-8")

    def write(self, rows: NDArray[np.float32], start: int, ids: Sequence[str] | None) -> None:
        for index, row in enumerate(rows):
            name = f'"id": {json.dumps(ids[index], ensure_ascii=False)}, ' if ids is not None else ""
            # nine significant digits bring a float32 back exactly
            vector = ", ".join(f"{x:.9g}" for x in row.tolist())
            self._file.write(f'{{"row": {start + index}, {name}"vector": [{vector}]}}\n')

    def close(self, n_rows: int) -> None:
        del n_rows
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, dimension: int, with_ids: bool) -> None:
        self._arrow = require("pyarrow")
        self._type = self._arrow.list_(self._arrow.float32(), dimension)
        ids = [("id", self._arrow.string())] if with_ids else []
        self._schema = self._arrow.schema([("row", self._arrow.int64()), *ids, ("vector", self._type)])
        self._writer = require("pyarrow.parquet").ParquetWriter(path, self._schema)

    def write(self, rows: NDArray[np.float32], start: int, ids: Sequence[str] | None) -> None:
        flat = self._arrow.array(rows.ravel(), type=self._arrow.float32())
        vectors = self._arrow.FixedSizeListArray.from_arrays(flat, type=self._type)
        numbers = self._arrow.array(np.arange(start, start + len(rows)))
        names = [] if ids is None else [self._arrow.array(list(ids), type=self._arrow.string())]
        self._writer.write_table(self._arrow.Table.from_arrays([numbers, *names, vectors], schema=self._schema))

    def close(self, n_rows: int) -> None:
        del n_rows
        self._writer.close()
