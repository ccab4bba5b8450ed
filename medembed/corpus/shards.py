"""Shards: rows → a table with vectors → a file that appears whole, named by its place, its content and its bytes."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medembed import vectors
from medembed.corpus import layout
from medembed.corpus.layout import Manifest, Shard
from medembed.errors import OverlongTextError
from medembed.extras import require
from medembed.model import MedEmbed
from medembed.rows.read import Row
from medembed.runtime.tokenizer import TruncationWarning
from medembed.storage.durable import write_hashed
from medembed.storage.shard_folders import SHARDS, intact_files

# key of the Parquet metadata that counts texts which were longer than the model reads
TRUNCATED = "medembed.truncated"
# hexadecimal digits of the file's hash in its name
SHORT = 16
# rows embedded between two reports of progress
PIECE_ROWS = 512


@dataclass(frozen=True)
class Job:
    """A shard to be made.

    Attributes:
        index: Its place in the corpus.
        content: Hash of its rows and of what they are embedded with.
        rows: Arrow table of all columns but the vector.
    """

    index: int
    content: str
    rows: Any

    @property
    def id(self) -> str:
        """The same for the same rows at the same place, on any machine."""
        return f"{self.index:06d}.{self.content}"


Runner = Callable[[Iterable[Job], Path, Manifest], Iterator[Shard]]
"""Makes shards of jobs and writes them into the corpus's folder; in any order, each whole."""


def table_of(rows: Sequence[Row], manifest: Manifest) -> Any:
    """Rows as an Arrow table without vectors; texts only as long as they are embedded or stored."""
    arrow = require("pyarrow")
    schema = layout.schema(manifest)
    columns = {
        "id": [row.id for row in rows],
        "text": [row.text for row in rows],
        "source": [row.source for row in rows],
        "line": [row.line for row in rows],
        **{name: [row.kept[place] for row in rows] for place, name in enumerate(manifest.kept)},
    }
    return arrow.table(columns, schema=schema.remove(schema.get_field_index("vector")))


def embed_shard(
    rows: Any, model: MedEmbed, manifest: Manifest, on_rows: Callable[[int], object] = lambda _: None
) -> Any:
    """Embed the rows of one shard. Pure: the same rows and model give the same table, here or on another machine.

    Args:
        rows: Arrow table of all columns but the vector.
        model: The model of the corpus.
        manifest: What is stored, and how.
        on_rows: Called with numbers of rows as they are embedded.

    Returns:
        Arrow table with the corpus's schema.

    Raises:
        OverlongTextError: A text is too long and may not be cut; the message has its file and line.
    """
    arrow = require("pyarrow")
    told = manifest.embedding
    before = model.truncated.texts
    matrix = _vectors(rows, model, on_rows)
    stored = vectors.quantise(matrix, told.vectors, told.ranges_array())
    if not manifest.text_stored:
        place = rows.schema.get_field_index("text")
        rows = rows.set_column(place, "text", arrow.nulls(rows.num_rows, arrow.string()))
    column = layout.to_column(stored, layout.vector_type(told))
    schema = layout.schema(manifest).with_metadata({TRUNCATED: str(model.truncated.texts - before)})
    return arrow.Table.from_arrays([*rows.combine_chunks().columns, column], schema=schema)


def _vectors(rows: Any, model: MedEmbed, on_rows: Callable[[int], object]) -> Any:
    """Vectors of a shard, embedded in pieces so that progress shows. *Shape:* ``(rows, dimension)``."""
    texts: list[str] = rows.column("text").to_pylist()
    pieces = []
    for start in range(0, len(texts), PIECE_ROWS):
        piece = texts[start : start + PIECE_ROWS]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TruncationWarning)  # counted, and told once for the whole corpus
                pieces.append(model.encode_document(piece, show_progress=False))
        except OverlongTextError as error:
            row = rows.slice(start + error.index, 1).to_pylist()[0]
            raise error.at(f"{row['source']}, line {row['line']}: the text") from None
        on_rows(len(piece))
    return np.concatenate(pieces)


def write_shard(folder: Path, index: int, content: str, table: Any) -> Shard:
    """Write a shard aside and move it into place.

    Args:
        folder: The corpus.
        index: Its place.
        content: Hash of its rows.
        table: What :func:`embed_shard` gave.

    Returns:
        What the manifest says of it.

    Raises:
        OSError: The disk is full, broken or read-only; nothing half-written stays behind.
    """
    parquet = require("pyarrow.parquet")
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    kind = str(table.schema.field("vector").type.value_type)
    item = "vector.list.element"

    def write(aside: Path) -> None:
        # Floats do not compress, bytes do as a dictionary: Parquet has no type below four bytes, and would take four
        parquet.write_table(
            table,
            aside,
            compression={**dict.fromkeys(table.column_names, "zstd"), item: "none"},
            use_dictionary=["source", *([item] if kind == "int8" else [])],
            write_statistics=["line", *table.column_names[4:-1]],
        )

    path, digest = write_hashed(folder / SHARDS, lambda sha: f"{index:06d}.{content}.{sha[:SHORT]}.parquet", write)
    return _told(path, digest, table.num_rows, content, table.schema)


def _told(path: Path, digest: str, n_rows: int, content: str, schema: Any) -> Shard:
    truncated = int((schema.metadata or {}).get(TRUNCATED.encode(), 0))
    return Shard(file=f"{SHARDS}/{path.name}", sha256=digest, n_rows=n_rows, content=content, truncated=truncated)


def find_shard(folder: Path, job: Job) -> Shard | None:
    """A shard of this content that an earlier run has left, if its bytes are intact."""
    for path, digest in intact_files(folder / SHARDS, f"{job.id}.*.parquet"):
        schema = require("pyarrow.parquet").read_schema(path)
        return _told(path, digest, job.rows.num_rows, job.content, schema)
    return None


def read_shard(folder: Path, shard: Shard, columns: Sequence[str] | None = None) -> Any:
    """A shard's table, or some of its columns.

    Raises:
        CorpusDamagedError: The file is missing or cannot be read.
    """
    parquet = require("pyarrow.parquet")
    try:
        return parquet.read_table(
            folder / shard.file, columns=None if columns is None else list(columns), partitioning=None
        )
    except (OSError, ValueError) as error:
        raise layout.damaged_shard(folder, shard) from error
