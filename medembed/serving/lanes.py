"""Batches of two kinds: short texts, which somebody waits for, and the rest. Neither waits for the other."""

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from medembed.colbert.encoding import Role
from medembed.colbert.model import MedColBERT
from medembed.errors import RefusedError
from medembed.model import MedEmbed
from medembed.runtime.encoding import Cut, cut_of
from medembed.runtime.microbatch import MicroBatcher
from medembed.runtime.streams import CHARS_PER_TEXT, CHARS_PER_TOKEN
from medembed.runtime.tokenizer import Overlong
from medembed.serving.metrics import Metrics
from medembed.serving.settings import Limits

# a request of fewer tokens takes the short lane: medical queries have 8 to 24, a question to an assistant rarely 100
SHORT_TOKENS = 128
# tokens of a batch for each stream of an engine: half as many pad more and cost 4% of the rate; calls of many texts take turns by it
STREAM_TOKENS = 8192
# bulk batches at a time: the streams take up the next one's work while the last of one still runs
BULK_RUNS = 2
# share of the newest batch in the rate that is remembered
NEWEST = 0.2
# Steps of priority that bulk threads stand below a query's: its p99 beside bulk fell from 20 to 13 ms, its p50 from 10 to 5.5 (AMX)
NICENESS = 10

Floats = NDArray[np.float32]
T = TypeVar("T")


class How(NamedTuple):
    """The way in which texts are encoded. Requests of one way share batches."""

    prompt_name: str | None
    overlong: Overlong
    dimension: int | None = None


class Counted(NamedTuple, Generic[T]):
    """What was encoded, and what it took.

    ``found`` has one result per text, ``tokens`` those read, ``cut`` what was left out.
    """

    found: list[T]
    tokens: int
    cut: Cut


class Lanes(Generic[T]):
    """Two queues in front of one model.

    Args:
        encode: Gives the results of a batch, and each text's tokens before anything was cut.
        limit: Tokens that the model reads of a text.
        streams: Batches that its engine computes at a time.
        limits: Bounds of the queue.
        metrics: Where waiting tokens and batches are counted.
        name: The model's part in metrics.
    """

    def __init__(
        self,
        encode: Callable[[list[str], How], tuple[Sequence[T], NDArray[np.int64]]],
        *,
        limit: int,
        streams: int,
        limits: Limits,
        metrics: Metrics,
        name: str,
    ) -> None:
        """No thread runs yet."""
        self._encode, self._limit, self._limits, self._metrics = encode, limit, limits, metrics
        self._threads = {
            "short": ThreadPoolExecutor(1, f"{name}-short"),
            "bulk": ThreadPoolExecutor(BULK_RUNS, f"{name}-bulk", give_way),
        }
        self._rate = 0.0
        self._names = {"short": f"{name}-short", "bulk": f"{name}-bulk"}
        self._batchers = {lane: self._batcher(lane, streams * STREAM_TOKENS) for lane in self._threads}

    def _batcher(self, lane: str, most: int) -> MicroBatcher[How, tuple[T, int]]:
        def run(texts: list[str], how: How) -> list[tuple[T, int]]:
            started = time.perf_counter()
            found, tokens = self._encode(texts, how)
            self._note(lane, sum(self.cost(text, how) for text in texts), time.perf_counter() - started)
            return list(zip(found, tokens.tolist(), strict=True))

        runs = BULK_RUNS if lane == "bulk" else 1
        return MicroBatcher(run, cost=self.cost, most=most, runs=runs, executor=self._threads[lane])

    def _note(self, lane: str, cost: int, seconds: float) -> None:
        self._metrics.batches.labels(self._names[lane]).inc()
        if lane == "bulk":  # short batches do not fill the machine
            rate = cost * BULK_RUNS / max(seconds, 1e-6)
            self._rate = rate if not self._rate else (1 - NEWEST) * self._rate + NEWEST * rate

    def cost(self, text: str, how: How) -> int:
        """Tokens of a text, estimated without looking at its words."""
        estimated = (len(text) + CHARS_PER_TEXT) // CHARS_PER_TOKEN
        return estimated if how.overlong == "chunk" else min(self._limit, estimated)

    def start(self, work: Callable[[], None]) -> None:
        """Do what starts an engine's threads in a thread of the bulk lane: they take over its priority."""
        self._threads["bulk"].submit(work).result()

    def report(self) -> None:
        """Tell the metrics how much waits."""
        for lane, batcher in self._batchers.items():
            self._metrics.queue.labels(self._names[lane]).set(batcher.waiting)

    def check_full(self) -> None:
        """Refuse any further request where the queue has no room at all, before its body is read.

        Raises:
            RefusedError: It is so.
        """
        if self._batchers["bulk"].waiting > self._limits.queue_tokens:
            self.check_room()

    def check_room(self) -> None:
        """Refuse more work where too much waits already.

        Raises:
            RefusedError: It does; the error says when to come again.
        """
        waiting = sum(batcher.waiting for batcher in self._batchers.values())
        ahead = waiting + self._batchers["bulk"].running
        seconds = ahead / self._rate if self._rate else 0.0
        if waiting > self._limits.queue_tokens or seconds > self._limits.queue_s:
            again = max(1, math.ceil(seconds - self._limits.queue_s / 2))
            raise RefusedError(
                429, "too much waits to be encoded: send this again after the seconds in Retry-After", again
            )

    async def __call__(self, texts: Sequence[str], how: How) -> Counted[T]:
        """Encode texts.

        Raises:
            RefusedError: More tokens than a request may have, or too much waits.
            MedEmbedError: As ``encode_counted``.
        """
        cost = sum(self.cost(text, how) for text in texts)
        if cost > self._limits.tokens:
            raise RefusedError(
                413,
                f"about {cost:,} tokens in one request; at most {self._limits.tokens:,} were expected: send fewer texts at a time",
            )
        lane = "short" if cost <= SHORT_TOKENS else "bulk"
        if lane == "bulk":
            self.check_room()
        pairs = await self._batchers[lane](texts, how)
        tokens = np.array([count for _, count in pairs], dtype=np.int64)
        whole = how.overlong != "truncate"
        read = tokens if whole else np.minimum(tokens, self._limit)
        return Counted([one for one, _ in pairs], int(read.sum()), Cut() if whole else cut_of(tokens, self._limit))

    def close(self) -> None:
        """Let the threads end."""
        for threads in self._threads.values():
            threads.shutdown(cancel_futures=True)


def give_way() -> None:
    """Let other threads go before the calling one and before those that it starts. Linux alone has a priority for each thread."""
    if sys.platform == "linux":
        os.nice(NICENESS)


def dense(model: MedEmbed, limits: Limits, metrics: Metrics) -> Lanes[Floats]:
    """Lanes that give one vector per text."""

    def encode(texts: list[str], how: How) -> tuple[list[Floats], NDArray[np.int64]]:
        encoded = model.encode_counted(
            texts,
            prompt_name=how.prompt_name,
            truncate_dim=how.dimension,
            overlong=how.overlong,
            show_progress_bar=False,
        )
        return list(encoded.vectors), encoded.tokens

    limit, streams = model.max_seq_length, model.concurrency
    return Lanes(encode, limit=limit, streams=streams, limits=limits, metrics=metrics, name="dense")


def late(model: MedColBERT, role: Role, limits: Limits, metrics: Metrics) -> Lanes[Floats]:
    """Lanes that give one array of token vectors per text.

    Args:
        model: What encodes.
        role: What the texts are.
        limits: Bounds of the queue.
        metrics: Where batches are counted.
    """

    def encode(texts: list[str], how: How) -> tuple[list[Floats], NDArray[np.int64]]:
        encoded = model.encode_counted(texts, role=role, overlong=how.overlong, show_progress_bar=False)
        return encoded.vectors, encoded.tokens

    limit = model.query_length if role == "query" else model.document_length
    return Lanes(encode, limit=limit, streams=model.concurrency, limits=limits, metrics=metrics, name=f"late-{role}")
