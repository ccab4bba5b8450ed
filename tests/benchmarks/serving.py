"""`python -m tests.benchmarks.serving`: the server beside sentence-transformers behind FastAPI, and infinity where INFINITY names its program.

`make bench-serve` is the same in the environment it needs. Every side serves the same weights on the same machine in the same run, in turn.
The load comes from this process: a closed loop of 32 clients, then a query alone, then a query beside clients that send passages, then four
times what the server manages.
"""

import argparse
import asyncio
import datetime as dt
import itertools
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import psutil
from rich.console import Console

from tests.benchmarks import machine, models, report, texts
from tests.benchmarks.report import Claim, Result

CLIENTS, BULK_CLIENTS = 32, 4
PASSAGES_A_REQUEST, BULK_PASSAGES = 8, 64
OVERLOAD = 4
# share of a closed loop in which requests begin to overlap
RAMP = 0.1
READY_S = 300
SOAK_S = 600.0
PACKAGES = ("medembed", "uvicorn", "starlette", "fastapi", "sentence-transformers", "torch", "openvino")


@dataclass(frozen=True)
class Amounts:
    """Seconds of each measurement, texts to choose from, and threads of every side."""

    seconds: float = 20.0
    passages: int = 2000
    threads: int = 2


@dataclass(frozen=True)
class Side:
    """A server that runs."""

    name: str
    address: str
    process: psutil.Process

    def memory_mb(self) -> float:
        """Resident memory of it and its children."""
        every = [self.process, *self.process.children(recursive=True)]
        return float(sum(one.memory_info().rss for one in every)) / 2**20


def commands(folder: Path, threads: int) -> dict[str, list[str]]:
    """The command of each side; PORT stands for its port."""
    python = sys.executable
    sides = {
        "medembed": [python, "-m", "medembed", "serve", str(folder), "--port", "PORT", "--threads", str(threads)],
        "sentence-transformers": [python, "-m", "tests.benchmarks.serving_peer", str(folder), "PORT", str(threads)],
    }
    if infinity := os.environ.get("INFINITY"):
        sides["infinity"] = [
            infinity, "v2", "--model-id", str(folder), "--port", "PORT", "--device", "cpu", "--url-prefix", "/v1",
            "--no-model-warmup",
        ]  # fmt: skip
    return sides


@contextmanager
def started(name: str, command: Sequence[str], port: int) -> Iterator[Side]:
    """A side that answers, until the end of the block."""
    words = [word.replace("PORT", str(port)) for word in command]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{address}/v1/embeddings", process)
        yield Side(name, address, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(60)


def _wait(address: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.post(address, json=body(["pain"]), timeout=30).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError(f"{address} does not answer")


def body(some: Sequence[str]) -> dict[str, Any]:
    """A request that every side takes."""
    return {"input": list(some), "model": ""}


@dataclass
class Load:
    """What clients saw: statuses, seconds of what was answered, and when how many texts were.

    The rate is that between two moments of the clock, ``within``: at both ends fewer requests are under way.
    """

    statuses: "Counter[int]" = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    answered: list[tuple[float, int]] = field(default_factory=list)
    within: tuple[float, float] = (0.0, 0.0)

    def percentile_ms(self, share: float) -> float:
        """A percentile of what was answered, in milliseconds."""
        return float(np.percentile(self.seconds, share) * 1000) if self.seconds else float("nan")

    @property
    def rate(self) -> float:
        """Texts a second, between the last answers before each bound: a batch answers its requests at once."""
        first, last = (
            max((moment for moment, _ in self.answered if moment < bound), default=bound) for bound in self.within
        )
        n_texts = sum(count for moment, count in self.answered if first < moment <= last)
        return n_texts / (last - first) if last > first else 0.0


class Clients:
    """Clients of one side.

    Args:
        side: The server.
        given: Passages to send.
        queries: Queries to send.
    """

    def __init__(self, side: Side, given: Sequence[str], queries: Sequence[str]) -> None:
        """Open no connection yet."""
        self._address, self._given, self._queries = f"{side.address}/v1/embeddings", given, queries
        self._turn = itertools.count()

    def _passages(self, count: int) -> dict[str, Any]:
        start = next(self._turn) * count
        return body([self._given[(start + i) % len(self._given)] for i in range(count)])

    async def closed(self, clients: int, count: int, seconds: float) -> Load:
        """Clients that each send the next request when the last is answered."""
        started_at = time.perf_counter()
        load = Load(within=(started_at + RAMP * seconds, started_at + seconds))
        async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:

            async def one() -> None:
                while time.perf_counter() - started_at < seconds:
                    await self._send(client, self._passages(count), count, load)

            await asyncio.gather(*(one() for _ in range(clients)))
        return load

    async def queries(self, seconds: float) -> Load:
        """One client that sends a query at a time."""
        load, started_at = Load(), time.perf_counter()
        async with httpx.AsyncClient(timeout=120) as client:
            for number in itertools.count():
                if time.perf_counter() - started_at >= seconds:
                    break
                await self._send(client, body([self._queries[number % len(self._queries)]]), 1, load)
        return load

    async def beside_bulk(self, seconds: float) -> Load:
        """The same while other clients send passages."""
        bulk = asyncio.create_task(self.closed(BULK_CLIENTS, BULK_PASSAGES, seconds + 2))
        await asyncio.sleep(1)
        load = await self.queries(seconds)
        await bulk
        return load

    async def open(self, requests_a_second: float, count: int, seconds: float) -> Load:
        """Requests at a rate, whether or not earlier ones are answered."""
        load, started_at, sent = Load(), time.perf_counter(), 0
        async with (
            httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client,
            asyncio.TaskGroup() as group,
        ):
            while (passed := time.perf_counter() - started_at) < seconds:
                while sent < passed * requests_a_second:
                    group.create_task(self._send(client, self._passages(count), count, load))
                    sent += 1
                await asyncio.sleep(0.005)
        return load

    async def _send(self, client: httpx.AsyncClient, content: dict[str, Any], count: int, load: Load) -> None:
        begun = time.perf_counter()
        try:
            answer = await client.post(self._address, json=content)
        except httpx.HTTPError:
            load.statuses[0] += 1
            return
        load.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            ended = time.perf_counter()
            load.seconds.append(ended - begun)
            load.answered.append((ended, count))


def alone(folder: Path, given: Sequence[str], queries: Sequence[str], threads: int) -> dict[str, float]:
    """What one process reaches without a server: passages a second of encode, and the median of a query."""
    from medembed import MedEmbed

    with MedEmbed(folder, threads=threads) as model:
        model.encode_counted(list(given[:200]), show_progress_bar=False)
        begun = time.perf_counter()
        model.encode_counted(list(given), show_progress_bar=False)
        rate = len(given) / (time.perf_counter() - begun)
        seconds = []
        for query in queries[:300]:
            begun = time.perf_counter()
            model.encode(query)
            seconds.append(time.perf_counter() - begun)
    return {"rate": rate, "query_ms": float(np.median(seconds) * 1000)}


async def measure(side: Side, given: Sequence[str], queries: Sequence[str], seconds: float) -> dict[str, Any]:
    """Every measurement of one side."""
    clients = Clients(side, given, queries)
    await clients.closed(4, PASSAGES_A_REQUEST, 2)
    before = side.memory_mb()
    full = await clients.closed(CLIENTS, PASSAGES_A_REQUEST, seconds)
    after = side.memory_mb()
    query = await clients.queries(min(10, seconds))
    beside = await clients.beside_bulk(seconds)
    over = await clients.open(OVERLOAD * full.rate / PASSAGES_A_REQUEST, PASSAGES_A_REQUEST, min(10, seconds))
    return {
        "engine": side.name,
        "passages/s": full.rate,
        "errors": sum(full.statuses.values()) - full.statuses[200],
        "query p50 ms": query.percentile_ms(50),
        "query p99 ms": query.percentile_ms(99),
        "beside bulk p50 ms": beside.percentile_ms(50),
        "beside bulk p99 ms": beside.percentile_ms(99),
        "4x: answered": over.statuses[200],
        "4x: refused": over.statuses[429] + over.statuses[503],
        "4x: failed": sum(over.statuses.values()) - over.statuses[200] - over.statuses[429] - over.statuses[503],
        "4x p99 ms": over.percentile_ms(99),
        "memory grown %": 100 * (after / before - 1),
    }


def run(amounts: Amounts) -> Result:
    """All sides in turn."""
    folder = models.folder("minilm")
    given, queries = texts.load("passages", amounts.passages), texts.load("queries", 500)
    own = alone(folder, given, queries, amounts.threads)
    rows = []
    for port, (name, command) in enumerate(commands(folder, amounts.threads).items(), 8401):
        with started(name, command, port) as side:
            rows.append(asyncio.run(measure(side, given, queries, amounts.seconds)))
    again = alone(folder, given, queries, amounts.threads)
    own = {what: (value + again[what]) / 2 for what, value in own.items()}
    by_name = {row["engine"]: row for row in rows}
    ours = by_name["medembed"]
    claims = [
        *(
            Claim(
                f"passages a second at {CLIENTS} clients, times {name}",
                ours["passages/s"] / row["passages/s"],
                at_least=3,
            )
            for name, row in by_name.items()
            if name != "medembed"
        ),
        Claim("share of encode's passages a second", ours["passages/s"] / own["rate"], at_least=0.95),
        Claim("a query's p50 above encode's, ms", ours["query p50 ms"] - own["query_ms"], at_most=2),
        Claim(
            "a query's p99 beside bulk, times its p50 alone",
            ours["beside bulk p99 ms"] / ours["query p50 ms"],
            at_most=5,
        ),
        Claim("errors at full load", float(ours["errors"]), at_most=0),
        Claim("failures at four times the load", float(ours["4x: failed"]), at_most=0),
        Claim("growth of memory at full load, %", ours["memory grown %"], at_most=5),
    ]
    settings = {
        "seconds": amounts.seconds,
        "threads": amounts.threads,
        "passages": amounts.passages,
        "clients": CLIENTS,
    }
    title = "HTTP servers of the same weights under load"
    known = {package: version(package) for package in PACKAGES}
    return Result("serving", title, settings, rows, claims, None, {"all": known}, {"encode": own})


def _measured(options: argparse.Namespace) -> Result:
    # it imports what stands here
    from tests.benchmarks import serving_soak

    if options.what == "soak":
        return serving_soak.run(options.seconds or SOAK_S, options.passages, options.threads)
    result = run(Amounts(options.seconds or Amounts.seconds, options.passages, options.threads))
    starts = serving_soak.start_seconds(options.threads)
    result.claims.append(
        Claim("from starting the server to its first 200 of /health, seconds", float(np.median(starts)), at_most=2)
    )
    result.raw["start s"] = starts
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show and write; 0 also where a floor is not met, as that is a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.serving", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["peers", "soak"], default="peers")
    parser.add_argument(
        "--seconds", type=float, help=f"of each measurement, {Amounts.seconds:g}; of the whole soak, {SOAK_S:g}"
    )
    parser.add_argument("--passages", type=int, default=Amounts.passages)
    parser.add_argument("--threads", type=int, default=Amounts.threads)
    parser.add_argument("--quick", action="store_true", help="writes nothing unless --out is given")
    parser.add_argument("--out", type=Path, help="write results here instead of the committed folder")
    options = parser.parse_args(arguments)
    result = _measured(options)
    console = Console(width=200)
    console.print(f"machine: {', '.join(f'{key} {value}' for key, value in machine.describe().items())}\n")
    report.show(result, console)
    results = options.out or (None if options.quick else report.RESULTS)
    if results is not None:
        given = sys.argv[1:] if arguments is None else arguments
        command = f"python -m tests.benchmarks.serving {shlex.join(given)}".strip()
        console.print(report.write(result, command, dt.datetime.now(dt.UTC).isoformat("T", "seconds"), results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
