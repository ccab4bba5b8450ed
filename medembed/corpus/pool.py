"""Shards embedded by several processes of this machine. Each process has a model of its own."""

import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from medembed import workers as processes
from medembed.corpus import embed
from medembed.errors import CorpusError, SettingError
from medembed.model import MedEmbed
from medembed.runtime import hardware
from medembed.storage import shards
from medembed.storage.manifest import Manifest, Shard
from medembed.storage.shards import Job, Runner

# jobs waiting for each worker: the next one is there when it is done, and memory stays bounded
AHEAD = 2


def pooled(model: MedEmbed, workers: int, devices: Sequence[str] = ("auto",)) -> Runner:
    """A runner of several processes.

    Args:
        model: Whose settings each process starts a model with; texts are not embedded by this one.
        workers: How many.
        devices: Shared out in turn: ``["cuda:0", "cuda:1"]`` for two workers gives each a GPU. CPU workers share the cores.

    Returns:
        For :func:`medembed.corpus.embed.index`.

    Raises:
        SettingError: ``workers`` below 1.
    """
    if workers < 1:
        raise SettingError(f"workers={workers}: give at least 1")

    def run(jobs: Iterable[Job], folder: Path, manifest: Manifest[Any]) -> Iterator[Shard]:
        context = get_context("spawn")  # a fork would copy the threads' locks in whatever state they are
        queue = context.Queue()
        for number in range(workers):
            queue.put(devices[number % len(devices)])
        threads = max(1, hardware.usable_cores() // workers)
        settings = {**model.settings, "threads": model.settings["threads"] or threads}
        with ProcessPoolExecutor(workers, context, _start, (settings, queue, manifest, folder)) as pool:
            yield from _in_flight(pool, iter(jobs), workers * AHEAD)

    return run


def _in_flight(pool: ProcessPoolExecutor, jobs: Iterator[Job], most: int) -> Iterator[Shard]:
    pending: set[Future[Shard]] = set()
    more = True
    try:
        while more or pending:
            while more and len(pending) < most:
                job = next(jobs, None)
                more = job is not None
                if job is not None:
                    pending.add(pool.submit(_embed, job))
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise CorpusError(
            "a worker process ended by itself, perhaps for want of memory: run the same command again, with fewer --workers"
        ) from error
    finally:
        for future in pending:
            future.cancel()


_mine: dict[str, Any] = {}


def _start(settings: dict[str, Any], devices: Any, manifest: Manifest[Any], folder: Path) -> None:
    """Load the model of a worker. Ctrl-C reaches every process of a terminal: only the first one shall act on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.end_with_parent()
    _mine.update(model=MedEmbed(**{**settings, "device": devices.get()}), manifest=manifest, folder=folder)


def _embed(job: Job) -> Shard:
    encoded = embed.encode(_mine["model"], job, _mine["manifest"])
    return shards.made(_mine["folder"], job, encoded, _mine["manifest"])
