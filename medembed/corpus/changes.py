"""Changes to a corpus that is there: rows from Python, deletion, compaction, verification."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.corpus import embed, layout, maps, shards
from medembed.corpus.embed import Settings
from medembed.corpus.layout import CORPUS, Deleted, Manifest, Shard
from medembed.errors import CorpusError
from medembed.extras import require
from medembed.rows import read as rows
from medembed.rows.read import Columns, Row
from medembed.rows.seen import SeenIds
from medembed.rows.source import Reject, Source
from medembed.storage import paths
from medembed.storage.durable import write_hashed
from medembed.storage.shard_folders import Mode, is_intact, write_manifest, writing

FROM_PYTHON = "rows from Python"


def rows_of(given: Iterable[Mapping[str, Any]], columns: Columns) -> Iterator[Row]:
    """Mappings as rows.

    Raises:
        CorpusError: One that cannot be used, or an id that came before; the message has its number, counted from 0.
    """
    source = Source(FROM_PYTHON, "row", "jsonl", None)
    seen = SeenIds()
    for number, values in enumerate(given):
        if not isinstance(values, Mapping):
            raise CorpusError(f"row {number} is a {type(values).__name__}; expected a mapping with an id and a text")
        row = rows.row_of(values, source, number, columns)
        if isinstance(row, Reject):
            raise CorpusError(f"row {number} cannot be used: {row.reason}")
        if not seen.add(row.id):
            raise CorpusError(f"row {number} cannot be used: its id came before")
        yield row


def columns_of(manifest: Manifest) -> Columns:
    """Columns of rows to append."""
    return Columns(kept=manifest.kept)


def settings_of(manifest: Manifest, mode: Mode) -> Settings:
    """Settings that continue a corpus."""
    return Settings(columns_of(manifest), manifest.embedding.vectors, manifest.shard_rows, manifest.text_stored, mode)


def rows_at(tables: Sequence[Any], rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Rows by number from mapped tables, in the order asked; a take a table, since one a row costs milliseconds a query."""
    bounds = np.cumsum([0, *(table.num_rows for table in tables)])
    homes = np.searchsorted(bounds, rows, side="right") - 1
    found: list[dict[str, Any]] = [{}] * len(rows)
    for home in np.unique(homes):
        places = np.flatnonzero(homes == home)
        taken = tables[home].take(rows[places] - bounds[home]).to_pylist()
        for place, values in zip(places, taken, strict=True):
            found[place] = values
    return found


def rows_with(tables: Sequence[Any], live: NDArray[np.bool_], ids: Sequence[str]) -> NDArray[np.int64]:
    """Numbers of the live rows with these ids, in the order asked.

    Raises:
        CorpusError: An id that is not there.
    """
    arrow, compute = require("pyarrow"), require("pyarrow.compute")
    wanted = arrow.array(list(ids), type=arrow.string())
    found: dict[str, int] = {}
    start = 0
    for table in tables:
        column = table.column("id")
        for number in np.flatnonzero(compute.is_in(column, value_set=wanted).to_numpy()):
            if live[start + number]:
                found[column[int(number)].as_py()] = start + int(number)
        start += table.num_rows
    if missing := [name for name in ids if name not in found]:
        raise CorpusError(f"{len(missing)} of {len(ids)} ids are not in the corpus, the first is {missing[0]!r}")
    return np.array([found[name] for name in ids], dtype=np.int64)


def delete(folder: Path, ids: Sequence[str]) -> int:
    """Note rows as deleted; see :meth:`medembed.EmbeddedCorpus.delete`."""
    arrow, parquet = require("pyarrow"), require("pyarrow.parquet")
    with writing(folder, CORPUS):
        manifest = layout.read_manifest(folder)
        gone = embed.deleted_rows(folder, manifest)
        live = np.ones(manifest.n_rows, dtype=bool)
        live[list(gone)] = False
        names = [shards.read_shard(folder, shard, ["id"]) for shard in manifest.shards]
        now = set(rows_with(names, live, list(ids)).tolist())
        if not now:
            return 0
        table = arrow.table({"row": arrow.array(sorted(gone | now), type=arrow.int64())})
        path, digest = write_hashed(
            folder,
            lambda sha: f"deleted.{sha[: shards.SHORT]}.parquet",
            lambda aside: parquet.write_table(table, aside),
        )
        deleted = Deleted(file=path.name, sha256=digest, n_rows=table.num_rows)
        changed = manifest.model_copy(update={"deleted": deleted, "edited": True})
        write_manifest(folder, changed)
        embed.sweep(folder, changed)
    return len(now)


def compact(folder: Path, shard_rows: int | None) -> None:
    """Write the shards anew; see :meth:`medembed.EmbeddedCorpus.compact`."""
    with writing(folder, CORPUS):
        manifest = layout.read_manifest(folder)
        for shard in manifest.shards:
            if not is_intact(folder, shard.file, shard.sha256):
                raise layout.damaged_shard(folder, shard)  # what is broken must not be made to look whole
        size = shard_rows or manifest.shard_rows
        settings = layout.settings_hash(manifest)
        made: list[Shard] = []
        for number, table in enumerate(_regrouped(folder, manifest, size)):
            content = layout.content_hash(settings, table.drop_columns(["vector"]))
            made.append(shards.write_shard(folder, number, content, table.replace_schema_metadata(None)))
        changed = manifest.model_copy(
            update={
                "shards": made,
                "n_rows": layout.shard_rows(made),
                "deleted": None,
                "shard_rows": size,
                "edited": manifest.edited or size != manifest.shard_rows,
            }
        )
        write_manifest(folder, changed)
        embed.sweep(folder, changed)
        maps.remove_outdated(folder, changed)


def _regrouped(folder: Path, manifest: Manifest, size: int) -> Iterator[Any]:
    """Live rows in tables of equal length."""
    arrow = require("pyarrow")
    gone = np.array(sorted(embed.deleted_rows(folder, manifest)), dtype=np.int64)
    waiting, start = None, 0
    for shard in manifest.shards:
        table = shards.read_shard(folder, shard)
        keep = np.ones(table.num_rows, dtype=bool)
        keep[gone[(gone >= start) & (gone < start + table.num_rows)] - start] = False
        start += table.num_rows
        table = table if keep.all() else table.filter(arrow.array(keep))
        waiting = table if waiting is None else arrow.concat_tables([waiting, table])
        while waiting.num_rows >= size:
            yield waiting.slice(0, size).combine_chunks()
            waiting = waiting.slice(size)
    if waiting is not None and waiting.num_rows:
        yield waiting.combine_chunks()


def verify(folder: Path, manifest: Manifest) -> list[str]:
    """Hash every file; see :meth:`medembed.EmbeddedCorpus.verify`."""
    named = [(shard.file, shard.sha256) for shard in manifest.shards]
    if manifest.deleted is not None:
        named.append((manifest.deleted.file, manifest.deleted.sha256))
    broken = [file for file, digest in named if not is_intact(folder, file, digest)]
    for path in maps.damaged(folder):
        broken.append(path.relative_to(folder).as_posix())
        paths.remove(folder, path.relative_to(folder).as_posix())
    return broken
