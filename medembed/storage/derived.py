"""Files made from a store's shards for speed.

They are kept in one folder, hashed, and checked when opened. They are swept with what they came from.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medembed import border
from medembed.errors import CorpusBusyError, CorpusDamagedError
from medembed.storage import arrow_files, asides
from medembed.storage.durable import file_sha256, flush, has_sha256, hold
from medembed.storage.manifest import Manifest, Shard, count_rows
from medembed.storage.paths import below
from medembed.storage.places import DERIVED, MANIFEST, discard, entries

log = logging.getLogger("medembed")
T = TypeVar("T")
HASHES = "hashes.json"
OWN_NAME = re.compile(r"[a-z0-9.-]+-[0-9a-f]{16}")
# rows of a group at least: long enough for products to run at full rate, short enough to derive in 100 MB
GROUP_ROWS = 32_768
# how long to wait for another process that moves something into place or sweeps, which takes milliseconds
WAIT_S = 60


@dataclass(frozen=True)
class Group:
    """Consecutive shards that one derived file is made of.

    Attributes:
        start: Number of the first row.
        numbers: Numbers of the shards.
        key: Changes with any shard.
    """

    start: int
    numbers: tuple[int, ...]
    key: str


def groups(manifest: Manifest[Any]) -> list[Group]:
    """Shards joined until there are enough rows."""
    result: list[Group] = []
    waiting: list[int] = []
    start = 0
    for number in range(len(manifest.shards)):
        waiting.append(number)
        rows = count_rows([manifest.shards[place] for place in waiting])
        if rows >= GROUP_ROWS or number == len(manifest.shards) - 1:
            result.append(Group(start, tuple(waiting), _key([manifest.shards[place] for place in waiting])))
            start, waiting = start + rows, []
    return result


def whole_key(manifest: Manifest[Any]) -> str:
    """A key that changes with any shard and any further file."""
    return _key(manifest.shards, *(part.sha256 for part in manifest.parts.values()))


def _key(shards: Sequence[Shard], *more: str) -> str:
    # a number of rows that is not the file's makes other row numbers, and what was derived is of no use
    told = [f"{shard.sha256}{shard.n_rows}" for shard in shards]
    return hashlib.sha256("".join([*told, "|", *more]).encode()).hexdigest()[:16]


class Derived:
    """The derived folder of a store in one state.

    Args:
        path: The store's folder.
        manifest: Its manifest.
    """

    def __init__(self, path: Path, manifest: Manifest[Any]) -> None:
        """Set up without reading anything yet."""
        self._store, self._manifest = path, manifest

    def table(self, what: str, key: str, make: Callable[[], Any], fits: Callable[[Any], bool]) -> Any:
        """A mapped Arrow table. See :meth:`get`."""
        name = "table.arrow"
        return self.get(
            what,
            key,
            make,
            lambda table, folder: arrow_files.save(folder / name, table),
            lambda folder: arrow_files.mapped(folder / name),
            fits,
        )

    def get(
        self,
        what: str,
        key: str,
        make: Callable[[], T],
        save: Callable[[T, Path], object],
        load: Callable[[Path], T],
        fits: Callable[[T], bool],
    ) -> T:
        """Something derived. It is read from disk where it is intact, otherwise made and kept.

        Args:
            what: What it is, one word.
            key: Of what it is made, from :func:`groups` or :func:`whole_key`.
            make: Makes it in memory.
            save: Writes it into an empty folder.
            load: Reads what ``save`` wrote; the files are hashed before.
            fits: Tells whether it has the size and types that the store's rows call for. Whoever hands over a store can hash
                files of another one too.

        Returns:
            It, from disk where it could be kept there: a store on a read-only or full disk can be searched all the same.
        """
        place = below(self._store, f"{DERIVED}/{what}-{key}")
        if (kept := _loaded(place, load, fits)) is not None:
            return kept
        if place.exists():
            log.warning("%s is damaged and is made again", place)
        result = make()
        try:
            return load(place) if self._keep(place, result, save, load, fits) else result
        except OSError as error:
            log.warning(
                "%s: what is derived from it cannot be written (%s), so it is held in memory and made again at the next start",
                self._store,
                type(error).__name__,
            )
            return result

    def _keep(
        self,
        place: Path,
        result: T,
        save: Callable[[T, Path], object],
        load: Callable[[Path], T],
        fits: Callable[[T], bool],
    ) -> bool:
        """Write it aside and move it into place.

        It is not moved if the store has changed meanwhile: its text may be deleted by now.
        """
        place.parent.mkdir(exist_ok=True)
        with asides.beside(place) as made:
            made.mkdir()
            save(result, made)
            _write_hashes(made)
            with self._held():
                if self._state_on_disk() != self._manifest.state:
                    return False
                if _loaded(place, load, fits) is None:
                    discard(self._store, place)
                    made.rename(place)
                return True

    @contextmanager
    def _held(self) -> Iterator[None]:
        with hold(self._store / DERIVED, WAIT_S, CorpusBusyError, "Wait until it has ended"):
            yield

    def _state_on_disk(self) -> int | None:
        try:
            content = border.read_json_object(below(self._store, MANIFEST), error=CorpusDamagedError)
            return int(content["state"])
        except (CorpusDamagedError, ValueError, TypeError, KeyError):
            return None  # damaged: whatever it was, nothing is known to be of its state

    @contextmanager
    def swept(self) -> Iterator[None]:
        """Hold the folder while a new manifest is written inside. Then remove what was made of other rows."""
        below(self._store, DERIVED)
        with self._held():
            yield
            keys = {whole_key(self._manifest), *(group.key for group in groups(self._manifest))}
            for path in self._folders():
                if path.name.rpartition("-")[2] not in keys:
                    discard(self._store, path)

    def _folders(self) -> list[Path]:
        """Derived folders, known by the names that are given here. What a user put beside them is left out."""
        return [path for path in entries(self._store, DERIVED) if OWN_NAME.fullmatch(path.name) and path.is_dir()]

    def verify(self) -> list[str]:
        """Hash what is there, and remove what is damaged.

        Returns:
            Names below the store.
        """
        broken = [path for path in self._folders() if not _is_intact(path)]
        for path in broken:
            discard(self._store, path)
        return [path.relative_to(self._store).as_posix() for path in broken]


def _loaded(place: Path, load: Callable[[Path], T], fits: Callable[[T], bool]) -> T | None:
    """What a folder holds, or None where it is not whole, cannot be read, or is not of this store's rows."""
    if not _is_intact(place):
        return None
    try:
        kept = load(place)
        return kept if fits(kept) else None
    except (CorpusDamagedError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        log.warning("%s cannot be read (%s)", place, type(error).__name__)
        return None


def _write_hashes(folder: Path) -> None:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        flush(path)
    hashes = {path.name: file_sha256(path) for path in files}
    (folder / HASHES).write_text(json.dumps(hashes), encoding="utf-8")
    flush(folder / HASHES)


def _is_intact(folder: Path) -> bool:
    """Tell whether a derived folder is as it was written.

    It then holds the files that were written, with their bytes, and nothing else.
    """
    try:
        hashes = border.read_json_object(folder / HASHES, error=CorpusDamagedError)
        there = {path.name for path in folder.iterdir() if not path.is_symlink()}
        return there == {HASHES, *hashes} and all(has_sha256(folder / name, digest) for name, digest in hashes.items())
    except (OSError, CorpusDamagedError):
        return False
