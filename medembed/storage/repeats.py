"""Texts that come again, encoded once. Every row keeps vectors of its own, so that deleting one takes nothing from another."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.extras import require
from medembed.storage import arrow_files
from medembed.storage.manifest import Manifest, Shard
from medembed.storage.paths import below
from medembed.storage.shards import HASH_BYTES, Encode, Encoded, Job, made

# texts kept in a dictionary, and sorted into an array when there are so many
RECENT = 50_000
# the place of a text: its shard and the row in it, in one number
SHARD_BITS = 32


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
        self._runs: list[tuple[NDArray[np.bytes_], NDArray[np.int64]]] = []

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

    def _settle(self) -> None:
        keys, places = np.array(list(self._recent), dtype="S16"), np.array(list(self._recent.values()), dtype=np.int64)
        self._recent.clear()
        while self._runs and len(self._runs[-1][0]) < 2 * len(keys):
            more = self._runs.pop()
            keys, places = np.concatenate([more[0], keys]), np.concatenate([more[1], places])
        order = np.argsort(keys, kind="stable")
        self._runs.append((keys[order], places[order]))


class Repeats:
    """A runner that encodes each text once in this process, and counts what that saves.

    Attributes:
        rows: Rows whose text was there before.
        characters: Characters of all texts.
        repeated: Characters of those texts.
        seconds: Time that encoding the others took.

    Args:
        encode: Encodes the rows of a job.
        on_rows: Called with numbers of rows that need no encoding.
    """

    def __init__(self, encode: Encode, on_rows: Callable[[int], object]) -> None:
        """Begin with no text known."""
        self._encode, self._on_rows = encode, on_rows
        self._known, self._files = Places(), [""]
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
        """Make the shards of jobs. Shards that the store has already are looked through first."""
        if manifest.text_stored:
            for shard in manifest.shards:
                texts = arrow_files.mapped(below(folder, shard.file)).column("text").to_pylist()
                self._learn(shard.file, enumerate(map(_key, texts)))
        for job in jobs:
            keys = [_key(text) for text in job.rows.column("text").to_pylist()]
            first = self._first(keys)
            encoded = self._encoded(job, keys, first, folder, manifest)
            shard = made(folder, job, encoded, manifest)
            self._learn(shard.file, ((row, key) for key, row in first.items()))
            yield shard

    def _first(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """The rows of a job whose texts are new: the first of each text."""
        found: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            if key not in found and self._known.get(key) is None:
                found[key] = row
        return found

    def _learn(self, file: str, rows: Iterable[tuple[int, bytes]]) -> None:
        self._files.append(file)
        for row, key in rows:
            if self._known.get(key) is None:
                self._known.add(key, (len(self._files) - 1) << SHARD_BITS | row)

    def _encoded(
        self, job: Job, keys: Sequence[bytes], first: dict[bytes, int], folder: Path, manifest: Manifest[Any]
    ) -> Encoded:
        """The vectors of a job's rows: encoded now, or taken from the row that had the text first."""
        began = time.perf_counter()
        new = list(first.values())
        fresh = self._encode(replace(job, rows=job.rows.take(new)), manifest) if new else Encoded({}, 0, 0)
        self.seconds += time.perf_counter() - began
        order = {key: place for place, key in enumerate(first)}
        places = np.array([self._known.get(key) or -1 - order[key] for key in keys], dtype=np.int64)
        self._count(job, places, set(new))
        columns = self._joined(fresh.columns, places, folder, job.rows.column_names)
        return Encoded(columns, len(keys), fresh.truncated)

    def _count(self, job: Job, places: NDArray[np.int64], new: set[int]) -> None:
        lengths = require("pyarrow.compute").utf8_length(job.rows.column("text")).to_pylist()
        self.characters += sum(lengths)
        self.repeated += sum(length for row, length in enumerate(lengths) if row not in new)
        self.rows += len(places) - len(new)
        self._on_rows(len(places) - len(new))

    def _joined(self, fresh: Any, places: NDArray[np.int64], folder: Path, own: Sequence[str]) -> dict[str, Any]:
        """Columns of vectors by place: below 0 of those that are fresh, above of earlier shards."""
        arrow = require("pyarrow")
        shards = np.where(places < 0, 0, places >> SHARD_BITS)
        rows = np.where(places < 0, -1 - places, places & ((1 << SHARD_BITS) - 1))
        order = np.argsort(shards, kind="stable")
        parts: dict[str, list[Any]] = {}
        for shard in np.unique(shards):
            wanted = arrow.array(rows[order][shards[order] == shard])
            table = fresh if shard == 0 else arrow_files.mapped(below(folder, self._files[shard]))
            names = list(fresh) if shard == 0 else [name for name in table.column_names if name not in own]
            for name in names:
                column = table[name] if shard == 0 else table.column(name)
                parts.setdefault(name, []).append(_one(column).take(wanted))
        back = arrow.array(np.argsort(order, kind="stable"))
        return {name: arrow.concat_arrays(pieces).take(back) for name, pieces in parts.items()}


def _one(column: Any) -> Any:
    """A column in one piece."""
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=HASH_BYTES).digest()
