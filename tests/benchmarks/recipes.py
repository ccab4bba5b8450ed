"""What the recipes promise of speed and memory: each program in a fresh process, several times, medians."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import psutil

from tests.benchmarks import models
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.runner import BenchmarkError, busy_s
from tests.benchmarks.sizes import Size


def extractive(size: Size, _engines: Sequence[str] = ()) -> Result:
    """Pairs a second of the default writer."""
    found = _repeated("recipes_extractive", size.recipe_rounds)
    claims = [Claim("extractive writer, pairs/s of one core", found.median("pairs_per_s"), at_least=5000)]
    return _result("recipes-extractive", "notes → pairs by rule", found, claims)


def mining(size: Size, _engines: Sequence[str] = ()) -> Result:
    """Time and peak memory of mining, beyond encoding."""
    found = _repeated("recipes_mining", size.recipe_rounds, *map(str, size.mined))
    claims = [
        Claim("mining beyond encoding, seconds", found.median("seconds"), at_most=120),
        Claim("peak memory while mining, GiB", found.median("peak_gib"), at_most=2),
    ]
    return _result("recipes-mining", f"{size.mined[0]:,} queries × {size.mined[1]:,} passages", found, claims)


def endpoint(size: Size, _engines: Sequence[str] = ()) -> Result:
    """Share of an echo server's capacity that the endpoint writer uses."""
    found = _repeated("recipes_endpoint", size.recipe_rounds, str(size.echo_delay_s))
    claims = [Claim("endpoint writer at concurrency 64, share of the server busy", found.median("busy"), at_least=0.9)]
    return _result("recipes-endpoint", "64 at once on an echo server", found, claims)


def training(size: Size, _engines: Sequence[str] = ()) -> Result:
    """Training speed beside SentenceTransformerTrainer's defaults, in turn, each run in a process of its own."""
    found = _repeated("recipes_training", 1, str(size.train_steps), "2", str(size.recipe_rounds))
    claims = [
        Claim("training MiniLM at 128 tokens, batch 64, pairs/s", found.median("recipe"), at_least=30),
        Claim("times SentenceTransformerTrainer's defaults", found.median("ratio"), at_least=1.0),
    ]
    return _result("recipes-training", "the recipe's trainer beside the library's defaults", found, claims)


def overhead(size: Size, _engines: Sequence[str] = ()) -> Result:
    """What the pipeline itself costs: fingerprints, hashes, manifests, locks, logs."""
    found = _repeated("recipes_overhead", size.recipe_rounds)
    claims = [
        Claim("first run, seconds beside the stages' own work", found.median("first_s"), at_most=2),
        Claim("a run with nothing to do, seconds", found.median("again_s"), at_most=2),
    ]
    return _result("recipes-overhead", "the recipe tiny, shrunken", found, claims)


@dataclass(frozen=True)
class Runs:
    """What a program said each time, and the most that other processes took of the machine meanwhile, 0 to 1."""

    answers: list[dict[str, Any]]
    other_load: float

    def median(self, key: str) -> float:
        """Of one figure over all runs."""
        return float(median(answer[key] for answer in self.answers))


def _repeated(program: str, rounds: int, *arguments: str) -> Runs:
    command = [sys.executable, "-m", f"tests.benchmarks.{program}", *arguments]
    answers: list[dict[str, Any]] = []
    loads: list[float] = []
    for _ in range(rounds):
        busy, own, started = busy_s(), _children_s(), time.perf_counter()
        done = subprocess.run(command, cwd=models.ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchmarkError(f"{program} failed:\n{done.stderr[-2000:]}")
        others = (busy_s() - busy) - (_children_s() - own)
        loads.append(max(0.0, others) / (time.perf_counter() - started) / (psutil.cpu_count() or 1))
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    return Runs(answers, round(max(loads), 3))


def _children_s() -> float:
    """CPU seconds of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _result(name: str, title: str, found: Runs, claims: list[Claim]) -> Result:
    numbers = [key for key, value in found.answers[0].items() if isinstance(value, int | float)]
    rounds = len(found.answers)
    row = {"runs": rounds, **{key: found.median(key) for key in numbers}}
    return Result(name, title, {"rounds": rounds}, [row], claims, found.other_load, raw={"runs": found.answers})
