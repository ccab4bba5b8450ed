"""One value per process: what a forked child must not inherit, such as a pool of threads, it makes anew."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
