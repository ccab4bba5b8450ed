"""Shards as memory maps: Arrow files derived from the Parquet ones, so that searching reads pages and copies nothing.

Parquet encodes its pages, so it cannot be searched in place; an Arrow file can. Maps are named by the hashes of the shards
they were made of and by their own: one that is missing, outdated or damaged is simply made again.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from medembed import vectors
from medembed.corpus import layout, shards
from medembed.corpus.layout import MAPS, Manifest, Shard, Stored
from medembed.extras import require
from medembed.storage import paths
from medembed.storage.durable import file_sha256, write_hashed
from medembed.storage.shard_folders import is_intact

log = logging.getLogger("medembed")

# Rows of a map at least: long enough for matrix products to run at full rate, short enough to derive in 100 MB
GROUP_ROWS = 32_768
What = Stored | Literal["rows"]


@dataclass(frozen=True)
class Group:
    """Consecutive shards that share a map, and the number of their first row."""

    start: int
    shards: tuple[Shard, ...]

    @property
    def n_rows(self) -> int:
        """Rows of all."""
        return layout.shard_rows(self.shards)

    @property
    def key(self) -> str:
        """Changes with any shard."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.shards).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Block:
    """Vectors of consecutive rows, mapped. *Shape:* ``(n, columns)``."""

    start: int
    vectors: NDArray[Any]


def groups(manifest: Manifest) -> list[Group]:
    """Shards joined until there are enough rows."""
    found: list[Group] = []
    waiting: list[Shard] = []
    start = 0
    for shard in manifest.shards:
        waiting.append(shard)
        if layout.shard_rows(waiting) >= GROUP_ROWS:
            found.append(Group(start, tuple(waiting)))
            start, waiting = start + layout.shard_rows(waiting), []
    return [*found, Group(start, tuple(waiting))] if waiting else found


def vector_blocks(folder: Path, manifest: Manifest, kind: Stored) -> list[Block]:
    """All vectors of a corpus, as stored or quantised further, mapped.

    Raises:
        CorpusDamagedError: A shard is missing or changed.
        VectorError: Quantising needs ranges that the corpus does not have.
    """
    return [
        Block(group.start, layout.to_matrix(_mapped(folder, manifest, group, kind).column("vector")))
        for group in groups(manifest)
    ]


def row_tables(folder: Path, manifest: Manifest) -> list[Any]:
    """All columns but the vectors, one mapped table a group."""
    return [_mapped(folder, manifest, group, "rows") for group in groups(manifest)]


def _mapped(folder: Path, manifest: Manifest, group: Group, what: What) -> Any:
    arrow = require("pyarrow")
    for path in (folder / MAPS).glob(f"{what}-{group.key}.*.arrow"):
        try:
            return arrow.ipc.open_file(arrow.memory_map(str(path))).read_all()
        except (
            OSError,
            ValueError,
        ):  # ArrowInvalid is a ValueError: cut short by a full disk or a crash of the machine
            log.warning("%s is damaged and is made again", path)
            paths.remove(folder, f"{MAPS}/{path.name}")
    table = _derived(folder, manifest, group, what)
    try:
        (folder / MAPS).mkdir(exist_ok=True)
        path = _write(folder / MAPS / f"{what}-{group.key}", table)
    except OSError as error:
        # a corpus on a read-only or full disk can be searched all the same
        log.warning(
            "%s: maps cannot be written (%s), so %.0f MiB are held in memory",
            folder,
            type(error).__name__,
            table.nbytes / 2**20,
        )
        return table
    return arrow.ipc.open_file(arrow.memory_map(str(path))).read_all()


def _write(stem: Path, table: Any) -> Path:
    arrow = require("pyarrow")

    def write(aside: Path) -> None:
        with arrow.OSFile(str(aside), "wb") as file, arrow.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    return write_hashed(stem.parent, lambda sha: f"{stem.name}.{sha[: shards.SHORT]}.arrow", write)[0]


def _derived(folder: Path, manifest: Manifest, group: Group, what: What) -> Any:
    """A group's table read from its shards, each held against its hash on the way."""
    arrow = require("pyarrow")
    columns = [name for name in layout.schema(manifest).names if (name == "vector") != (what == "rows")]
    tables = []
    for shard in group.shards:
        if not is_intact(folder, shard.file, shard.sha256):
            raise layout.damaged_shard(folder, shard)
        tables.append(shards.read_shard(folder, shard, columns))
    table = arrow.concat_tables(tables).combine_chunks()
    told = manifest.embedding
    if what == "rows":
        return table
    if what == told.vectors:
        return table
    matrix = vectors.to_float(layout.to_matrix(table.column("vector")), told.vectors, told.ranges_array())
    stored = vectors.quantise(matrix, what, told.ranges_array())
    return arrow.table({"vector": layout.to_column(stored, layout.vector_type(told, what))})


def damaged(folder: Path) -> Iterator[Path]:
    """Maps whose bytes are not those that were written."""
    for path in sorted((folder / MAPS).glob("*.arrow")):
        if file_sha256(path)[: shards.SHORT] != path.name.split(".")[1]:
            yield path


def remove_outdated(folder: Path, manifest: Manifest) -> None:
    """Remove maps of shards that the corpus has no more."""
    keys = {group.key for group in groups(manifest)}
    for path in (folder / MAPS).glob("*.arrow"):
        if path.name.split(".")[0].partition("-")[2] not in keys:
            paths.remove(folder, f"{MAPS}/{path.name}")
