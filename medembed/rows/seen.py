"""The ids that a corpus has already, in sixteen bytes each."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# recent ids are kept in a set and sorted into an array when there are so many
RECENT = 50_000


class SeenIds:
    """A growing set of ids, held as 128-bit hashes.

    Two different ids in a billion collide with a chance below 10⁻²⁰.

    A Python set takes about 130 bytes per id, so a hundred million would not fit in memory.

    Example:
        >>> seen = SeenIds()
        >>> [seen.add("a"), seen.add("b"), seen.add("a")]
        [True, True, False]
    """

    def __init__(self) -> None:
        """Begin with no id seen."""
        self._recent: set[bytes] = set()
        # sorted runs, each at least twice as long as the next, so that an id is moved a logarithmic number of times
        self._runs: list[NDArray[np.bytes_]] = []

    def add(self, name: str) -> bool:
        """Remember an id.

        Returns:
            Whether it is new.
        """
        key = hashlib.blake2b(name.encode(), digest_size=16).digest()
        if key in self._recent or any(_holds(run, key) for run in self._runs):
            return False
        self._recent.add(key)
        if len(self._recent) >= RECENT:
            self._settle()
        return True

    def update(self, names: Sequence[str]) -> None:
        """Remember several ids."""
        for name in names:
            self.add(name)

    def _settle(self) -> None:
        run = np.sort(np.array(list(self._recent), dtype="S16"))
        self._recent.clear()
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]))
        self._runs.append(run)


def _holds(run: NDArray[np.bytes_], key: bytes) -> bool:
    place = int(run.searchsorted(key))
    # numpy gives bytes back without their trailing zeros
    return place < len(run) and run[place] == key.rstrip(b"\0")
