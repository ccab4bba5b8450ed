"""One value per process: what a forked child must not inherit, such as a pool of threads, it makes anew.

And a way for a fork to wait until nothing computes.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# a fork waits so long for what other threads compute: a search takes milliseconds, over millions of rows seconds
FORK_WAIT_S = 10.0


class PerProcess(Generic[T]):
    """A value that is made at the first call in each process, forked children included.

    Made once in a module, never per call: what is kept is kept until the process ends.

    Args:
        make: Makes it.

    Example:
        >>> pid = PerProcess(os.getpid)
        >>> pid() == os.getpid()
        True
    """

    def __init__(self, make: Callable[[], T]) -> None:
        """Nothing is made yet."""
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []
        _ALL.append(self)

    def _forget(self) -> None:
        for inherited in self._made:
            never_destroy(inherited)
        # the parent's lock may have been held at the moment of the fork
        self._lock = threading.Lock()
        self._made = []

    def __call__(self) -> T:
        """The value of this process."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


def never_destroy(thing: object) -> None:
    """Keep what a forked child inherited until the process is gone.

    Its destructor would join the parent's threads, which do not exist in the child, and wait for ever or abort the process.

    Args:
        thing: Any object.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


_ALL: list[PerProcess[Any]] = []


def _forget_all() -> None:
    for one in _ALL:
        one._forget()


_COMPUTING: dict[int, "threading.RLock"] = {}
_held: list["threading.RLock"] = []


def computing() -> "threading.RLock":
    """The lock to hold while numpy multiplies matrices, this thread's own.

    numpy's library for that (OpenBLAS) has locks of its own. A child forked while another thread holds one would wait for ever
    at its first product. A fork waits until no thread holds its lock of this kind. Each thread has one of its own: threads
    never wait for each other. Nothing is waited for under it, since what is waited for may need such a lock too.

    Example:
        >>> with computing():
        ...     pass
    """
    # a number of a thread that has ended goes to the next one, which may use its lock
    me = threading.get_ident()
    return _COMPUTING.get(me) or _COMPUTING.setdefault(me, threading.RLock())


def _wait_for_all() -> None:
    until = time.monotonic() + FORK_WAIT_S
    every = list(_COMPUTING.values())
    # a fork out of a signal handler may stand inside of this very thread's product: its own lock does not wait
    _held.extend(lock for lock in every if lock.acquire(timeout=max(0.0, until - time.monotonic())))


def _let_go() -> None:
    while _held:
        _held.pop().release()


def _start_anew() -> None:
    _let_go()
    # of threads that do not exist here, and of which one may have been held after all
    _COMPUTING.clear()
    _forget_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_all, after_in_parent=_let_go, after_in_child=_start_anew)
