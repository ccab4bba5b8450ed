"""A store's rows as plain files for other tools. These are ``.npy`` with ids beside it, and Parquet."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.errors import CorpusError
from medembed.extras import require
from medembed.storage.durable import write_text_whole, write_whole
from medembed.storage.places import store_around
from medembed.storage.shards import row_schema


def write(path: Path, shape: tuple[int, ...], pieces: Iterable[NDArray[np.float32]], ids: Sequence[str]) -> None:
    """Write an array piece by piece, and ids beside it.

    Args:
        path: Where, ending in ``.npy``; the ids go to ``.ids.json``.
        shape: Shape of the whole.
        pieces: Its rows, float32.
        ids: Names of the rows.

    Raises:
        CorpusError: Another ending, a path inside a store, or nothing can be written there.
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}

    def fill(aside: Path) -> None:
        # written, not mapped: a full disk is an error here and would end the process there
        with aside.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for piece in pieces:
                file.write(np.ascontiguousarray(piece, dtype="<f4").data)

    with _target(path, ".npy"):
        write_whole(path, fill)
        write_text_whole(path.with_suffix(".ids.json"), json.dumps(list(ids), ensure_ascii=False))


def schema(kept: Mapping[str, str], name: str, kind: Any) -> Any:
    """Arrow schema of rows as they are handed over. The column of vectors is the last."""
    rows = row_schema(kept)
    arrow = require("pyarrow")
    return rows.remove(rows.get_field_index("text_hash")).append(arrow.field(name, kind))


def write_parquet(path: Path, columns: Any, tables: Iterable[Any]) -> None:
    """Write tables as one Parquet file.

    Args:
        path: Where, ending in ``.parquet``.
        columns: Their schema.
        tables: Some thousand rows each.

    Raises:
        CorpusError: Another ending, a path inside a store, or nothing can be written there.
    """
    parquet = require("pyarrow.parquet")

    def fill(aside: Path) -> None:
        with parquet.ParquetWriter(aside, columns, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table.cast(columns))

    with _target(path, ".parquet"):
        write_whole(path, fill)


@contextmanager
def _target(path: Path, ending: str) -> Iterator[None]:
    if path.suffix != ending:
        raise CorpusError(f"{path}: expected a path that ends in {ending}")
    if store_around(path) is not None:
        raise CorpusError(f"{path} lies in a store of medembed: choose a path outside of it")
    if not path.parent.is_dir():
        raise CorpusError(f"there is no folder {path.parent}: make it first")
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        raise CorpusError(f"{path} cannot be written ({why}): make room, or choose another path") from error
