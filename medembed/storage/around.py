"""Passages of a note around one that was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.errors import CorpusError, SettingError
from medembed.extras import require
from medembed.storage.filters import Filter
from medembed.storage.manifest import NOTE
from medembed.storage.tables import Hit, Store


@dataclass(frozen=True)
class Neighbor:
    """A passage beside one that was found.

    Attributes:
        id: Its id.
        text: Its text; None where the store holds references only.
        start: Where it begins in the note, in characters.
        end: Where it ends.
    """

    id: str
    text: str | None
    start: int
    end: int


@dataclass(frozen=True)
class Around:
    """Passages of the same note beside one that was found, in the order of the note.

    Attributes:
        before: Those that stand before it.
        after: Those that stand behind it.
    """

    before: tuple[Neighbor, ...]
    after: tuple[Neighbor, ...]


def around(store: Store[Any], hits: Sequence[Hit], n: int, chosen: Filter | None = None) -> list[Around]:
    """The passages beside those that were found, in their notes.

    Args:
        store: A store of passages.
        hits: Passages of it.
        n: Passages on each side.
        chosen: Which rows may be shown; None for all of the store.

    Raises:
        SettingError: ``n`` below 1.
        CorpusError: The rows of the store are no passages.
    """
    if n < 1:
        raise SettingError(f"n={n}: give at least 1 passage")
    if store.manifest.splitting is None:
        raise CorpusError(f"the rows of {store.path} are no passages of notes: index the notes again with --split")
    allowed = store.allowed(chosen)
    shown = store.live() if allowed is None else allowed
    notes = _notes(store, sorted({hit.kept[NOTE] for hit in hits}), shown)
    found = []
    for hit in hits:
        own = notes.get(hit.kept[NOTE], [])
        place = next((number for number, other in enumerate(own) if other.id == hit.id), None)
        if place is None:  # it is gone since, or not shown
            found.append(Around((), ()))
            continue
        found.append(Around(tuple(own[max(0, place - n) : place]), tuple(own[place + 1 : place + 1 + n])))
    return found


def _notes(store: Store[Any], names: Sequence[str], shown: NDArray[np.bool_]) -> dict[str, list[Neighbor]]:
    """Passages of some notes that may be shown, each note's in order."""
    compute, wanted = require("pyarrow.compute"), require("pyarrow").array(names, type="string")
    masks = [np.asarray(compute.is_in(table.column(NOTE), value_set=wanted)) for table in store.tables()]
    rows = store.rows(np.flatnonzero(np.concatenate([np.zeros(0, dtype=bool), *masks]) & shown))
    notes: dict[str, list[Neighbor]] = {}
    for row in sorted(rows, key=lambda row: int(row["start"])):
        notes.setdefault(row[NOTE], []).append(Neighbor(row["id"], row["text"], row["start"], row["end"]))
    return notes
