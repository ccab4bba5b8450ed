"""Things of an engine that one caller uses at a time, such as inference requests."""

import itertools
import os
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, TypeVar

from medembed.errors import ClosedModelError

T = TypeVar("T")

# a fork waits so long for batches that run: hundreds of milliseconds at most, unless memory is short
FORK_WAIT_S = 10.0


@dataclass(frozen=True)
class Slot(Generic[T]):
    """One thing and the lock to use it under, as in ``with slot.lock``.

    A ``with`` statement takes and gives back a lock of the interpreter's own whole: no signal handler runs in between. A queue
    that is read first and written to in a ``finally`` loses a thing when a handler raises between the two.

    Attributes:
        thing: What is used.
        lock: Held while it is in use.
    """

    thing: T
    lock: Lock = field(default_factory=Lock)


class Slots(Generic[T]):
    """A fixed number of slots.

    Args:
        things: One for each slot; the same thing may stand in several.
    """

    def __init__(self, things: Iterable[T] = ()) -> None:
        """All of them are free."""
        self._slots = [Slot(thing) for thing in things]
        self._turn = itertools.count()
        _ALL.add(self)

    def __iter__(self) -> Iterator[Slot[T]]:
        """Every slot, used or not."""
        return iter(self._slots)

    def __len__(self) -> int:
        """Number of slots."""
        return len(self._slots)

    @property
    def busy(self) -> bool:
        """Tell whether every slot is in use."""
        return all(slot.lock.locked() for slot in self._slots)

    def next(self) -> Slot[T]:
        """The slot to use next: a free one, else each in turn.

        It may have been taken by the time its lock is asked for; the caller then waits for it.

        Raises:
            ClosedModelError: There are none, since the engine was closed meanwhile.
        """
        slots = self._slots
        if not slots:
            raise ClosedModelError("the engine was closed while it was in use: close a model after its last call")
        free = next((slot for slot in slots if not slot.lock.locked()), None)
        return slots[next(self._turn) % len(slots)] if free is None else free


_ALL: "weakref.WeakSet[Slots[Any]]" = weakref.WeakSet()
_held: list[Slot[Any]] = []


def _hold_all() -> None:
    """Wait until nothing computes, so that no lock inside a library is copied into the child as held for ever."""
    until = time.monotonic() + FORK_WAIT_S
    every = [slot for slots in list(_ALL) for slot in slots]
    # a fork out of a signal handler may wait for the thread it interrupted: it goes on in the end
    _held.extend(slot for slot in every if slot.lock.acquire(timeout=max(0.0, until - time.monotonic())))


def _let_go() -> None:
    while _held:
        _held.pop().lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_let_go, after_in_child=_let_go)
