"""The one store: a folder of rows with vectors.

It is read through memory maps that are checked once, and changed by one writer.
"""

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from medembed import border
from medembed.errors import CorpusDamagedError, CorpusError, CorpusScopeError, InputTypeError
from medembed.extras import require
from medembed.storage import arrow_files, filters, manifest, scopes
from medembed.storage.derived import Derived, whole_key
from medembed.storage.filters import Filter
from medembed.storage.manifest import E, Kind, Manifest, Part, read_manifest
from medembed.storage.paths import below
from medembed.storage.places import MANIFEST, SHARDS, entries
from medembed.storage.scopes import ALL, Scope
from medembed.storage.shards import SCOPES, SHOWN_COLUMNS, row_schema

# files hashed at a time: hashing takes 1.4 s per GB on one core
HASHING = min(8, os.cpu_count() or 1)
# scopes whose rows are remembered, each in one byte per row of the store
KNOWN_SCOPES = 16
Integers = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True)
class Asserted:
    """A part of a hit's text that speaks of the query's words, and does not simply say that they hold.

    Attributes:
        kind: ``"negated"``, ``"possible"``, ``"other"`` (about somebody else), ``"past"`` or ``"hypothetical"``.
        text: The part with the phrase that says so, such as *denies chest pain*.
        start: Its first character in the hit's text.
        end: The character after its last.
    """

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Hit:
    """A row that was found.

    Attributes:
        id: Its id.
        score: Higher is more alike: a dot product, which is the cosine for unit vectors; MaxSim; or what fusion makes of them.
        text: Its text; None where the store holds references only.
        source: File it came from.
        line: Line or row in that file, from 1.
        kept: Values of kept columns.
        asserts: What its text says of the query's words, where that is more than that they hold; empty where nothing was asked.
        others: Further rows of its group, where hits are grouped: those that are as good as the last hit.
        also_in: Ids of rows with the same text, where repeated text was embedded once; or nearly the same, where that was asked for.
    """

    id: str
    score: float
    text: str | None
    source: str
    line: int
    kept: dict[str, Any]
    asserts: tuple[Asserted, ...] = ()
    others: int = 0
    also_in: tuple[str, ...] = ()


class Store(Generic[E]):
    """A finished store as it was when it was opened.

    Where its manifest names a scope column, no row is reached but through :meth:`within`.

    Args:
        path: Its folder.
        kind: What it is.
        found: Its manifest.
        checked: Files that were hashed before; their names hold their hashes.
    """

    def __init__(self, path: Path, kind: Kind[E], found: Manifest[E], checked: set[str] | None = None) -> None:
        """Set up without reading anything yet."""
        self.path, self.kind, self.manifest = path, kind, found
        self._checked = set() if checked is None else checked
        self._tables: dict[int, Any] = {}
        self._chunks: dict[tuple[int, str], Any] = {}
        self._made: dict[Hashable, Any] = {}
        self._making: dict[Hashable, threading.Lock] = {}
        self._live: NDArray[np.bool_] | None = None
        self.starts = np.cumsum([0, *(shard.n_rows for shard in found.shards)])
        self._scope: Scope | None = None
        self._inside: dict[Any, Self] = {}
        self._derived = Derived(path, found)

    @classmethod
    def open(cls, path: Path, kind: Kind[E], checked: set[str] | None = None) -> Self:
        """Open a finished store. Its files are hashed when they are first used.

        Raises:
            CorpusError: No such store, an unfinished or damaged one, or one of another version.
        """
        found = read_manifest(path, kind)
        missing = [part for part in found.files if not below(path, part.file).is_file()]
        if missing and (again := read_manifest(path, kind)).state != found.state:  # compacted meanwhile
            found, missing = again, [part for part in again.files if not below(path, part.file).is_file()]
        for part in missing:
            raise _damaged(path, found, part, kind)
        for shard in found.shards:
            # before memory is asked for by the number of rows: none takes less than a byte
            if shard.n_rows > below(path, shard.file).stat().st_size:
                raise _damaged(path, found, shard, kind)
        return cls(path, kind, found, checked)

    def newest(self) -> Self:
        """The store as it is now. What was hashed is not hashed again."""
        return type(self).open(self.path, self.kind, self._checked)

    def changed(self) -> bool:
        """Tell whether a writer has changed the store since."""
        return read_manifest(self.path, self.kind).state != self.manifest.state

    def __len__(self) -> int:
        """Rows, deleted ones left out."""
        return self.manifest.n_rows - self.manifest.n_deleted

    def within(self, scope: Scope | None) -> Self:
        """The store for a reader of one scope. The maps and what was hashed are shared.

        Args:
            scope: A value of the scope column, several, or ``"all"``; None only for stores without a scope column.

        Raises:
            CorpusScopeError: No scope was named and the store has a scope column, or it is none of this store.
        """
        named = scopes.checked(scope, self.manifest.scope, self.manifest.kept)
        if self.manifest.scope is None:
            return self
        key = named[self.manifest.scope] if isinstance(named, Mapping) else None
        if (known := self._inside.get(key)) is not None:
            return known
        inside = type(self)(self.path, self.kind, self.manifest, self._checked)
        inside._tables, inside._chunks, inside._made, inside._making = (
            self._tables,
            self._chunks,
            self._made,
            self._making,
        )
        inside._scope = named
        if len(self._inside) >= KNOWN_SCOPES:
            self._inside = {}
        self._inside[key] = inside
        return inside

    def _named(self) -> None:
        """Refuse to go on where a scope has to be named and none was. Every way to a row's bytes asks here.

        Raises:
            CorpusScopeError: It has to be.
        """
        if self._scope is None:
            scopes.checked(None, self.manifest.scope, self.manifest.kept)

    @property
    def derived(self) -> Derived:
        """What is made from the rows for speed."""
        self._named()
        return self._derived

    # ------------------------------------------------------------------------------------------- reading

    def file(self, part: Part) -> Path:
        """A file of the store, its bytes hashed once.

        Raises:
            CorpusDamagedError: It is missing or changed.
        """
        path = below(self.path, part.file)
        if part.file not in self._checked:
            if not arrow_files.is_intact(path, part.sha256):
                raise _damaged(self.path, self.manifest, part, self.kind)
            self._checked.add(part.file)
        return path

    def table(self, number: int) -> Any:
        """A shard as a mapped Arrow table, every column in one chunk.

        Raises:
            CorpusDamagedError: It is missing or changed, or has other rows or columns than the manifest says.
        """
        self._named()
        if number not in self._tables:
            shard = self.manifest.shards[number]
            try:
                table = arrow_files.mapped(self.file(shard))
            except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
                raise _damaged(self.path, self.manifest, shard, self.kind) from error
            there = {field.name: field.type for field in table.schema}
            fits = all(there.get(field.name) == field.type for field in row_schema(self.manifest.kept))
            fits = fits and (SCOPES in there) == self.manifest.assertions
            if not fits or table.num_rows != shard.n_rows:
                raise CorpusDamagedError(
                    f"{self.path / MANIFEST} names other rows or columns than {shard.file} has: bring it back from a copy, or delete it and "
                    f"{self.kind.again}"
                )
            self._tables[number] = table
        return self._tables[number]

    def tables(self) -> Iterator[Any]:
        """All shards, in the order of their rows. They are hashed side by side, since a first search waits for that."""
        unchecked = [shard for shard in self.manifest.shards if shard.file not in self._checked]
        if len(unchecked) > 1:
            with ThreadPoolExecutor(HASHING) as pool:
                list(pool.map(self.file, unchecked))
        return (self.table(number) for number in range(len(self.manifest.shards)))

    def live(self) -> NDArray[np.bool_]:
        """Mask of the rows that may be reached: in the scope, and not deleted. *Shape:* ``(rows,)``.

        Raises:
            CorpusDamagedError: The list of deleted rows is missing or changed: the store must not show what was deleted.
        """
        self._named()
        if self._live is None:
            live = np.ones(self.manifest.n_rows, dtype=bool)
            if (deleted := self.manifest.deleted) is not None:
                gone = arrow_files.mapped(self.file(deleted)).column("row").to_numpy()
                if len(gone) != deleted.n_rows or (len(gone) and not 0 <= gone.min() <= gone.max() < len(live)):
                    raise _damaged(self.path, self.manifest, deleted, self.kind)
                live[gone] = False
            if isinstance(self._scope, Mapping):
                live &= self._fitting(self._scope)
            self._live = live
        return self._live

    def ids(self) -> list[str]:
        """Ids of all rows, deleted ones too."""
        return [name for table in self.tables() for name in table.column("id").to_pylist()]

    def place(self, number: int) -> tuple[int, int]:
        """Number of a row's shard, and the row's place in it."""
        home = int(np.searchsorted(self.starts, number, side="right")) - 1
        return home, number - int(self.starts[home])

    def rows(self, numbers: Integers) -> list[dict[str, Any]]:
        """Rows by number, in the order asked, without vectors."""
        names = [*SHOWN_COLUMNS, *self.manifest.kept]
        homes = np.searchsorted(self.starts, numbers, side="right") - 1
        places = zip(homes.tolist(), (numbers - self.starts[homes]).tolist(), strict=True)
        # value by value: ten rows of ten shards take 0.03 ms, and 0.5 ms by a take per shard
        return [{name: self._values(home, name)[place].as_py() for name in names} for home, place in places]

    def values(self, numbers: Integers, name: str) -> list[Any]:
        """A column's values of chosen rows, in the order asked."""
        return [self._values(home, name)[place].as_py() for home, place in map(self.place, numbers.tolist())]

    def _values(self, number: int, name: str) -> Any:
        """A column of a shard, in its one chunk."""
        key = number, name
        if key not in self._chunks:
            self._chunks[key] = self.table(number).column(name).chunk(0)
        return self._chunks[key]

    def hits(self, numbers: Sequence[Integers], scores: Sequence[NDArray[np.float32]]) -> list[list[Hit]]:
        """Rows of several queries, given back query by query. They are fetched at once."""
        if self._scope is not None and not all(self.live()[rows].all() for rows in numbers):
            raise CorpusScopeError(
                "a row outside of the scope was about to be shown: report this, with the call that was made"
            )
        fetched = iter(self.rows(np.concatenate(numbers) if len(numbers) else np.empty(0, np.int64)))
        return [[_hit(next(fetched), float(score)) for score in values] for values in scores]

    def numbers(self, ids: Sequence[str], *, notes: bool = False) -> Integers:
        """Numbers of the live rows with these ids, in the order asked.

        Args:
            ids: Ids of rows.
            notes: Whether the id of a note stands for all its passages, where rows are passages.

        Raises:
            CorpusError: An id that is not there; the message says which by its place.
            InputTypeError: One string in place of several, or an id that is no string.
        """
        if isinstance(ids, str):
            raise InputTypeError("expected a list of ids, and this is a single string: wrap it in a list")
        for number, name in enumerate(ids):
            if not isinstance(name, str):
                raise InputTypeError(f"id {number} is a {type(name).__name__}, not a str: ids are text in a store")
        # half of a surrogate pair, as an argument that is not UTF-8 has, is in no store and in no Arrow array
        known = [name for name in ids if border.is_text(name)]
        compute, wanted = require("pyarrow.compute"), require("pyarrow").array(known, type="string")
        names = ("id", manifest.NOTE) if notes and self.manifest.splitting is not None else ("id",)
        result = self._live_by(names, wanted, compute)
        if missing := [place for place, name in enumerate(ids) if name not in result]:
            raise CorpusError(
                f"{len(missing)} of {len(ids)} ids are not in {self.path}; the first of these is number {missing[0]} of those given, "
                "counted from 0"
            )
        return np.array([number for name in ids for number in result[name]], dtype=np.int64)

    def _live_by(self, names: Sequence[str], wanted: Any, compute: Any) -> dict[str, list[int]]:
        """Numbers of live rows by the values of columns, where these are wanted."""
        result: dict[str, list[int]] = {}
        live = self.live()
        for start, table in zip(self.starts, self.tables(), strict=False):
            for column in map(table.column, names):
                for place in np.flatnonzero(compute.is_in(column, value_set=wanted).to_numpy()):
                    if live[start + place]:
                        result.setdefault(column[int(place)].as_py(), []).append(int(start + place))
        return result

    def allowed(self, chosen: Filter | None) -> NDArray[np.bool_] | None:
        """Rows that may be found, or None for all.

        They are those that a filter lets through, deleted ones left out. *Shape:* ``(rows,)``.
        """
        self._named()
        if chosen is None:
            return None if self.manifest.deleted is None and self._scope in (None, ALL) else self.live()
        return self.live() & self._fitting(chosen)

    def _fitting(self, chosen: Filter) -> NDArray[np.bool_]:
        rows = (table.select([*SHOWN_COLUMNS, *self.manifest.kept]) for table in self.tables())
        return filters.allowed(rows, chosen, self.manifest.kept)

    def whole(
        self,
        what: str,
        make: Callable[[], T],
        save: Callable[[T, Path], object],
        load: Callable[[Path], T],
        fits: Callable[[T], bool],
    ) -> T:
        """Something derived from all rows of the store. See :meth:`Derived.get`."""
        return self.derived.get(what, whole_key(self.manifest), make, save, load, fits)

    def once(self, what: Hashable, make: Callable[[], T]) -> T:
        """Something made of the rows, held in memory for all scopes.

        It goes with this state of the store: what was made of other rows is never taken for it, whichever thread made it.
        One thread makes it, and the others wait for that.
        """
        self._named()
        if what not in self._made:
            # by process: a lock that was held at a fork is never let go of in the child
            with self._making.setdefault((os.getpid(), what), threading.Lock()):
                if what not in self._made:
                    self._made[what] = make()
        found: T = self._made[what]
        return found

    # ------------------------------------------------------------------------------------------- checking

    def verify(self) -> list[str]:
        """Hash every file.

        Returns:
            Names below the folder: files that are missing or changed, and files that belong to no row of the store, such as what a
            killed run has left. Damaged derived files are removed, since they are made again by themselves.
        """
        self._checked.clear()
        broken = [part.file for part in self.manifest.files if not self._is_intact(part)]
        return [
            *broken,
            *(path.relative_to(self.path).as_posix() for path in unlisted(self.path, self.manifest)),
            *self._derived.verify(),
        ]

    def _is_intact(self, part: Part) -> bool:
        return arrow_files.is_intact(below(self.path, part.file), part.sha256)


def _hit(values: dict[str, Any], score: float) -> Hit:
    own = {name: values.pop(name) for name in SHOWN_COLUMNS}
    return Hit(**own, score=score, kept=values)


def _damaged(path: Path, found: Manifest[Any], part: Part, kind: Kind[Any]) -> CorpusDamagedError:
    if part is found.deleted:
        return manifest.damaged_deletions(path, part)
    return manifest.damaged(path, part, kind.again)


def unlisted(folder: Path, found: Manifest[Any]) -> list[Path]:
    """Files of a store that its manifest does not name. They are those of earlier runs, and what was left aside."""
    named = {part.file for part in found.files}
    files = [path for path in (*entries(folder, ""), *entries(folder, SHARDS)) if manifest.is_own_name(path.name)]
    return [path for path in files if path.relative_to(folder).as_posix() not in named]
