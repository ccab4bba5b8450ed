"""What the recipes promise of speed and memory: each program in a fresh process, several times, medians."""

import json
import subprocess
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

from tests.benchmarks import models
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.sizes import Size


def extractive(size: Size, _engines: Sequence[str] = ()) -> Result:
    """Pairs a second of the default writer."""
    found = _repeated("recipes_extractive", size.recipe_rounds)
    claims = [Claim("extractive writer, pairs/s of one core", _median(found, "pairs_per_s"), at_least=5000)]
    return _result("recipes-extractive", "notes → pairs by rule", found, claims)


def mining(size: Size, _engines: Sequence[str] = ()) -> Result:
    """Time and peak memory of mining, beyond encoding."""
    found = _repeated("recipes_mining", size.recipe_rounds, *map(str, size.mined))
    claims = [
        Claim("mining beyond encoding, seconds", _median(found, "seconds"), at_most=120),
        Claim("peak memory while mining, GiB", _median(found, "peak_gib"), at_most=2),
    ]
    return _result("recipes-mining", f"{size.mined[0]:,} queries × {size.mined[1]:,} passages", found, claims)


def endpoint(size: Size, _engines: Sequence[str] = ()) -> Result:
    """Share of an echo server's capacity that the endpoint writer uses."""
    found = _repeated("recipes_endpoint", size.recipe_rounds, str(size.echo_delay_s))
    claims = [
        Claim("endpoint writer at concurrency 64, share of the server busy", _median(found, "busy"), at_least=0.9)
    ]
    return _result("recipes-endpoint", "64 at once on an echo server", found, claims)


def training(size: Size, _engines: Sequence[str] = ()) -> Result:
    """Training speed beside SentenceTransformerTrainer's defaults, in turn in one process."""
    found = _repeated("recipes_training", 1, str(size.train_steps), "2", str(size.recipe_rounds))
    claims = [
        Claim("training MiniLM at 128 tokens, batch 64, pairs/s", _median(found, "recipe"), at_least=30),
        Claim("times SentenceTransformerTrainer's defaults", found[0]["ratio"], at_least=1.0),
    ]
    return _result("recipes-training", "the recipe's trainer beside the library's defaults", found, claims)


def overhead(size: Size, _engines: Sequence[str] = ()) -> Result:
    """What the pipeline itself costs: fingerprints, hashes, manifests, locks, logs."""
    found = _repeated("recipes_overhead", size.recipe_rounds)
    claims = [
        Claim("first run, seconds beside the stages' own work", _median(found, "first_s"), at_most=2),
        Claim("a run with nothing to do, seconds", _median(found, "again_s"), at_most=2),
    ]
    return _result("recipes-overhead", "the recipe tiny, shrunken", found, claims)


def _repeated(program: str, rounds: int, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", f"tests.benchmarks.{program}", *arguments]
    answers: list[dict[str, Any]] = []
    for _ in range(rounds):
        done = subprocess.run(command, cwd=models.ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{done.stderr[-2000:]}")
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    return answers


def _median(found: list[dict[str, Any]], key: str) -> float:
    return float(median(item[key] for item in found))


def _result(name: str, title: str, found: list[dict[str, Any]], claims: list[Claim]) -> Result:
    numbers = [key for key, value in found[0].items() if isinstance(value, int | float)]
    row = {"runs": len(found), **{key: _median(found, key) for key in numbers}}
    return Result(name, title, {"rounds": len(found)}, [row], claims, raw={"runs": found})
