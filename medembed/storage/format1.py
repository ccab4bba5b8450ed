"""Stores in the layout of medembed before format 2. They are read once and written anew. Nothing is encoded again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from medembed import border
from medembed.errors import CorpusDamagedError, CorpusError
from medembed.extras import require
from medembed.storage import arrow_files, shards
from medembed.storage.changing import publish
from medembed.storage.durable import SHORT, write_hashed
from medembed.storage.manifest import EARLIER, Encoding, Kind, Manifest, Part, Shard, count_rows, writing
from medembed.storage.paths import below
from medembed.storage.places import MANIFEST

FORMAT = 1


@dataclass(frozen=True)
class Reader:
    """The reader that takes over one kind of store.

    Attributes:
        kind: The kind.
        encoding: What decides the vectors, from what the manifest said of it.
        vectors: Columns of vectors of a shard, from its table.
    """

    kind: Kind[Any]
    encoding: Callable[[dict[str, Any]], Encoding]
    vectors: Callable[[Any], dict[str, Any]]


def take_over(source: Path, target: Path, readers: dict[str, Reader]) -> int:
    """Write a store of the earlier layout as a new one. Deleted rows are left out.

    Args:
        source: Its folder, which is only read.
        target: Folder of the new store; it must not hold one.
        readers: By name of the kind.

    Returns:
        How many rows it has.

    Raises:
        CorpusError: Not a finished store of the earlier layout, or the target holds a store.
        CorpusDamagedError: A file is missing or changed.
    """
    content, kind = _content(source)
    reader = readers[kind]
    if (target / MANIFEST).exists():
        raise CorpusError(f"{target} holds a store already: give another folder")
    try:
        fresh = _manifest(source, content, kind, reader)
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise CorpusDamagedError(
            f"{source / MANIFEST} is damaged ({type(error).__name__}): bring it back from a copy, or index the texts anew"
        ) from error
    with writing(target, reader.kind):
        if "codec" in content:
            fresh = fresh.model_copy(update={"parts": {"codec": _copied(source, target, content["codec"])}})
        made = [
            _written(target, number, table, fresh, reader) for number, table in enumerate(_live_tables(source, content))
        ]
        publish(target, fresh.model_copy(update={"shards": made}))
    return count_rows(made)


def _manifest(source: Path, content: dict[str, Any], kind: str, reader: Reader) -> Manifest[Any]:
    told = content["embedding" if kind == EARLIER["embedding"] else "encoding"]
    fresh: Manifest[Any] = Manifest[reader.kind.encoding](  # type: ignore[name-defined] # a class of this very kind
        kind=kind,
        encoding=reader.encoding(told),
        engine=content.get("engine", "unknown"),
        text_stored=content.get("text_stored", told.get("text_stored")),
        kept=content.get("kept", {}),
        shard_rows=content["shard_rows"],
        inputs=content.get("inputs", [str(source)]),
        edited=True,
    )
    return fresh


def _content(source: Path) -> tuple[dict[str, Any], str]:
    try:
        content = border.read_json_object(below(source, MANIFEST), error=CorpusDamagedError)
        kind = next(name for mark, name in EARLIER.items() if mark in content)
        if content["format"] == FORMAT and "kind" not in content:
            return content, kind
    except (OSError, CorpusDamagedError, KeyError, StopIteration):
        pass
    raise CorpusError(f"{source} is not a finished corpus or token index in the layout of an earlier medembed")


def _checked(source: Path, told: dict[str, Any]) -> Path:
    path = below(source, told["file"])
    if not arrow_files.is_intact(path, told["sha256"]):
        raise CorpusDamagedError(
            f"{path} is missing, or its bytes are not those that were written: bring it back from a copy, or index the texts anew"
        )
    return path


def _copied(source: Path, target: Path, told: dict[str, Any]) -> Part:
    path = _checked(source, told)
    name, content = path.name.split(".")[:2]
    written, digest = write_hashed(
        target,
        lambda sha: f"{name}.{content}.{sha[:SHORT]}{path.suffix}",
        lambda aside: aside.write_bytes(path.read_bytes()),
    )
    return Part(file=written.name, sha256=digest)


def _live_tables(source: Path, content: dict[str, Any]) -> Iterator[Any]:
    """Tables of the shards, deleted rows left out."""
    arrow = require("pyarrow")
    gone = _deleted(source, content.get("deleted"))
    start = 0
    for told in content["shards"]:
        table = _read(_checked(source, told))
        keep = ~np.isin(np.arange(start, start + table.num_rows), gone)
        start += table.num_rows
        table = table.filter(arrow.array(keep))
        if table.num_rows:
            yield table.combine_chunks()


def _deleted(source: Path, told: Any) -> Any:
    """Numbers of deleted rows. Corpora have a file of them, token indexes a list."""
    return (
        _read(_checked(source, told)).column("row").to_numpy()
        if isinstance(told, dict)
        else np.array(told or [], dtype=np.int64)
    )


def _read(path: Path) -> Any:
    if path.suffix == ".parquet":
        return require("pyarrow.parquet").read_table(path, partitioning=None)
    return arrow_files.mapped(path)


def _written(target: Path, number: int, table: Any, found: Manifest[Any], reader: Reader) -> Shard:
    rows = _rows(table, found)
    content = shards.content_hash(found.settings_hash(), rows)
    for name, column in reader.vectors(table).items():
        rows = rows.append_column(name, column)
    return shards.write_shard(target, number, content, rows, reader.kind.count(rows))


def _rows(table: Any, found: Manifest[Any]) -> Any:
    """The rows of a shard with the columns that they have now. A row has a hash where its text is there."""
    schema = shards.row_schema(found.kept)
    values = {
        name: table.column(name).to_pylist() if name in table.column_names else [None] * table.num_rows
        for name in schema.names
    }
    kept = list(zip(*(values[name] for name in found.kept), strict=True)) if found.kept else [()] * table.num_rows
    values["text_hash"] = [
        None if text is None else shards.text_hash(text, row) for text, row in zip(values["text"], kept, strict=True)
    ]
    values["source"] = [source or "" for source in values["source"]]
    values["line"] = [line or 0 for line in values["line"]]
    return require("pyarrow").table(values, schema=schema)
