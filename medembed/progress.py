"""A progress bar for long work at a terminal; nothing anywhere else."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

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
