"""Throughput and latency: every engine encodes the same texts, in turn."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks import texts
from tests.benchmarks.fidelity import cosines
from tests.benchmarks.models import folder
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.runner import Rounds, Setting, in_turn
from tests.benchmarks.sizes import Size

DEFAULT = "st-fp32"  # what a user of sentence-transformers gets without choosing anything
OURS = "medembed"
ALL = (DEFAULT, "st-bf16", "st-onnx", "st-openvino", "fastembed", OURS, "medembed-fp32", "medembed-int8")
FEW = (DEFAULT, "st-openvino", OURS)
KERNELS = "medembed-kernels"


def passages(size: Size, engines: Sequence[str] = ()) -> Result:
    """Long-tailed passages through MiniLM."""
    floors = {DEFAULT: 4.0, "st-openvino": 1.4}
    return _throughput("passages", "passages", size.passages, Setting(), engines or ALL, size.rounds, floors)


def queries(size: Size, engines: Sequence[str] = ()) -> Result:
    """Short queries in one batch through MiniLM."""
    floors = {DEFAULT: 3.8, "st-openvino": 1.2}
    return _throughput("queries", "queries", size.queries, Setting(), engines or ALL, size.rounds, floors)


def kernels_passages(size: Size, engines: Sequence[str] = ()) -> Result:
    """Passages with the optional engine for AMX beside the one that is always there."""
    names = engines or (DEFAULT, OURS, KERNELS)
    return _throughput(
        "kernels-passages", "passages", size.passages, Setting(), names, size.rounds, {DEFAULT: 7.0}, KERNELS
    )


def kernels_queries(size: Size, engines: Sequence[str] = ()) -> Result:
    """Short queries with the same engines."""
    names = engines or (DEFAULT, OURS, KERNELS)
    return _throughput(
        "kernels-queries", "queries", size.queries, Setting(), names, size.rounds, {DEFAULT: 7.0}, KERNELS
    )


def bge_small(size: Size, engines: Sequence[str] = ()) -> Result:
    """Passages through bge-small's shape."""
    setting = Setting(model="bge-small")
    return _throughput(
        "bge-small", "passages", size.small_passages, setting, engines or FEW, size.rounds, {DEFAULT: 6.0}
    )


def bge_base(size: Size, engines: Sequence[str] = ()) -> Result:
    """Passages through bge-base's shape."""
    setting = Setting(model="bge-base")
    rounds = max(1, size.rounds - 2)  # half a minute each for the slowest
    return _throughput("bge-base", "passages", size.base_passages, setting, engines or FEW, rounds, {DEFAULT: 5.0})


def latency(size: Size, engines: Sequence[str] = ()) -> Result:
    """One query at a time through MiniLM, as a search service meets them."""
    names = tuple(engines or ALL)
    rounds = in_turn(names, Setting(), size.rounds, do="one_by_one", kind="queries", n=size.singles)
    each = {name: [_quantiles(answer["each_s"]) for answer in rounds.answers[name]] for name in names}
    rows = [
        {"engine": name, **{key: median(quantiles[key] for quantiles in each[name]) for key in each[name][0]}}
        | _against(DEFAULT, name, names, rounds)
        for name in names
    ]
    claims = []
    if {OURS, DEFAULT} <= set(names):
        shares = [ours["p50_ms"] / theirs["p50_ms"] for ours, theirs in zip(each[OURS], each[DEFAULT], strict=True)]
        claims = [Claim(f"one query, p50 as a share of {DEFAULT}'s", median(shares), at_most=0.45)]
    settings = {"model": "minilm", "queries": size.singles, "rounds": size.rounds, "threads": 2}
    return _result("latency", "one query at a time", settings, rows, claims, rounds)


def _throughput(
    name: str,
    kind: texts.Kind,
    n: int,
    setting: Setting,
    engines: Sequence[str],
    rounds: int,
    floors: dict[str, float],
    ours: str = OURS,
) -> Result:
    tokens = sum(texts.token_counts(folder(setting.model), kind, n))
    found = in_turn(engines, setting, rounds, do="encode", kind=kind, n=n)
    rows = []
    for engine in engines:
        seconds = found.seconds(engine)
        rows.append(
            {
                "engine": engine,
                "seconds": median(seconds),
                "spread": f"{min(seconds):.2f}–{max(seconds):.2f}",
                "texts/s": n / median(seconds),
                "tokens/s": tokens / median(seconds),
                **_against(DEFAULT, engine, engines, found),
                "peak MiB": found.answers[engine][-1]["peak_mib"],
            }
        )
    claims = [
        Claim(f"{name}: times {peer}'s speed", found.speedup(ours, peer), at_least=floor)
        for peer, floor in floors.items()
        if {ours, peer} <= set(engines)
    ]
    settings = {
        "model": setting.model, "texts": n, "tokens": tokens, "rounds": rounds, "threads": setting.threads,
        "max_seq_length": texts.MAX_SEQ_LENGTH,
    }  # fmt: skip
    return _result(name, f"{kind} in one call", settings, rows, claims, found)


def _against(base: str, engine: str, engines: Sequence[str], rounds: Rounds) -> dict[str, float]:
    if base not in engines:
        return {}
    cosine = cosines(rounds.vectors[engine], rounds.vectors[base])
    return {f"× {base}": rounds.speedup(engine, base), "cosine": float(cosine.mean())}


def _quantiles(seconds: list[float]) -> dict[str, float]:
    values: NDArray[np.float64] = np.percentile(seconds, [50, 95]) * 1000
    return {"p50_ms": float(values[0]), "p95_ms": float(values[1])}


def _result(
    name: str, title: str, settings: dict[str, Any], rows: list[dict[str, Any]], claims: list[Claim], rounds: Rounds
) -> Result:
    raw = {"seconds": {engine: rounds.seconds(engine) for engine in rounds.answers}}
    return Result(name, title, settings, rows, claims, rounds.other_load, rounds.versions, raw)
