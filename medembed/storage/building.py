"""Rows → a store, with the manifest written last.

Known rows are kept or replaced. The others are cut into shards, and shards that are already there are taken over.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Generic

import numpy as np

from medembed.errors import CorpusError, CorpusScopeError, IndexingStoppedError
from medembed.progress import RowBar
from medembed.storage import shards, syncing
from medembed.storage.changing import publish, with_deleted
from medembed.storage.known import KnownRows, Notes
from medembed.storage.manifest import E, Kind, Manifest, Shard, adds, check_encoding, count_rows, read_manifest
from medembed.storage.modes import SYNC_LIMIT, Mode
from medembed.storage.places import MANIFEST, SHARDS, STAGING, discard, entries
from medembed.storage.repeats import Repeats
from medembed.storage.scopes import ALL
from medembed.storage.shards import Job, Record, Runner
from medembed.storage.syncing import Announce, Changes, Inventory
from medembed.storage.tables import Store

KNOWN = "its id is in the store already"


def never() -> bool:
    """Never ask a run to stop."""
    return False


@dataclass(frozen=True)
class Summary:
    """Counts of an indexing run.

    Attributes:
        n_rows: Rows of the store now, deleted ones left out.
        n_vectors: Vectors in its shards: one per row, or one per token; those of deleted rows too.
        embedded: Rows encoded by this run.
        resumed: Rows of shards that an earlier run had left.
        kept: Rows of an upsert that were there already, unchanged.
        replaced: Rows of an upsert that took the place of others.
        new: Rows whose ids were not there.
        deleted: Rows that a sync did not find in its inputs.
        rejected: Rows left out, by reason.
        truncated: Texts of the store that were longer than the model reads.
        repeated: Rows of this run whose text was there before, and was not encoded again.
        repeated_share: Share of this run's text that they are, from 0 to 1.
        seconds_saved: Time that encoding them would have taken.
    """

    n_rows: int
    n_vectors: int
    embedded: int
    resumed: int
    kept: int
    replaced: int
    new: int
    deleted: int
    rejected: Mapping[str, int]
    truncated: int
    repeated: int = 0
    repeated_share: float = 0.0
    seconds_saved: float = 0.0


Prepare = Callable[[Path, Manifest[Any], Iterator[Record]], tuple[Manifest[Any], Iterator[Record]]]
"""Makes the further files of a new store, such as a codec, from its first rows.

Gives the manifest that names them, and all rows.
"""


@dataclass(frozen=True)
class Plan(Generic[E]):
    """Plan of a run that builds a store.

    Attributes:
        kind: What the store is.
        fresh: Manifest of an empty store with the model and settings of this run.
        runner: Who encodes.
        mode: ``"new"`` makes or finishes a store, ``"append"`` adds to one, ``"upsert"`` adds and replaces, ``"sync"`` also deletes
            what is gone, ``"overwrite"`` replaces it.
        cut: Makes the rows of the store of those that are given, such as passages of notes; None to take them as they are.
        prepare: Makes further files from the first rows; None where the kind has none.
        refuse: Takes a row whose id the store has already, and why; it may raise.
        rejected: Counts of rows that were left out, by reason, read when the run is done.
        progress: Is told of rows as they are read, and as they are encoded or found encoded.
        runner_tells: Whether the runner tells ``progress`` of the rows that it encodes.
        stop: Asked between two shards; once it says True, the shards begun are finished and ``IndexingStoppedError`` raised.
        unread: Ids of rows that the inputs have and that could not be used, read when the run is done: a sync keeps those.
        sync_limit: Share of the rows that a sync may delete.
        announce: Is told what a sync is about to do.
    """

    kind: Kind[E]
    fresh: Manifest[E]
    runner: Runner
    refuse: Callable[[Record, str], None]
    mode: Mode = "new"
    cut: Callable[[Iterator[Record]], Iterator[Record]] | None = None
    prepare: Prepare | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    progress: RowBar = field(default_factory=lambda: RowBar(None, None))
    runner_tells: bool = False
    stop: Callable[[], bool] = never
    unread: Collection[str] = ()
    sync_limit: float = SYNC_LIMIT
    announce: Announce = syncing.silent


def build(folder: Path, records: Iterator[Record], plan: Plan[E]) -> Summary:
    """Make a store of rows, or change one. The folder has to be held by :func:`medembed.storage.manifest.writing`.

    Args:
        folder: The store.
        records: Rows, each id once.
        plan: Kind, model, settings, mode.

    Raises:
        CorpusError: The folder holds another store, or a shard was not made; what is whole stays and counts for the next run.
        CorpusModelError: A store that is changed was made with another model.
        IndexingStoppedError: ``plan.stop`` said so.
    """
    for path in entries(folder, SHARDS):
        if path.name == STAGING:
            discard(folder, path)
    records = records if plan.cut is None else plan.cut(records)
    store = Store.open(folder, plan.kind).within(ALL) if adds(plan.mode, folder) else None
    base = _fresh(folder, plan) if store is None else _changed(store, plan)
    run = _Run(folder, base, plan, store)
    wanted = records if store is None else run.unknown(records, store)
    if store is None and plan.prepare is not None:
        run.base, wanted = plan.prepare(folder, base, wanted)
    for shard in plan.runner(run.pending(wanted), folder, run.base):
        run.done(shard)
    if run.stopped:
        raise IndexingStoppedError(
            f"stopped with {run.n_rows} rows in whole shards of {folder}: run the same command again to go on"
        )
    return run.finish()


class _Run(Generic[E]):
    """One run that builds or changes a store.

    It records which shards there are, which are still to be made, and which rows they replace.
    """

    def __init__(self, folder: Path, base: Manifest[E], plan: Plan[E], store: Store[E] | None) -> None:
        self.base, self.stopped = base, False
        self._folder, self._plan, self._store = folder, plan, store
        self._made: dict[int, Shard] = {}
        self._replaced: list[int] = []
        self._notes = Notes(base)
        self._embedded, self._resumed, self._kept = 0, 0, 0
        self._inventory: Inventory | None = None

    def unknown(self, records: Iterator[Record], store: Store[E]) -> Iterator[Record]:
        """Rows to encode: new ones, and with an upsert or a sync changed ones."""
        known = KnownRows(store)
        self._inventory = Inventory(store, known)
        for record in records:
            number = known.number(record.id)
            self._notes.add(record, number)
            if self._plan.mode == "append" and self._notes.refused(record):
                continue
            if number is None:
                yield record
                continue
            self._inventory.saw(number)
            if self._plan.mode == "append":
                self._notes.refuse(record)
                self._plan.refuse(record, f"{KNOWN}: an upsert replaces it")
            elif known.holds(number, shards.text_hash(record.text, record.kept)):
                self._kept += 1
            else:
                self._replaced.append(number)
                yield record

    def pending(self, records: Iterator[Record]) -> Iterator[Job]:
        """Jobs for the shards that are not there yet."""
        settings = self.base.settings_hash()
        for number in range(len(self.base.shards), 10**9):
            if self._plan.stop():
                self.stopped = True
                return
            group = list(islice(records, self.base.shard_rows))
            if not group:
                return
            self._plan.progress.add(len(group))
            table = shards.table_of(group, self.base.kept)
            job = Job(number, shards.content_hash(settings, table), table)
            if (existing := shards.find_shard(self._folder, job)) is not None:
                self._made[number] = existing
                self._resumed += existing.n_rows
                if isinstance(self._plan.runner, Repeats):
                    self._plan.runner.found(number, existing)
                self._plan.progress.advance(existing.n_rows)
            else:
                yield job

    def done(self, shard: Shard) -> None:
        """Take over a shard that the runner made."""
        self._made[int(Path(shard.file).name.split(".")[0])] = shard
        self._embedded += shard.n_rows
        if not self._plan.runner_tells:
            self._plan.progress.advance(shard.n_rows)

    @property
    def n_rows(self) -> int:
        """Rows in whole shards."""
        return count_rows(self.base.shards) + self._embedded + self._resumed

    def finish(self) -> Summary:
        """Write the manifest of the store as it is now."""
        first = len(self.base.shards)
        if sorted(self._made) != list(range(first, first + len(self._made))):
            raise CorpusError(f"{self._folder}: some shards were not made; run the same command again")
        made = [self._made[number] for number in sorted(self._made)]
        gone = self._gone()
        update: dict[str, Any] = {"shards": [*self.base.shards, *made], "rejected": dict(self._plan.rejected)}
        if self._store is not None:
            left = self._notes.left(self._store) if self._plan.mode == "upsert" else ()
            if dropped := [*self._replaced, *left, *gone]:
                update["deleted"] = with_deleted(self._store, dropped)
        repeats = self._plan.runner if isinstance(self._plan.runner, Repeats) else None
        manifest = publish(self._folder, self.base.model_copy(update=update))
        return Summary(
            n_rows=manifest.n_rows - manifest.n_deleted,
            n_vectors=manifest.n_vectors,
            embedded=self._embedded,
            resumed=self._resumed,
            kept=self._kept,
            replaced=len(self._replaced),
            new=self._new,
            deleted=len(gone),
            rejected=manifest.rejected,
            truncated=sum(shard.truncated for shard in manifest.shards),
            repeated=repeats.rows if repeats else 0,
            repeated_share=repeats.share if repeats else 0.0,
            seconds_saved=repeats.saved if repeats else 0.0,
        )

    @property
    def _new(self) -> int:
        return self._embedded + self._resumed - len(self._replaced)

    def _gone(self) -> list[int]:
        """Rows that a sync deletes, after they were told.

        Raises:
            SyncLimitError: There are too many.
        """
        if self._plan.mode != "sync" or self._inventory is None:
            return []
        n_read = self._kept + self._embedded + self._resumed
        gone = self._inventory.gone(self._plan.unread, n_read, self._plan.sync_limit)
        self._plan.announce(Changes(self._kept, len(self._replaced), self._new, len(gone)))
        return gone


def _changed(store: Store[E], plan: Plan[E]) -> Manifest[E]:
    """The manifest of a store that rows are added to."""
    found, fresh = store.manifest, plan.fresh
    check_encoding(found, fresh.encoding, store.path)
    if _decided(found) != _decided(fresh):
        raise CorpusError(
            f"{store.path} keeps {found}, but these rows would be {fresh}: add to it with the store's own settings"
        )
    inputs = fresh.inputs if plan.mode == "sync" else [*found.inputs, *fresh.inputs]
    return found.model_copy(update={"edited": True, "inputs": inputs})


def _decided(manifest: Manifest[E]) -> tuple[object, ...]:
    """What stays as it is while rows are added."""
    return manifest.scope, manifest.repeated_text, manifest.settings_hash(parts=False)


def _fresh(folder: Path, plan: Plan[E]) -> Manifest[E]:
    """The manifest of an empty store.

    A finished store may be gone over again with what it was made of, and with nothing else.
    """
    if not (folder / MANIFEST).is_file():
        return plan.fresh
    if plan.mode == "overwrite":
        replaced = _replaced(folder, plan.kind)
        if replaced is not None and replaced.scope is not None and plan.fresh.scope is None:
            raise CorpusScopeError(
                f"{folder} is divided by {replaced.scope!r}, and what would replace it is not: say --scope-column {replaced.scope} again, "
                "or use another folder"
            )
        # readers see by the number that the store has changed; for a damaged store it begins anew, far above
        state = int(np.random.default_rng().integers(1 << 40)) if replaced is None else replaced.state
        return plan.fresh.model_copy(update={"state": state})
    found, fresh = read_manifest(folder, plan.kind), plan.fresh
    advice = "use --append or --upsert to add to it, --overwrite to replace it, or another folder"
    if found.edited:
        raise CorpusError(f"{folder} is finished, and rows were added or deleted since: {advice}")
    same = (found.inputs, found.shard_rows, found.scope, found.settings_hash(parts=False))
    if same != (fresh.inputs, fresh.shard_rows, fresh.scope, fresh.settings_hash(parts=False)):
        raise CorpusError(
            f"{folder} is finished; it was made of {', '.join(found.inputs)} as {found}, and this is {', '.join(fresh.inputs)} "
            f"as {fresh}: {advice}"
        )
    # the shards are there: what their scopes were found by is no reason to embed them again
    return fresh.model_copy(update={"state": found.state, "assertion_rules": found.assertion_rules})


def _replaced(folder: Path, kind: Kind[E]) -> Manifest[E] | None:
    """The manifest of the store that is replaced. None for a damaged one, or one of another kind or format."""
    try:
        return read_manifest(folder, kind)
    except CorpusError:
        return None
