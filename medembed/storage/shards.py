"""Rows → a table with vectors → a file that appears whole.

Such a file is a shard. It is named by its place, its content and its bytes.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from medembed.errors import CorpusError, OverlongTextError
from medembed.extras import require
from medembed.storage import arrow_files
from medembed.storage.durable import SHORT, file_sha256
from medembed.storage.filters import arrow_type
from medembed.storage.manifest import Manifest, Shard
from medembed.storage.paths import below
from medembed.storage.places import SHARDS

# keys of an Arrow file's metadata: texts that were longer than the model reads, and vectors in the shard
TRUNCATED, VECTORS = "medembed.truncated", "medembed.vectors"
# what every store has; kept columns and vectors come after them
ROW_COLUMNS = ("id", "text", "source", "line", "text_hash")
# what the texts assert, where a store keeps it
SCOPES = "scopes"
SHOWN_COLUMNS = ("id", "text", "source", "line")
HASH_BYTES = 16


class Record(Protocol):
    """A row as readers give it.

    It has a text with its id, where it came from, and the values of kept columns in their order.
    """

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def text(self) -> str:
        """Its text."""

    @property
    def source(self) -> str:
        """File it came from."""

    @property
    def line(self) -> int:
        """Line or row in that file, from 1."""

    @property
    def kept(self) -> tuple[Any, ...]:
        """Values of kept columns."""


@dataclass(frozen=True)
class Job:
    """A shard to be made.

    Attributes:
        index: Its place in the store.
        content: Hash of its rows and of what they are encoded with.
        rows: Arrow table of all columns but the vectors.
    """

    index: int
    content: str
    rows: Any

    @property
    def id(self) -> str:
        """Its name. It is the same for the same rows at the same place, on any machine."""
        return f"{self.index:06d}.{self.content}"


Runner = Callable[[Iterable[Job], Path, Manifest[Any]], Iterator[Shard]]
"""Makes shards of jobs and writes them into the store's folder. They come in any order, each whole."""


@dataclass(frozen=True)
class Encoded:
    """The vectors of a shard.

    Attributes:
        columns: Arrow arrays by name, one value per row.
        n_vectors: How many vectors they hold.
        truncated: Texts that were longer than the model reads.
    """

    columns: Mapping[str, Any]
    n_vectors: int
    truncated: int


Encode = Callable[[Job, Manifest[Any]], Encoded]
"""Encodes the rows of one job. Pure: the same rows and model give the same vectors, here or on another machine."""


def local(encode: Encode) -> Runner:
    """A runner that encodes in this process."""

    def run(jobs: Iterable[Job], folder: Path, manifest: Manifest[Any]) -> Iterator[Shard]:
        for job in jobs:
            yield made(folder, job, encode(job, manifest), manifest)

    return run


def made(folder: Path, job: Job, encoded: Encoded, manifest: Manifest[Any]) -> Shard:
    """Write the shard of a job."""
    arrow = require("pyarrow")
    rows = job.rows
    if not manifest.text_stored:
        rows = rows.set_column(rows.schema.get_field_index("text"), "text", arrow.nulls(rows.num_rows, arrow.string()))
    for name, column in encoded.columns.items():
        rows = rows.append_column(name, column)
    return write_shard(folder, job.index, job.content, rows, encoded.n_vectors, encoded.truncated)


@contextmanager
def naming_rows(rows: Any, first: int = 0) -> Iterator[None]:
    """Have a text that is too long named by file and line. The error does not say its place in a shard.

    Args:
        rows: Arrow table of the rows.
        first: Place of the first row whose text is encoded inside.

    Raises:
        OverlongTextError: As it was, with file and line.
    """
    try:
        yield
    except OverlongTextError as error:
        row = rows.slice(first + error.index, 1).select(["source", "line"]).to_pylist()[0]
        raise error.at(f"{row['source']}, line {row['line']}: the text") from None


def row_schema(kept: Mapping[str, str]) -> Any:
    """Arrow schema of a shard's rows without vectors.

    Raises:
        CorpusError: A kept column has the name of one that every store has.
    """
    arrow = require("pyarrow")
    if taken := sorted({*ROW_COLUMNS, SCOPES, "vector", "codes", "remainders"} & set(kept)):
        raise CorpusError(f"the column {taken[0]!r} cannot be kept under that name: a store has its own")
    return arrow.schema(
        [
            arrow.field("id", arrow.string(), nullable=False),
            arrow.field("text", arrow.string()),
            arrow.field("source", arrow.string()),
            arrow.field("line", arrow.int64()),
            arrow.field("text_hash", arrow.binary(HASH_BYTES)),
            *(arrow.field(name, arrow_type(kind)) for name, kind in kept.items()),
        ]
    )


def table_of(records: Sequence[Record], kept: Mapping[str, str]) -> Any:
    """Records as an Arrow table without vectors. Texts are only as long as they are encoded or stored."""
    columns = {
        "id": [record.id for record in records],
        "text": [record.text for record in records],
        "source": [record.source for record in records],
        "line": [record.line for record in records],
        "text_hash": [text_hash(record.text, record.kept) for record in records],
        **{name: [record.kept[place] for record in records] for place, name in enumerate(kept)},
    }
    return require("pyarrow").table(columns, schema=row_schema(kept))


def text_hash(text: str, kept: Sequence[Any] = ()) -> bytes:
    """Hash of a text and of the values of kept columns. A row is another when it differs."""
    digest = hashlib.sha256()
    for value in (text, *kept):
        item = b"\0" if value is None else str(value).encode()
        digest.update(len(item).to_bytes(8, "little"))
        digest.update(item)
    return digest.digest()[:HASH_BYTES]


def row_columns(table: Any, manifest: Manifest[Any]) -> Any:
    """A shard's table without its vectors."""
    return table.select([*ROW_COLUMNS, *manifest.kept])


def content_hash(settings: str, rows: Any) -> str:
    """Hash of a shard's rows and what they are encoded with. It is equal where the shard would be.

    Args:
        settings: From :meth:`Manifest.settings_hash`.
        rows: Arrow table of the columns but the vectors.
    """
    digest = hashlib.sha256(settings.encode())
    for name in rows.column_names:
        for value in rows.column(name).to_pylist():
            item = value if isinstance(value, bytes) else b"\0" if value is None else str(value).encode()
            digest.update(len(item).to_bytes(8, "little"))
            digest.update(item)
    return digest.hexdigest()[:12]


def write_shard(folder: Path, index: int, content: str, table: Any, n_vectors: int, truncated: int = 0) -> Shard:
    """Write a shard aside and move it into place.

    Args:
        folder: The store.
        index: Its place.
        content: Hash of its rows.
        table: Its rows with their vectors.
        n_vectors: Vectors in it.
        truncated: Texts that were longer than the model reads.

    Raises:
        OSError: The disk is full, broken or read-only; nothing half-written stays behind.
    """
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    counted = table.replace_schema_metadata({TRUNCATED: str(truncated), VECTORS: str(n_vectors)})
    path, digest = arrow_files.write(folder / SHARDS, lambda sha: f"{index:06d}.{content}.{sha[:SHORT]}.arrow", counted)
    return _shard(path, digest, content, counted)


def find_shard(folder: Path, job: Job) -> Shard | None:
    """A shard of this content that an earlier run has left. It counts only if its bytes are intact."""
    for path in below(folder, SHARDS).glob(f"{job.id}.*.arrow"):
        if not path.is_symlink():
            digest = file_sha256(path)
            if digest.startswith(path.name.split(".")[2]):
                return _shard(path, digest, job.content, arrow_files.mapped(path))
    return None


def _shard(path: Path, digest: str, content: str, table: Any) -> Shard:
    counts = table.schema.metadata
    return Shard(
        file=f"{SHARDS}/{path.name}",
        sha256=digest,
        n_rows=table.num_rows,
        content=content,
        truncated=int(counts[TRUNCATED.encode()]),
        n_vectors=int(counts[VECTORS.encode()]),
    )
