"""Progress of long work: a bar at a terminal and in a notebook, a line every ten seconds in a log."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

# a call shorter than this needs no bar
DELAY_S = 2.0
# where nobody looks on, a line as often as this
LINE_S = 10.0


Show = bool | None | Callable[[int], object]
"""How progress shows: a bar or none, as the caller says, or a function that is told in its place."""


@contextlib.contextmanager
def bar(total: int | None, show: Show, *, unit: str = "text") -> Iterator[Callable[[int], object]]:
    """Show progress on standard error.

    Args:
        total: What 100% is; None where it is not known beforehand.
        show: True or False; None for a bar at a terminal and in a notebook once the work has taken two seconds; or a function to tell.
        unit: What is counted; ``"B"`` for bytes, told in kB, MB and so on.

    Yields:
        A function to call with the number of units just done, from any thread.
    """
    if callable(show):
        yield show
        return
    if show is False or (show is None and not _watched()):
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


def _watched() -> bool:
    """Tell whether somebody sees a bar move."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class Lines:
    """Progress in lines on standard error, for logs. It takes the place of a bar.

    Attributes:
        total: What 100% is, as far as known; None for unknown.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock."""
        self.total: int | None = None
        self._done, self._clock = 0, clock
        self._started = self._told = clock()

    def update(self, count: int) -> None:
        """Note units that are done. Say so where ten seconds have passed since the last line."""
        self._done += count
        now = self._clock()
        if now - self._told < LINE_S:
            return
        self._told = now
        rate = self._done / (now - self._started)
        left = (
            ""
            if self.total is None
            else f" of about {self.total:,}, {max(0, self.total - self._done) / rate:.0f} s left"
        )
        from medembed.terminal import say  # brings rich, which a call without lines does without

        say(f"{self._done:,} rows done{left}, {rate:,.0f} rows/s", error=True)


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
        show: True for a bar, False for nothing, None for a bar where somebody looks on, and lines elsewhere.

    Yields:
        What to tell of bytes read, rows read and rows done.
    """
    if show is False or (show is None and not _watched()):
        yield RowBar(None if show is False else Lines(), n_bytes)
        return
    from tqdm.auto import tqdm

    with tqdm(unit="row", delay=0.0 if show else DELAY_S, file=sys.stderr) as drawn:
        yield RowBar(drawn, n_bytes)
