"""Texts → vectors: tokenise, batch, run, put back in order. The work behind MedEmbed.encode, without its conveniences."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medembed import batching, vectors
from medembed.engines.interface import Engine
from medembed.errors import EngineError
from medembed.tokenizer import Overlong, Tokenised, Tokenizer

# English medical prose has about four characters to a word piece; used only to size work units
CHARS_PER_TOKEN = 4
# a text costs a little even when it is empty: its special tokens and its row
CHARS_PER_TEXT = 12
# work units per stream in one window: enough that streams finish together, few enough to batch well
UNITS_PER_STREAM = 4
# a unit is at most this many batches, so that tokenising one stays short beside computing another
BATCHES_PER_UNIT = 16

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Cut:
    """What truncation left out: how many texts, and how many tokens in all."""

    texts: int = 0
    tokens: int = 0

    def __add__(self, other: "Cut") -> "Cut":
        """Sum over groups of texts."""
        return Cut(self.texts + other.texts, self.tokens + other.tokens)


class Encoder:
    """A tokenizer and an engine working together.

    Args:
        tokenizer: The model's.
        engine: What computes.
        overlong: What to do with texts above the limit.
        normalised: Whether vectors are scaled to unit length.
    """

    def __init__(self, tokenizer: Tokenizer, engine: Engine, *, overlong: Overlong, normalised: bool) -> None:
        """Threads start with the first call that needs them."""
        self.tokenizer, self.engine = tokenizer, engine
        self._overlong, self._normalised = overlong, normalised
        self._pool: ThreadPoolExecutor | None = None
        self._pool_lock = threading.Lock()

    def __call__(
        self, texts: Sequence[str], prompt: str, progress: Progress, *, first_index: int = 0
    ) -> tuple[NDArray[np.float32], Cut]:
        """Encode one window of texts.

        Args:
            texts: Already checked to be strings.
            prompt: Put before each.
            progress: Called with a number of texts as they are done, from any thread.
            first_index: Where the window begins in the caller's input, for error messages.

        Returns:
            Vectors in input order, *Shape:* ``(len(texts), dimension)``, and what was cut.

        Raises:
            OverlongTextError: ``overlong="error"`` and a text is too long.
            EngineError: The engine failed, or gave a vector that is not finite.
        """
        out = np.empty((len(texts), self.engine.dimension), dtype=np.float32)
        units = self._units(texts, prompt)
        alone = len(units) == 1
        run = partial(self._run_unit, texts, prompt, out, progress, alone=alone, first_index=first_index)
        cuts = [run(unit) for unit in units] if len(units) <= 1 else self._run_side_by_side(run, units)
        return out, sum(cuts, Cut())

    def _units(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        """Indices of texts that one stream tokenises and runs at a time."""
        sizes = [len(text) + len(prompt) + CHARS_PER_TEXT for text in texts]
        most = BATCHES_PER_UNIT * CHARS_PER_TOKEN * self.engine.max_batch_tokens
        fair = sum(sizes) // (UNITS_PER_STREAM * self.engine.concurrency)
        # below an eighth of a batch, handing a unit to a thread costs more than sharing it gains
        least = CHARS_PER_TOKEN * self.engine.max_batch_tokens // 8
        return batching.split_by_size(sizes, max(least, min(most, fair)))

    def _run_unit(
        self,
        texts: Sequence[str],
        prompt: str,
        out: NDArray[np.float32],
        progress: Progress,
        unit: Sequence[int],
        *,
        alone: bool,
        first_index: int,
    ) -> Cut:
        places = [first_index + i for i in unit]
        tokenised = self.tokenizer([texts[i] for i in unit], prompt=prompt, overlong=self._overlong, places=places)
        rows = self._rows(tokenised, progress if len(tokenised.ids) == len(unit) else None, alone=alone)
        if not np.isfinite(rows).all():
            owner = places[tokenised.owners[int(np.argmin(np.isfinite(rows).all(axis=1)))]]
            raise EngineError(
                f"the {self.engine.name} engine gave a vector that is not finite for text {owner}: its weights may be damaged"
            )
        if self._normalised:
            rows = vectors.normalise(rows)
        if len(rows) > len(unit):
            rows = self._joined(rows, tokenised, len(unit))
            progress(len(unit))
        out[list(unit)] = rows
        if self._overlong != "truncate":
            return Cut()
        limit = self.tokenizer.max_seq_length
        beyond = [tokens - limit for tokens in tokenised.tokens if tokens > limit]
        return Cut(len(beyond), sum(beyond))

    def _rows(self, tokenised: Tokenised, progress: Progress | None, *, alone: bool) -> NDArray[np.float32]:
        """A raw vector for each row of ids."""
        engine = self.engine
        rows = np.empty((len(tokenised.ids), engine.dimension), dtype=np.float32)
        lengths = [len(ids) for ids in tokenised.ids]
        for batch in batching.plan_batches(lengths, engine.max_batch_tokens, multiple=engine.width_multiple):
            rows[batch] = engine.pooled([tokenised.ids[i] for i in batch], alone=alone)
            if progress is not None:
                progress(len(batch))
        return rows

    def _joined(self, rows: NDArray[np.float32], tokenised: Tokenised, n_texts: int) -> NDArray[np.float32]:
        """Windows of one text → one vector: their mean, weighted by tokens, so a short last window counts for little."""
        weights = np.array([len(ids) for ids in tokenised.ids], dtype=np.float32)
        joined = np.zeros((n_texts, rows.shape[1]), dtype=np.float32)
        total = np.zeros(n_texts, dtype=np.float32)
        np.add.at(joined, tokenised.owners, rows * weights[:, None])
        np.add.at(total, tokenised.owners, weights)
        joined /= total[:, None]
        return vectors.normalise(joined) if self._normalised else joined

    def _run_side_by_side(self, run: Callable[[list[int]], Cut], units: Iterable[list[int]]) -> list[Cut]:
        """Run units on as many threads as the engine takes; the first error stops the rest."""
        pending, lock, stop = iter(units), threading.Lock(), threading.Event()

        def work() -> list[Cut]:
            done = []
            while not stop.is_set():
                with lock:
                    unit = next(pending, None)
                if unit is None:
                    break
                done.append(run(unit))
            return done

        futures = [self._threads().submit(work) for _ in range(self.engine.concurrency)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:  # also when the caller presses Ctrl-C while waiting
            stop.set()
        return [cut for future in futures for cut in future.result()]

    def _threads(self) -> ThreadPoolExecutor:
        with self._pool_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.engine.concurrency, thread_name_prefix="medembed")
            return self._pool

    def close(self) -> None:
        """Stop the threads and the engine."""
        with self._pool_lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
        self.engine.close()
