"""Texts cut into work units, and the threads that run them side by side: as many as an engine takes batches."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from medembed.runtime import batching
from medembed.runtime.engines.interface import Engine
from medembed.workers import Workers

# English medical prose has about four characters to a word piece; used only to size work units
CHARS_PER_TOKEN = 4
# a text costs a little even when it is empty: its special tokens and its row
CHARS_PER_TEXT = 12
# work units per stream in one window: enough that streams finish together, few enough to batch well
UNITS_PER_STREAM = 4
# a unit is at most this many batches, so that tokenizing one stays short beside computing another
BATCHES_PER_UNIT = 16

T = TypeVar("T")


class Streams:
    """The threads of one engine. They start with the first call that needs them.

    Args:
        engine: What computes.
    """

    def __init__(self, engine: Engine) -> None:
        """Nothing runs yet."""
        self._engine = engine
        self._workers = Workers(engine.concurrency)

    def units(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        """Indices of texts that one stream tokenizes and runs at a time.

        Args:
            texts: The texts.
            prompt: What is put before each.

        Returns:
            Units; each index occurs exactly once.
        """
        sizes = [len(text) + len(prompt) + CHARS_PER_TEXT for text in texts]
        most = BATCHES_PER_UNIT * CHARS_PER_TOKEN * self._engine.max_batch_tokens
        fair = sum(sizes) // (UNITS_PER_STREAM * self._engine.concurrency)
        # below an eighth of a batch, handing a unit to a thread costs more than sharing it gains
        least = CHARS_PER_TOKEN * self._engine.max_batch_tokens // 8
        return batching.split_by_size(sizes, max(least, min(most, fair)))

    def run(self, work: Callable[[list[int]], T], units: Sequence[list[int]]) -> list[T]:
        """Run every unit of work.

        A lone one runs in the caller's thread, several run side by side. The first error stops the rest.

        Args:
            work: Runs a unit.
            units: From ``units``.

        Returns:
            What the units gave, in no particular order.
        """
        return [work(unit) for unit in units] if len(units) <= 1 else self._side_by_side(work, units)

    def _side_by_side(self, work: Callable[[list[int]], T], units: Iterable[list[int]]) -> list[T]:
        pending, lock = iter(units), threading.Lock()
        stopped: list[bool] = []

        def stream() -> list[T]:
            done = []
            try:
                while not stopped:
                    with lock:
                        unit = next(pending, None)
                    if unit is None:
                        break
                    done.append(work(unit))
            except BaseException:
                stopped.append(True)
                raise
            return done

        results = [self._workers.submit(stream) for _ in range(self._workers.count)]
        try:
            return [one for result in results for one in result.get()]
        finally:  # also when the caller presses Ctrl-C while waiting
            stopped.append(True)

    def close(self) -> None:
        """Stop the threads and the engine."""
        self._workers.close()
        self._engine.close()
