"""Changes of a finished store: rows that go, and shards written anew. A changed manifest is published last."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medembed.errors import CorpusScopeError
from medembed.extras import require
from medembed.storage import arrow_files, manifest
from medembed.storage.derived import Derived
from medembed.storage.durable import SHORT
from medembed.storage.manifest import Deleted, E, Manifest, Shard
from medembed.storage.places import REJECTS, discard
from medembed.storage.scopes import ALL, Scope
from medembed.storage.shards import content_hash, row_columns, write_shard
from medembed.storage.tables import Store, unlisted

# what format 1 derived: it may hold the texts of a store that is replaced
MAPS = "maps"


def publish(folder: Path, found: Manifest[E]) -> Manifest[E]:
    """Write a manifest, and remove what it does not name. The store has to be held by :func:`manifest.writing`."""
    changed = found.model_copy(update={"state": found.state + 1})
    with Derived(folder, changed).swept():
        manifest.write_manifest(folder, changed)
        for path in unlisted(folder, changed):
            discard(folder, path)
        discard(folder, folder / MAPS)
    return changed


def with_deleted(store: Store[E], numbers: Iterable[int]) -> Deleted | None:
    """The file of deleted rows' numbers, with further ones. None where no row is deleted."""
    arrow = require("pyarrow")
    gone = sorted({*np.flatnonzero(~store.live()).tolist(), *numbers})
    if not gone:
        return None
    table = arrow.table({"row": arrow.array(gone, type=arrow.int64())})
    path, digest = arrow_files.write(store.path, lambda sha: f"deleted.{sha[:SHORT]}.arrow", table)
    return Deleted(file=path.name, sha256=digest, n_rows=len(gone))


def delete(store: Store[Any], ids: Sequence[str]) -> int:
    """Leave rows out from now on. They are looked up in the newest state of the store.

    In a store of passages, the id of a note stands for all passages of it.

    Returns:
        How many rows were deleted.

    Raises:
        CorpusError: An id that is not there, or another process writes; nothing is deleted then.
        InputTypeError: One string in place of several.
    """
    with manifest.writing(store.path, store.kind):
        newest = store.newest().within(ALL)
        return _without(newest, set(newest.numbers(ids, notes=True).tolist()))


def delete_scope(store: Store[Any], scope: Scope) -> int:
    """Leave all rows of one scope out from now on, in the newest state of the store.

    Returns:
        How many rows were deleted.

    Raises:
        CorpusScopeError: It is no scope of this store, or all of it.
    """
    if scope == ALL:
        raise CorpusScopeError(
            "all is no scope to delete: name one value of the scope column, or index anew with --overwrite"
        )
    if any(isinstance(value, list | tuple) for value in scope.values()):
        raise CorpusScopeError("a scope to delete has one value, and this has a list: delete one after the other")
    with manifest.writing(store.path, store.kind):
        newest = store.newest()
        return _without(newest.within(ALL), set(np.flatnonzero(newest.within(scope).live()).tolist()))


def _without(store: Store[Any], numbers: set[int]) -> int:
    if numbers:
        deleted = with_deleted(store, numbers)
        publish(store.path, store.manifest.model_copy(update={"deleted": deleted, "edited": True}))
    return len(numbers)


def compact(store: Store[Any], shard_rows: int | None) -> None:
    """Write the shards anew, without deleted rows and in full length. Full shards at the beginning stay as they are.

    Raises:
        CorpusDamagedError: A shard is missing or changed: what is broken must not be made to look whole.
        CorpusError: Another process writes, or the disk is full; the store is as it was then.
    """
    with manifest.writing(store.path, store.kind):
        newest = store.newest().within(ALL)
        found, size = newest.manifest, shard_rows or newest.manifest.shard_rows
        for part in found.files:
            newest.file(part)
        kept = _unchanged(newest, size)
        made = [_rewritten(newest, number, table) for number, table in enumerate(_regrouped(newest, kept, size), kept)]
        edited = found.edited or size != found.shard_rows
        update = {"shards": [*found.shards[:kept], *made], "deleted": None, "shard_rows": size, "edited": edited}
        publish(store.path, found.model_copy(update=update))
        discard(store.path, store.path / REJECTS)  # it names ids, which may be those of deleted rows


def _rewritten(store: Store[Any], number: int, table: Any) -> Shard:
    content = content_hash(store.manifest.settings_hash(), row_columns(table, store.manifest))
    return write_shard(store.path, number, content, table, store.kind.count(table))


def _unchanged(store: Store[Any], size: int) -> int:
    """Number of shards at the beginning that stay. They are full and hold no deleted row."""
    live = store.live()
    for number, shard in enumerate(store.manifest.shards):
        if shard.n_rows != size or not live[store.starts[number] : store.starts[number + 1]].all():
            return number
    return len(store.manifest.shards)


def _regrouped(store: Store[Any], first: int, size: int) -> Iterator[Any]:
    """Live rows from a shard on, in tables of equal length."""
    arrow = require("pyarrow")
    live = store.live()
    waiting = None
    for number in range(first, len(store.manifest.shards)):
        table = store.table(number).replace_schema_metadata(None)
        keep = live[store.starts[number] : store.starts[number + 1]]
        table = table if keep.all() else table.filter(arrow.array(keep))
        waiting = table if waiting is None else arrow.concat_tables([waiting, table])
        while waiting.num_rows >= size:
            yield waiting.slice(0, size)
            waiting = waiting.slice(size)
    if waiting is not None and waiting.num_rows:
        yield waiting
