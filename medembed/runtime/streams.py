"""Texts cut into work units, and the threads that run them side by side: as many as an engine takes batches."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from medembed.runtime import batching
from medembed.runtime.engines.interface import Engine

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
    """The threads of one engine; they start with the first call that needs them.

    Args:
        engine: What computes.
    """

    def __init__(self, engine: Engine) -> None:
        """Nothing runs yet."""
        self._engine = engine
        self._pool: ThreadPoolExecutor | None = None
        self._pool_lock = threading.Lock()

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
        """Run every unit: a lone one in the caller's thread, several side by side; the first error stops the rest.

        Args:
            work: Runs a unit.
            units: From ``units``.

        Returns:
            What the units gave, in no particular order.
        """
        return [work(unit) for unit in units] if len(units) <= 1 else self._side_by_side(work, units)

    def _side_by_side(self, work: Callable[[list[int]], T], units: Iterable[list[int]]) -> list[T]:
        pending, lock, stop = iter(units), threading.Lock(), threading.Event()

        def stream() -> list[T]:
            done = []
            while not stop.is_set():
                with lock:
                    unit = next(pending, None)
                if unit is None:
                    break
                done.append(work(unit))
            return done

        futures = [self._threads().submit(stream) for _ in range(self._engine.concurrency)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:  # also when the caller presses Ctrl-C while waiting
            stop.set()
        return [result for future in futures for result in future.result()]

    def _threads(self) -> ThreadPoolExecutor:
        with self._pool_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._engine.concurrency, thread_name_prefix="medembed")
            return self._pool

    def close(self) -> None:
        """Stop the threads and the engine."""
        with self._pool_lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
        self._engine.close()
