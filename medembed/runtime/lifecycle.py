"""The running part of a model, from its start to close().

It is started again in a forked child, which does not have the parent's threads.
"""

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from medembed.errors import ClosedModelError
from medembed.per_process import never_destroy


class Closable(Protocol):
    """A running thing that can be closed."""

    def close(self) -> None:
        """Give back threads and memory."""


Running = TypeVar("Running", bound=Closable)


class ClosedByWith(ABC):
    """Base of what a ``with`` block closes at its end."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held. Closing again is fine."""

    def __enter__(self) -> Self:
        """Use as a context manager, closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class Lifecycle(Generic[Running]):
    """One running thing per process.

    Args:
        start: Makes it.
        name: The model, for errors.
        kind: Its class, for errors.

    Attributes:
        lock: For the owner's own short sections. A forked child gets a new one.
        closed: Whether ``close`` was called.
    """

    def __init__(self, start: Callable[[], Running], *, name: str, kind: str) -> None:
        """Start it."""
        self._make, self._name, self._kind = start, name, kind
        self.lock = threading.Lock()
        self.closed = False
        self._running: Running | None = None
        _LIVING.add(self)
        self.get()

    def get(self) -> Running:
        """The running thing, started first where this process has none.

        Raises:
            ClosedModelError: After ``close``.
        """
        running = self._running
        if running is not None:
            return running
        with self.lock:
            if self.closed:
                raise ClosedModelError(
                    f"{self._name!r} was closed: make a new {self._kind}, or encode before leaving the with block"
                )
            if self._running is None:
                self._running = self._make()
            return self._running

    def close(self) -> None:
        """Close the running thing. Closing again is fine."""
        with self.lock:
            self.closed = True
            running, self._running = self._running, None
        if running is not None:
            running.close()

    def start_anew(self) -> None:
        """Let go of what a forked child inherited. The next ``get`` starts its own."""
        # another thread of the parent may have held the lock at the moment of the fork
        self.lock = threading.Lock()
        if self._running is not None:
            never_destroy(self._running)
            self._running = None


_LIVING: "weakref.WeakSet[Lifecycle[Any]]" = weakref.WeakSet()


def _start_all_anew() -> None:
    for lifecycle in list(_LIVING):
        lifecycle.start_anew()


if hasattr(os, "register_at_fork"):
    # At the fork and not at the first use: a child that never encodes must be able to end, and the interpreter's end
    # would destroy what it inherited.
    os.register_at_fork(after_in_child=_start_all_anew)
