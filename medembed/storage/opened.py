"""Opened stores, whatever their kind.

They can tell about themselves, change, check and close. The model is loaded when first needed.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

from medembed.errors import CorpusDamagedError, CorpusModelError
from medembed.storage import changing, grouped
from medembed.storage.around import Around, around
from medembed.storage.building import Summary
from medembed.storage.filters import Filter
from medembed.storage.manifest import E, Kind, Manifest, check_encoding
from medembed.storage.modes import SYNC_LIMIT, Mode
from medembed.storage.scopes import Scope
from medembed.storage.tables import Hit, Store

LOCAL = "sha256-"
# further states that a reader opens in one call: each is one more change of a writer within that call
AGAIN = 5


class Model(Protocol):
    """The model of a store, with what a store asks of it."""

    def close(self) -> None:
        """Let go of it."""


M = TypeVar("M", bound=Model)
Result = TypeVar("Result")


class Opened(ABC, Generic[E, M]):
    """A store on disk with its model. It is the base of :class:`EmbeddedCorpus` and :class:`TokenIndex`.

    Rows are reached through :meth:`_within` only, which asks for a scope where the store has a scope column.
    """

    KIND: ClassVar[Kind[Any]]

    def __init__(self, store: Store[E], model: M | None, device: str, threads: int | None) -> None:
        """Use :meth:`open`."""
        self._store, self._model, self._given = store, model, model is not None
        self._device, self._threads = device, threads

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        model: M | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
    ) -> Self:
        """Open a finished store.

        Args:
            path: Its folder.
            model: The model it was made with; None to load the one its manifest names when a text is first searched.
            device: For a model that is loaded here: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
            threads: For a model that is loaded here: CPU threads; None for one per physical core.

        Raises:
            CorpusError: No such store, an unfinished or damaged one, or one of another version.
            CorpusModelError: ``model`` is another, or gives another dimension; the message says both.
        """
        store: Store[E] = Store.open(Path(path).expanduser(), cls.KIND)
        if model is not None:
            check_encoding(store.manifest, cls._encoding_of(model), store.path)
        return cls(store, model, device, threads)

    @classmethod
    @abstractmethod
    def _encoding_of(cls, model: M) -> E:
        """The encoding that a model's vectors would have."""

    @abstractmethod
    def _load(self, device: str, threads: int | None) -> M:
        """Load the model that the manifest names."""

    @abstractmethod
    def _add(self, rows: Iterable[Mapping[str, Any]], mode: Mode, sync_limit: float = SYNC_LIMIT) -> Summary:
        """Add rows from Python."""

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._store.path

    @property
    def manifest(self) -> Manifest[E]:
        """Its manifest. It says what the store was made with, and of which files it consists."""
        return self._store.manifest

    @property
    def dimension(self) -> int:
        """Length of a vector before packing."""
        return self.manifest.encoding.dimension

    @property
    def model(self) -> M:
        """The model of the store. It is loaded at the first use where none was passed.

        Raises:
            CorpusModelError: Its folder is missing, or what is under the model's name is another model by now.
        """
        if self._model is None:
            self._check_folder()
            self.use(self._load(self._device, self._threads))
        return cast("M", self._model)

    def use(self, model: M) -> None:
        """Take a model that was loaded elsewhere. It is closed with the store.

        Raises:
            CorpusModelError: It is another, or gives another dimension; it is closed then.
        """
        try:
            check_encoding(self.manifest, self._encoding_of(model), self.path)
        except CorpusModelError:
            model.close()
            raise
        self._model = model

    def _check_folder(self) -> None:
        """Check that a local model's folder is still there. What was local is never looked for on the hub."""
        told = self.manifest.encoding
        if Path(told.model).is_absolute() and not Path(told.model).is_dir():
            raise CorpusModelError(
                f"{self.path} was encoded with the model in the folder {told.model}, which is not there: bring it back, or say where "
                "it is now with --model FOLDER, in Python with open(path, model)"
            )

    @property
    def revision_setting(self) -> str | None:
        """Revision to load the model with. It is the commit of a hub model, and None for a local one."""
        told = self.manifest.encoding.revision
        return None if told.startswith(LOCAL) else told

    def __len__(self) -> int:
        """Rows, deleted ones left out."""
        return len(self._store)

    @property
    def ids(self) -> list[str]:
        """Ids of all rows, in the order they were indexed. Deleted rows are left out.

        Raises:
            CorpusScopeError: The store has a scope column: :meth:`ids_in` takes a scope.
        """
        return self.ids_in()

    def ids_in(self, scope: Scope | None = None) -> list[str]:
        """Ids of the rows in a scope, in the order they were indexed.

        Args:
            scope: As for ``search``.

        Raises:
            CorpusScopeError: A scope has to be named and was not, or it is none of this store.
        """
        return self._read(lambda: self._ids(self._within(scope)))

    def count(self, scope: Scope | None = None) -> int:
        """Number of rows in a scope, deleted ones left out. It is 0 for a value that no row has.

        Raises:
            CorpusScopeError: A scope has to be named and was not, or it is none of this store.
        """
        return self._read(lambda: int(self._within(scope).live().sum()))

    def _within(self, scope: Scope | None) -> Store[E]:
        """The store for a reader of one scope. Nothing of a row is read but through what this gives.

        Raises:
            CorpusScopeError: A scope has to be named and was not, or it is none of this store.
        """
        return self._store.within(scope)

    @staticmethod
    def _ids(store: Store[E]) -> list[str]:
        return [name for name, live in zip(store.ids(), store.live(), strict=True) if live]

    @property
    def store(self) -> Store[E]:
        """Its rows and files, for handing them over to other engines.

        Where it has a scope column, it reads no row but through :meth:`Store.within`.
        """
        return self._store

    def newest(self) -> Self:
        """The store as it is now, opened beside this one, which goes on as it was.

        What was hashed is not hashed again. This very object where nothing has changed.

        Raises:
            CorpusError: The store is gone or damaged.
            CorpusModelError: It was replaced by one of another model.
        """
        if not self._store.changed():
            return self
        store = self._store.newest()
        # vectors of two models may have one length: compared all the same, they rank by chance
        check_encoding(store.manifest, self.manifest.encoding, store.path)
        return type(self)(store, self._model, self._device, self._threads)

    def around(
        self,
        hits: Sequence[Hit],
        n: int = 1,
        *,
        filter: Filter | None = None,  # noqa: A002 - what it is called everywhere
        scope: Scope | None = None,
    ) -> list[Around]:
        """Passages that stand around those that were found, in their notes.

        Args:
            hits: From a search of this store of passages.
            n: Passages on each side.
            filter: Which passages may be shown, as for ``search``; None for all of a note's.
            scope: As for the search.

        Returns:
            What stands before and after each hit, in the order of ``hits``.

        Raises:
            SettingError: ``n`` below 1.
            CorpusError: The rows of the store are no passages.
        """
        return self._read(lambda: around(self._within(scope), hits, n, filter))

    def _grouped(self, ranking: grouped.Ranking, k: int, column: str | None) -> list[list[Hit]]:
        """The best rows of every query, or the best groups of rows."""
        n_rows = max(1, self.manifest.n_rows)
        grouped.check_column(self.manifest, column)
        if column is None and self.manifest.repeated_text == "each":
            return ranking(min(k, n_rows))
        reduce = partial(grouped.reduced, column=column, manifest=self.manifest)
        return grouped.search(lambda n: ranking(min(n, n_rows)), k, n_rows, reduce)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> Summary:
        """Add rows, encoded with the store's model. A row whose id is there already is refused.

        Args:
            rows: As for ``build``, with the columns that the store keeps.

        Returns:
            How many rows there are now, and how many of them this call encoded.

        Raises:
            CorpusError: A row cannot be used, its id is there already, or another process writes; nothing is added then.
        """
        return self._changed(lambda: self._add(rows, "append"))

    def upsert(self, rows: Iterable[Mapping[str, Any]]) -> Summary:
        """Add rows, and replace those that have changed.

        A row has changed where its text or kept values have. Unchanged rows are not encoded again.

        Args:
            rows: As for ``build``, with the columns that the store keeps.

        Returns:
            How many rows were kept, replaced and new.

        Raises:
            CorpusError: A row cannot be used, or another process writes; nothing is changed then.
        """
        return self._changed(lambda: self._add(rows, "upsert"))

    def sync(self, rows: Iterable[Mapping[str, Any]], *, limit: float = SYNC_LIMIT) -> Summary:
        """Make the store hold these rows and no others.

        New rows are added, changed ones replaced, and rows that are not among them deleted. Unchanged rows are not encoded again.

        Args:
            rows: All rows that there are by now, as for ``build``, with the columns that the store keeps.
            limit: Share of the store's rows that may be deleted, from 0 to 1.

        Returns:
            How many rows were kept, replaced, new and deleted.

        Raises:
            SyncLimitError: More would be deleted, or there is no row at all; nothing is changed then.
            CorpusError: A row cannot be used, or another process writes; nothing is changed then.
        """
        return self._changed(lambda: self._add(rows, "sync", limit))

    def delete(self, ids: Sequence[str]) -> int:
        """Leave rows out from now on. Their bytes go with :meth:`compact`.

        Args:
            ids: Looked up in the store as it is now, whatever other processes have written. Where rows are passages of notes, the
                id of a note stands for all of them.

        Returns:
            How many rows were deleted.

        Raises:
            CorpusError: An id that is not there; nothing is deleted then.
            InputTypeError: One string in place of several.
        """
        return self._changed(lambda: changing.delete(self._store, ids if isinstance(ids, str) else list(ids)))

    def delete_scope(self, scope: Scope) -> int:
        """Leave all rows of a scope out from now on, for instance those of one patient.

        Args:
            scope: One value of the scope column; ``"all"`` is refused.

        Returns:
            How many rows were deleted.

        Raises:
            CorpusScopeError: It is no scope of this store, or all of it.
        """
        return self._changed(lambda: changing.delete_scope(self._store, scope))

    def compact(self, shard_rows: int | None = None) -> None:
        """Write the shards anew, without deleted rows and in full length. Nothing is encoded again.

        Args:
            shard_rows: Rows per shard; None for what the store has.
        """
        self._changed(lambda: changing.compact(self._store, shard_rows))

    def verify(self) -> list[str]:
        """Hash every file.

        Returns:
            Names below the store, empty where all is well: files that are missing or changed, and files that belong to no row.
            Damaged derived files are removed, since they are made again by themselves.
        """
        return self._read(lambda: self._store.verify())  # noqa: PLW0108 - another store the second time

    def _changed(self, change: Callable[[], Result]) -> Result:
        result = change()
        self._renew()
        return result

    def _read(self, read: Callable[[], Result]) -> Result:
        """Read, and read again where files are gone.

        Where a writer has taken files away meanwhile, the newest state is read. Another thread may have opened it already.
        """
        for _ in range(AGAIN):
            store = self._store
            try:
                return read()
            except CorpusDamagedError:
                if self._store is store:
                    if not store.changed():
                        raise
                    self._renew()
        return read()

    def _renew(self) -> None:
        self._store = self._store.newest()

    def __enter__(self) -> Self:
        """Use as a context manager, closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the maps, and the model where it was loaded here."""
        self._store = type(self._store)(self._store.path, self._store.kind, self._store.manifest)
        if self._model is not None and not self._given:
            self._model.close()
            self._model = None
