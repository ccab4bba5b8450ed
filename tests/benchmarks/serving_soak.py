"""`python -m tests.benchmarks.serving soak`: ten minutes of mixed load on `medembed serve`, then four times what it manages.

Clients send passages, queries and searches of a corpus of the same passages, to the bundled model. Memory is looked at every two seconds.
"""

import asyncio
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2 as httpx

from tests.benchmarks import serving, texts
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.serving import OVERLOAD, PASSAGES_A_REQUEST, Clients, Load, Side

PORT = 8421
BULK, ASKING, SEARCHING = 12, 2, 2
LOOK_S = 2.0
# of the whole time: load that memory grows by at first, and the overload at the end
WARM_SHARE, OVER_SHARE = 0.1, 0.2
# what waits is refused above 10 s; a request itself takes less than two
WAIT_S, ANSWER_S = 10.0, 2.0


@dataclass
class Memory:
    """Resident memory over time, in MiB."""

    seen: list[float] = field(default_factory=list)

    async def watch(self, side: Side) -> None:
        """Look again and again."""
        while True:
            self.seen.append(side.memory_mb())
            await asyncio.sleep(LOOK_S)

    def moved_percent(self) -> float:
        """How far the median of the last fifth lies from that of the first, in percent."""
        fifth = max(1, len(self.seen) // 5)
        return 100 * (statistics.median(self.seen[-fifth:]) / statistics.median(self.seen[:fifth]) - 1)


class Searches:
    """Clients that search.

    Args:
        side: The server.
        queries: What they search for.
    """

    def __init__(self, side: Side, queries: list[str]) -> None:
        """Open no connection yet."""
        self._address, self._queries, self._turn = f"{side.address}/v1/search", queries, itertools.count()

    async def closed(self, clients: int, seconds: float) -> Load:
        """Clients that each send the next search when the last is answered."""
        load, started_at = Load(), time.perf_counter()
        async with httpx.AsyncClient(timeout=120) as client:

            async def one() -> None:
                while time.perf_counter() - started_at < seconds:
                    query = self._queries[next(self._turn) % len(self._queries)]
                    begun = time.perf_counter()
                    answer = await client.post(self._address, json={"query": query, "k": 10})
                    load.statuses[answer.status_code] += 1
                    if answer.status_code == 200 and len(answer.json()["results"][0]["hits"]) == 10:
                        load.seconds.append(time.perf_counter() - begun)
                        load.answered.append((time.perf_counter(), 1))

            await asyncio.gather(*(one() for _ in range(clients)))
        return load


async def measure(side: Side, given: list[str], queries: list[str], seconds: float) -> dict[str, Any]:
    """All of it on one server."""
    clients, searches = Clients(side, given, queries), Searches(side, queries)

    async def mixed(so_long: float) -> list[Load]:
        loads: list[Awaitable[Load]] = [
            clients.closed(BULK, PASSAGES_A_REQUEST, so_long),
            *(clients.queries(so_long) for _ in range(ASKING)),
            searches.closed(SEARCHING, so_long),
        ]
        return list(await asyncio.gather(*loads))

    await mixed(WARM_SHARE * seconds)
    memory, peak = await watched(side, lambda: mixed((1 - WARM_SHARE - OVER_SHARE) * seconds))
    bulk, *asked, searched = peak
    rate = OVERLOAD * bulk.rate / PASSAGES_A_REQUEST
    _, over = await watched(side, lambda: clients.open(rate, PASSAGES_A_REQUEST, OVER_SHARE * seconds))
    after, _ = await watched(side, lambda: mixed(max(2 * LOOK_S, 0.05 * seconds)))
    statuses: Counter[int] = sum((load.statuses for load in peak), Counter())
    first = statistics.median(memory.seen[: max(1, len(memory.seen) // 5)])
    return {
        "requests": sum(statuses.values()),
        "not answered": sum(statuses.values()) - statuses[200] + searched.statuses[200] - len(searched.answered),
        "passages/s": bulk.rate,
        "query p99 ms": max(load.percentile_ms(99) for load in asked),
        "search p99 ms": searched.percentile_ms(99),
        "memory MiB": first,
        "memory moved %": memory.moved_percent(),
        "memory after overload %": 100 * (statistics.median(after.seen) / first - 1),
        "4x: answered": over.statuses[200],
        "4x: 429": over.statuses[429],
        "4x: 503": over.statuses[503],
        "4x: failed": sum(over.statuses.values()) - sum(over.statuses[code] for code in (200, 429, 503)),
        "4x p99 s": over.percentile_ms(99) / 1000,
    }


async def watched(side: Side, work: Callable[[], Awaitable[Any]]) -> tuple[Memory, Any]:
    """The memory during some work, and what it gives."""
    memory = Memory()
    watching = asyncio.create_task(memory.watch(side))
    try:
        return memory, await work()
    finally:
        watching.cancel()


def corpus(folder: Path, given: list[str]) -> Path:
    """A corpus of the passages."""
    from medembed import EmbeddedCorpus, MedEmbed

    with MedEmbed() as model:
        EmbeddedCorpus.build(folder, [{"id": str(i), "text": text} for i, text in enumerate(given)], model)
    return folder


def run(seconds: float, passages: int, threads: int) -> Result:
    """The soak."""
    given, queries = texts.load("passages", passages), texts.load("queries", 500)
    with tempfile.TemporaryDirectory() as folder:
        notes = corpus(Path(folder) / "notes", given)
        command = [sys.executable, "-m", "medembed", "serve", "mini", "--corpus", str(notes), "--threads", str(threads)]
        with serving.started("medembed", [*command, "--port", "PORT"], PORT) as side:
            row = asyncio.run(measure(side, given, queries, seconds))
    claims = [
        Claim("requests not answered", float(row["not answered"]), at_most=0),
        Claim("memory moved, %, either way", abs(row["memory moved %"]), at_most=5),
        Claim("memory after four times the load, %", row["memory after overload %"], at_most=5),
        Claim("four times the load: refused with 429", float(row["4x: 429"]), at_least=1),
        Claim("four times the load: failed", float(row["4x: failed"]), at_most=0),
        Claim("four times the load: p99 of what was answered, s", row["4x p99 s"], at_most=WAIT_S + ANSWER_S),
    ]
    settings = {"seconds": seconds, "threads": threads, "passages": passages, "clients": BULK + ASKING + SEARCHING}
    known = {package: version(package) for package in ("medembed", "uvicorn", "starlette", "openvino")}
    return Result("serving-soak", "Mixed load on one server", settings, [row], claims, None, {"all": known})


def start_seconds(threads: int, rounds: int = 5) -> list[float]:
    """Seconds from starting `medembed serve` with the bundled model to the first 200 of `/health`, of each round."""
    command = [sys.executable, "-m", "medembed", "serve", "mini", "--threads", str(threads), "--port", str(PORT)]
    found = []
    for number in range(rounds + 1):
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _until_healthy(process)
            if number:  # the first reads the files from the disk
                found.append(time.perf_counter() - begun)
        finally:
            process.terminate()
            process.wait(60)
    return found


def _until_healthy(process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{PORT}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.005)
    raise RuntimeError("the server ended before it answered")
