"""Long commands that end between two shards when they are asked to."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from medembed.errors import IndexingStoppedError
from medembed.terminal import say


@contextmanager
def stopping() -> Iterator[list[int]]:
    """Note the first SIGINT or SIGTERM. The shard can then be finished. A second one ends the process as usual.

    Raises:
        typer.Exit: The work inside stopped for it; the code is 128 and the signal's number, as shells have it.
    """
    stopped: list[int] = []
    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def note(number: int, _: FrameType | None) -> None:
        stopped.append(number)
        say("medembed: finishing the shard; once more to stop at once", error=True)
        signal.signal(number, before[number] or signal.SIG_DFL)

    for number in (signal.SIGINT.value, signal.SIGTERM.value):
        before[number] = signal.signal(number, note)
    try:
        yield stopped
    except IndexingStoppedError as error:
        say(f"medembed: {error}", error=True)
        raise typer.Exit(128 + stopped[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
