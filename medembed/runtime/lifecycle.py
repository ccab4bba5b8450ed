"""What a model runs on, from its start to close(): started again in a forked child, where the parent's threads are not."""

import ctypes
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from medembed.errors import ClosedModelError


class _Closable(Protocol):
    def close(self) -> None: ...


Running = TypeVar("Running", bound=_Closable)


class ClosedByWith(ABC):
    """What a ``with`` block closes at its end."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held; closing again is fine."""

    def __enter__(self) -> Self:
        """Use as a context manager, closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class Lifecycle(Generic[Running]):
    """Keeps one running thing a process.

    Args:
        start: Makes it.
        name: The model, for errors.
        kind: Its class, for errors.

    Attributes:
        lock: For the owner's own short sections; new in a forked child, where the parent's may be held for ever.
    """

    def __init__(self, start: Callable[[], Running], *, name: str, kind: str) -> None:
        """Start it."""
        self._make, self._name, self._kind = start, name, kind
        self.lock = threading.Lock()
        self.closed = False
        self._pid = 0
        self._running: Running
        self.get()

    def get(self) -> Running:
        """The running thing.

        Raises:
            ClosedModelError: After ``close``.
        """
        if self.closed:
            raise ClosedModelError(
                f"{self._name!r} was closed: make a new {self._kind}, or encode before leaving the with block"
            )
        if self._pid != os.getpid():
            self._start()
        return self._running

    def _start(self) -> None:
        if self._pid:  # a forked child
            # a lock held by another thread at the moment of the fork would stay locked here
            self.lock = threading.Lock()
            _never_destroy(self._running)
        with self.lock:
            if self._pid != os.getpid():
                self._running = self._make()
                self._pid = os.getpid()

    def close(self) -> None:
        """Close the running thing; closing again is fine."""
        if not self.closed and self._pid == os.getpid():
            self._running.close()
        self.closed = True


def _never_destroy(thing: object) -> None:
    """Keep what a forked child inherited until the process is gone.

    Its destructor would join the parent's threads, which do not exist in the child, and abort the process.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
