"""The rows that a store has already.

They are found by id, with the hash of what each holds, in forty bytes per row.
"""

import hashlib
import struct
from typing import Any

import numpy as np

from medembed.extras import require
from medembed.storage.manifest import NOTE, Manifest
from medembed.storage.shards import HASH_BYTES, Record
from medembed.storage.tables import Store


class KnownRows:
    """Live rows of a store, looked up by id.

    Ids are held as 128-bit hashes: two different ids in a billion collide with a chance below 10⁻²⁰, and a Python dictionary
    would take about 200 bytes per id.

    Args:
        store: The store.
    """

    def __init__(self, store: Store[Any]) -> None:
        """Read every id once."""
        live = np.flatnonzero(store.live())
        keys = [b"".join(map(_key, table.column("id").to_pylist())) for table in store.tables()]
        pairs = np.frombuffer(b"".join(keys), dtype=">u8").reshape(-1, 2)[live]
        # of the machine's own byte order, each in one piece: numpy copies any other array whole for every lookup
        high, low = pairs[:, 0].astype(np.uint64), pairs[:, 1].astype(np.uint64)
        order = np.lexsort((low, high))
        self._high, self._low, self._numbers = high[order], low[order], live[order]
        self._hashes = np.concatenate(
            [np.zeros((0, HASH_BYTES), np.uint8), *(_hashes(table.column("text_hash")) for table in store.tables())]
        )

    def number(self, name: str) -> int | None:
        """Number of the row with this id. None where there is no such row."""
        high, low = (np.uint64(half) for half in struct.unpack(">QQ", _key(name)))
        start = int(self._high.searchsorted(high))
        while start < len(self._high) and self._high[start] == high:
            if self._low[start] == low:
                return int(self._numbers[start])
            start += 1
        return None

    def holds(self, number: int, text_hash: bytes) -> bool:
        """Tell whether a row's text and kept values have this hash. False for a row whose hash is unknown."""
        return bool(self._hashes[number].tobytes() == text_hash)


class Notes:
    """Notes whose passages come in a run. Passages of one note are added, replaced and refused together.

    Args:
        base: The manifest of the store; one whose rows are no passages has no notes.
    """

    def __init__(self, base: Manifest[Any]) -> None:
        self._place = None if base.splitting is None else list(base.kept).index(NOTE)
        self._seen: set[str] = set()
        self._numbers: set[int] = set()
        self._refused: str | None = None

    def _of(self, record: Record) -> str | None:
        return None if self._place is None else record.kept[self._place]

    def add(self, record: Record, number: int | None) -> None:
        """Remember a passage, and the row of the store that has its id."""
        if (note := self._of(record)) is not None:
            self._seen.add(note)
            if number is not None:
                self._numbers.add(number)

    def refuse(self, record: Record) -> None:
        """Remember that a passage's note is refused."""
        self._refused = self._of(record)

    def refused(self, record: Record) -> bool:
        """Tell whether the passage before was refused and is of the same note."""
        return self._refused is not None and self._refused == self._of(record)

    def left(self, store: Store[Any]) -> list[int]:
        """Live rows of the notes that came, whose passages did not: the note is shorter now."""
        if not self._seen:
            return []
        compute, arrow = require("pyarrow.compute"), require("pyarrow")
        wanted = arrow.array(sorted(self._seen), type="string")
        columns = (table.column(NOTE) for table in store.tables())
        of_notes = [np.asarray(compute.is_in(column, value_set=wanted)) for column in columns]
        found = np.flatnonzero(np.concatenate([np.zeros(0, dtype=bool), *of_notes]) & store.live())
        return [number for number in found.tolist() if number not in self._numbers]


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=HASH_BYTES).digest()


def _hashes(column: Any) -> Any:
    """A column of hashes as bytes. A missing hash is zeros: rows of the first format without texts have none."""
    chunk = column.combine_chunks()
    if chunk.null_count:
        filled = [value or bytes(HASH_BYTES) for value in chunk.to_pylist()]
        return np.frombuffer(b"".join(filled), dtype=np.uint8).reshape(-1, HASH_BYTES)
    values = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
    start = chunk.offset * HASH_BYTES
    return values[start : start + len(chunk) * HASH_BYTES].reshape(-1, HASH_BYTES)
