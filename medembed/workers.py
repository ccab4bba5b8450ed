"""Threads that run work side by side, and that no interrupt of their callers can leave waiting.

A pool of the standard library waits under locks written in Python. A signal handler that raises in the caller's thread, as
Ctrl-C does, may leave such a lock taken, and the next call then waits for ever. Here callers use the interpreter's own queues
alone, which an interrupt leaves whole. Worker processes end with the process that started them.
"""

import _thread
import atexit
import os
import weakref
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

# at the end of the process: what runs is a batch, not more
END_S = 10.0

Tasks = SimpleQueue["Callable[[], None] | None"]


class Result(Generic[T]):
    """The outcome of a piece of work.

    Args:
        work: Runs in a thread.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        """Nothing runs yet."""
        self._work = work
        self._outcome: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run(self) -> None:
        """Do the work and keep what it gives or raises."""
        try:
            self._outcome.put((self._work(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._outcome.put((None, error))

    def get(self) -> T:
        """Wait for the outcome, once. Raises what the work raised."""
        value, error = self._outcome.get()
        if error is not None:
            raise error
        return value  # type: ignore[return-value]


class Workers:
    """Up to ``count`` threads, started by the first work that needs them.

    Args:
        count: Pieces of work that run at a time.

    Example:
        >>> workers = Workers(2)
        >>> results = [workers.submit(lambda: "pain"), workers.submit(lambda: "fever")]
        >>> [result.get() for result in results]
        ['pain', 'fever']
        >>> workers.close()
    """

    def __init__(self, count: int) -> None:
        """No thread runs yet."""
        self.count = count
        self._tasks: Tasks = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._started: list[int] = []
        self._process = os.getpid()
        _ALL.add(self)
        weakref.finalize(self, _dismiss, self._tasks, count).atexit = False

    def submit(self, work: Callable[[], T]) -> Result[T]:
        """Hand work to the threads."""
        # an interrupt between the start and the note of it costs a thread too many, never one too few
        if len(self._started) < self.count:
            self._started.append(_thread.start_new_thread(_work, (self._tasks, self._ended)))
        result = Result(work)
        self._tasks.put(result.run)
        return result

    def close(self) -> None:
        """End the threads when their work is done, and wait for that."""
        if self._process != os.getpid():  # a forked child inherits no threads
            return
        started, self._started = self._started, []
        _dismiss(self._tasks, len(started))
        for _ in started:
            try:
                self._ended.get(timeout=END_S)
            except Empty:
                return


def _work(tasks: Tasks, ended: "SimpleQueue[None]") -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # its inputs and outputs are the caller's
    ended.put(None)


def _dismiss(tasks: Tasks, count: int) -> None:
    for _ in range(count):
        tasks.put(None)


_ALL: "weakref.WeakSet[Workers]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Let batches end before the libraries that run them are taken down."""
    for workers in list(_ALL):
        workers.close()


def end_with_parent() -> None:
    """End this process when the one that started it ends, however that ends.

    For workers of :mod:`multiprocessing` alone: those wait for their next task from a queue that they themselves hold open, so
    that nothing tells them of a parent that was killed. What a worker has half-written is swept by the next run.
    """
    parent = parent_process()
    if parent is not None:
        _thread.start_new_thread(_outlive, (parent,))


def _outlive(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
