"""A progress bar for long work at a terminal. Nothing is shown anywhere else."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

# a call shorter than this needs no bar
DELAY_S = 2.0


@contextlib.contextmanager
def bar(total: int | None, show: bool | None, *, unit: str = "text") -> Iterator[Callable[[int], object]]:
    """Show progress on standard error.

    Args:
        total: What 100% is; None where it is not known beforehand.
        show: True or False; None for a bar at a terminal once the work has taken two seconds.
        unit: What is counted; ``"B"`` for bytes, told in kB, MB and so on.

    Yields:
        A function to call with the number of units just done, from any thread.
    """
    if show is False or (show is None and not sys.stderr.isatty()):
        yield _nothing
        return
    from tqdm.auto import tqdm

    lock = threading.Lock()
    with tqdm(total=total, unit=unit, unit_scale=unit == "B", delay=0.0 if show else DELAY_S, file=sys.stderr) as drawn:

        def advance(count: int) -> None:
            with lock:
                drawn.update(count)

        yield advance


def _nothing(_: int) -> None:
    """No bar is shown."""


class RowBar:
    """Progress in rows, with a total that is estimated from how many bytes the rows read so far took."""

    def __init__(self, drawn: Any, n_bytes: int | None) -> None:
        """Start with nothing read. Without ``drawn`` nothing is shown."""
        self._drawn, self._all_bytes = drawn, n_bytes
        self._bytes = self._rows = 0
        self._lock = threading.Lock()

    def read(self, n_bytes: int) -> None:
        """Note bytes that were read."""
        self._bytes += n_bytes

    def add(self, n_rows: int) -> None:
        """Note rows that were read."""
        self._rows += n_rows
        if self._drawn is not None and self._all_bytes and self._bytes:
            with self._lock:
                self._drawn.total = max(self._rows, round(self._rows * self._all_bytes / self._bytes))

    def advance(self, n_rows: int) -> None:
        """Note rows that are done, from any thread."""
        if self._drawn is not None:
            with self._lock:
                self._drawn.update(n_rows)


@contextlib.contextmanager
def row_bar(n_bytes: int | None, show: bool | None = None) -> Iterator[RowBar]:
    """Show progress over the rows of files on standard error.

    Args:
        n_bytes: Size of all files; None where it is not known, and with it the total.
        show: As :func:`bar` has it.

    Yields:
        What to tell of bytes read, rows read and rows done.
    """
    if show is False or (show is None and not sys.stderr.isatty()):
        yield RowBar(None, n_bytes)
        return
    from tqdm.auto import tqdm

    with tqdm(unit="row", delay=0.0 if show else DELAY_S, file=sys.stderr) as drawn:
        yield RowBar(drawn, n_bytes)
