"""Texts that come again, encoded once. Every row keeps vectors of its own, so that deleting one takes nothing from another."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.extras import require
from medembed.storage import arrow_files
from medembed.storage.manifest import Manifest, Shard
from medembed.storage.paths import below, remove_folder
from medembed.storage.places import SHARDS, STAGING
from medembed.storage.shards import HASH_BYTES, Encoded, Job, Runner, made
from medembed.storage.wording import known_by

# texts kept in a dictionary, and sorted into an array when there are so many
RECENT = 50_000
# the place of a text: its shard and the row in it, in one number
SHARD_BITS = 32
Integers = NDArray[np.int64]
Own = Callable[[Job, Manifest[Any]], Mapping[str, Any]]
"""Makes the columns that each row has of its own text, beside its vectors."""


class Places:
    """First places of texts, in 24 bytes each. Texts are known by 128-bit hashes.

    Example:
        >>> places = Places()
        >>> places.add(b"k" * 16, 7)
        >>> places.get(b"k" * 16), places.get(b"x" * 16)
        (7, None)
    """

    def __init__(self) -> None:
        """Begin with no text known."""
        self._recent: dict[bytes, int] = {}
        # sorted runs, each at least twice as long as the next
        self._runs: list[tuple[NDArray[np.bytes_], Integers]] = []

    def get(self, key: bytes) -> int | None:
        """The place of a text. None for one that is not known."""
        if key in self._recent:
            return self._recent[key]
        stripped = key.rstrip(b"\0")  # as numpy gives bytes back
        for keys, places in self._runs:
            at = int(keys.searchsorted(key))
            if at < len(keys) and keys[at] == stripped:
                return int(places[at])
        return None

    def add(self, key: bytes, place: int) -> None:
        """Remember a text that was not known."""
        self._recent[key] = place
        if len(self._recent) >= RECENT:
            self._settle()

    def first(self, keys: Iterable[bytes], shard: int) -> Iterator[int]:
        """The first place of each row's text in a shard. Texts that were not known are remembered."""
        for row, key in enumerate(keys):
            place = self.get(key)
            if place is None:
                place = shard << SHARD_BITS | row
                self.add(key, place)
            yield place

    def _settle(self) -> None:
        keys, places = np.array(list(self._recent), dtype="S16"), np.array(list(self._recent.values()), dtype=np.int64)
        self._recent.clear()
        while self._runs and len(self._runs[-1][0]) < 2 * len(keys):
            more = self._runs.pop()
            keys, places = np.concatenate([more[0], keys]), np.concatenate([more[1], places])
        order = np.argsort(keys, kind="stable")
        self._runs.append((keys[order], places[order]))


class Repeats:
    """A runner that has another one encode each text once, and counts what that saves.

    The first row of each text is chosen as rows are read, so the other runner may be of several processes or machines. What they
    make is staged, and put together with the vectors of earlier rows here.

    Attributes:
        rows: Rows whose text was there before.
        characters: Characters of all texts.
        repeated: Characters of those texts.
        seconds: Time that encoding the others took.

    Args:
        runner: Encodes the rows whose texts are new.
        own: Makes columns that rows do not share with one of nearly the same text.
        on_rows: Called with numbers of rows that need no encoding.
    """

    def __init__(self, runner: Runner, own: Own, on_rows: Callable[[int], object]) -> None:
        """Begin with no text known."""
        self._runner, self._own, self._on_rows = runner, own, on_rows
        self._known = Places()
        self._files: dict[int, str] = {}
        self._there: list[tuple[int, Shard]] = []
        self._waiting: dict[int, _Waiting] = {}
        self.rows = self.characters = self.repeated = 0
        self.seconds = 0.0

    @property
    def share(self) -> float:
        """Share of the text that was there before, from 0 to 1."""
        return self.repeated / max(1, self.characters)

    @property
    def saved(self) -> float:
        """Seconds that encoding it again would have taken, at the rate of the others."""
        return self.seconds * self.repeated / max(1, self.characters - self.repeated)

    def __call__(self, jobs: Iterable[Job], folder: Path, manifest: Manifest[Any]) -> Iterator[Shard]:
        """Make the shards of jobs, in their order. Texts of shards that are there already are known."""
        self._there = list(enumerate(manifest.shards))
        staging = below(folder, f"{SHARDS}/{STAGING}")
        staging.mkdir(parents=True, exist_ok=True)
        fresh = self._runner(self._new(jobs, folder, staging, manifest), staging, manifest)
        while (shard := self._timed(fresh)) is not None:
            self._waiting[int(Path(shard.file).name.split(".")[0])].fresh = shard
            yield from self._whole(folder, staging, manifest)
        yield from self._whole(folder, staging, manifest)
        # after an error the next run does it: a worker may still write there
        remove_folder(folder, f"{SHARDS}/{STAGING}")

    def found(self, number: int, shard: Shard) -> None:
        """Take note of a shard that an earlier run has left. It is looked through when a job follows."""
        self._there.append((number, shard))

    def _learn(self, folder: Path, manifest: Manifest[Any]) -> None:
        """Remember the texts of shards that are made already."""
        for number, shard in self._there:
            self._files[number] = shard.file
            for _ in self._known.first(_keys(arrow_files.mapped(below(folder, shard.file)), manifest), number):
                pass
        self._there.clear()

    def _timed(self, fresh: Iterator[Shard]) -> Shard | None:
        """The next shard of new texts. The time of encoding is counted, that of reading rows is not."""
        began = time.perf_counter()
        shard = next(fresh, None)
        self.seconds += time.perf_counter() - began
        return shard

    def _new(self, jobs: Iterable[Job], folder: Path, staging: Path, manifest: Manifest[Any]) -> Iterator[Job]:
        """The jobs with the rows alone whose texts are new. All rows wait on the disk."""
        began = time.perf_counter()
        for job in jobs:
            self._learn(folder, manifest)
            places = np.fromiter(self._known.first(_keys(job.rows, manifest), job.index), np.int64, job.rows.num_rows)
            new = np.flatnonzero(places == (job.index << SHARD_BITS) + np.arange(job.rows.num_rows))
            self._count(job, new)
            path = staging / f"{job.id}.arrow"
            arrow_files.save(path, job.rows)
            self._waiting[job.index] = _Waiting(replace(job, rows=None), path, places, new)
            if len(new):
                self.seconds -= time.perf_counter() - began
                yield replace(job, rows=job.rows.take(new))
                began = time.perf_counter()
        self.seconds -= time.perf_counter() - began

    def _count(self, job: Job, new: Integers) -> None:
        lengths = require("pyarrow.compute").utf8_length(job.rows.column("text")).to_numpy()
        again = job.rows.num_rows - len(new)
        self.characters += int(lengths.sum())
        self.repeated += int(lengths.sum() - lengths[new].sum())
        self.rows += again
        self._on_rows(again)

    def _whole(self, folder: Path, staging: Path, manifest: Manifest[Any]) -> Iterator[Shard]:
        """Shards whose new texts are encoded, and all before them."""
        while self._waiting:
            number = min(self._waiting)
            waiting = self._waiting[number]
            if len(waiting.new) and waiting.fresh is None:
                return
            del self._waiting[number]
            job = replace(waiting.job, rows=arrow_files.mapped(waiting.rows))
            columns = self._joined(waiting, folder, staging, job.rows.column_names)
            if manifest.repeated_text == "near":
                columns |= self._own(job, manifest)
            truncated = waiting.fresh.truncated if waiting.fresh else 0
            shard = made(folder, job, Encoded(columns, job.rows.num_rows, truncated), manifest)
            self._files[number] = shard.file
            for path in (waiting.rows, *([below(staging, waiting.fresh.file)] if waiting.fresh else [])):
                path.unlink()
            yield shard

    def _joined(self, waiting: "_Waiting", folder: Path, staging: Path, own: Sequence[str]) -> dict[str, Any]:
        """Columns of vectors by place: of the shard itself those that are fresh, and those of earlier shards."""
        arrow = require("pyarrow")
        shards, rows = waiting.places >> SHARD_BITS, waiting.places & ((1 << SHARD_BITS) - 1)
        order = np.argsort(shards, kind="stable")
        parts: dict[str, list[Any]] = {}
        for number in np.unique(shards).tolist():
            wanted = rows[order][shards[order] == number]
            if waiting.fresh is not None and number == waiting.job.index:
                wanted = np.searchsorted(waiting.new, wanted)
                table = arrow_files.mapped(below(staging, waiting.fresh.file))
            else:
                table = arrow_files.mapped(below(folder, self._files[number]))
            for name in table.column_names:
                if name not in own:
                    parts.setdefault(name, []).append(table.column(name).combine_chunks().take(arrow.array(wanted)))
        back = arrow.array(np.argsort(order, kind="stable"))
        return {name: arrow.concat_arrays(pieces).take(back) for name, pieces in parts.items()}


@dataclass
class _Waiting:
    """A shard whose rows are read, and whose new texts are being encoded.

    Attributes:
        job: The shard to be made, without rows.
        rows: File of its rows.
        places: First place of each row's text.
        new: Rows whose texts are new.
        fresh: The shard of these, once it is made.
    """

    job: Job
    rows: Path
    places: Integers
    new: Integers
    fresh: Shard | None = None


def _keys(rows: Any, manifest: Manifest[Any]) -> Iterator[bytes]:
    """Hashes by which the texts of rows are known."""
    key, texts = known_by(manifest), rows.column("text").to_pylist()
    scopes = [None] * len(texts) if manifest.scope is None else rows.column(manifest.scope).to_pylist()
    for text, scope in zip(texts, scopes, strict=True):
        told = text if key is None else key(text, scope)
        yield hashlib.blake2b(repr(told).encode(), digest_size=HASH_BYTES).digest()
