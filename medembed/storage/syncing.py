"""Rows that are gone from an export, and how many of them a sync may delete."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from medembed.errors import SettingError, SyncLimitError
from medembed.extras import require
from medembed.storage.known import KnownRows
from medembed.storage.manifest import NOTE
from medembed.storage.tables import Store


@dataclass(frozen=True)
class Changes:
    """Counts of what a sync is about to do. Nothing is changed before they are told.

    Attributes:
        kept: Rows that are there already, unchanged.
        replaced: Rows that take the place of others.
        new: Rows whose ids were not there.
        gone: Rows of the store that the inputs do not have, and that are deleted.
    """

    kept: int
    replaced: int
    new: int
    gone: int


Announce = Callable[[Changes], object]


def silent(_: Changes) -> None:
    """Tell nobody."""


def check_limit(limit: float) -> None:
    """Check a share of rows that may be deleted.

    Raises:
        SettingError: It is no share.
    """
    if type(limit) not in (int, float) or not 0 <= limit <= 1:
        raise SettingError(f"the limit of a sync is {limit!r}: give a share of the rows, from 0 to 1")


class Inventory:
    """The rows of a store that an export still has.

    Args:
        store: The store before the sync.
        known: Its rows by id.
    """

    def __init__(self, store: Store[Any], known: KnownRows) -> None:
        """Begin with none seen."""
        self._store, self._known = store, known
        self._there = np.zeros(store.manifest.n_rows, dtype=bool)

    def saw(self, number: int) -> None:
        """Note that the export has a row."""
        self._there[number] = True

    def gone(self, unread: Collection[str], n_read: int, limit: float) -> list[int]:
        """Numbers of the rows that the export does not have.

        Args:
            unread: Ids of rows that the export has and that could not be used. They stay as they were.
            n_read: Rows of the export that could be used.
            limit: Share of the store's rows that may be gone.

        Raises:
            SyncLimitError: More are gone, or the export holds nothing that can be used.
        """
        self._keep(unread)
        gone = np.flatnonzero(self._store.live() & ~self._there)
        rows = len(self._store)
        if rows and not n_read:
            raise SyncLimitError(
                f"nothing in these inputs can be used, and {self._store.path} holds {rows} rows: nothing was changed. Look at the "
                "export; to replace the whole store, index with --overwrite"
            )
        if len(gone) > limit * rows:
            needed = math.ceil(100 * len(gone) / rows) / 100
            raise SyncLimitError(
                f"{len(gone)} of the {rows} rows of {self._store.path} are not in these inputs ({len(gone) / rows:.1%}), and a sync deletes "
                f"{limit:.0%} at most: nothing was changed. If the export is whole, say --sync-limit {needed:g}, in Python limit={needed:g}"
            )
        return [int(number) for number in gone]

    def _keep(self, unread: Collection[str]) -> None:
        """Note that rows are there which could not be used; of a note, all its passages."""
        for name in unread:
            if (number := self._known.number(name)) is not None:
                self.saw(number)
        if self._store.manifest.splitting is not None and unread:
            wanted = require("pyarrow").array(sorted(unread), type="string")
            is_in = require("pyarrow.compute").is_in
            for start, table in zip(self._store.starts, self._store.tables(), strict=False):
                self._there[start + np.flatnonzero(is_in(table.column(NOTE), value_set=wanted).to_numpy())] = True
