"""How much of the machine's own matrix rate an encoder reaches, measured in the same minute."""

import sys
import warnings
from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any

from medembed import MedEmbed, TruncationWarning
from medembed.checkpoints import checkpoint
from medembed.runtime.engines.bert_shape import BertShape
from medembed.runtime.engines.interface import Precision
from medembed.runtime.engines.matrix_rate import forward_operations, matrix_rate
from medembed.runtime.hardware import cpu_flags, cpu_has_bf16
from tests.benchmarks import models, texts
from tests.benchmarks.engines import KERNELS, kernels_run_here
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.sizes import Size

THREADS = 2
# tokens from which a text is a long one
LONG = 256
AMX = {"minilm": 0.4, "bge-base": 0.6}


def limit(size: Size, engines: Sequence[str] = ()) -> Result:
    """Forward passes of several shapes beside plain products of the same shape and number format.

    Args:
        size: Models, texts and rounds.
        engines: Not used: the rate of a machine has one engine.
    """
    rows: list[dict[str, Any]] = []
    raw: dict[str, Any] = {}
    for name, count in size.limit_models:
        for precision in precisions():
            rows += _rows(name, precision, count, size.rounds, raw)
    if kernels_run_here():
        sys.path.insert(0, str(KERNELS))  # last, as from here on they run every model in bf16
        for name, count in size.limit_models:
            rows += _rows(name, "bf16", count, size.rounds, raw, by=" kernels")
    return Result(
        "limit", "share of the machine's matrix rate", {"rounds": size.rounds, "threads": THREADS, **dict(size.limit_models)},
        rows, _claims(rows), None, {}, raw,
    )  # fmt: skip


def precisions() -> tuple[Precision, ...]:
    """The number formats that this CPU multiplies: bf16 only where it has units for it."""
    return ("fp32", "bf16", "int8") if cpu_has_bf16() else ("fp32", "int8")


def _rows(
    name: str, precision: Precision, count: int, rounds: int, raw: dict[str, Any], by: str = ""
) -> list[dict[str, Any]]:
    folder = models.folder(name)
    shape = BertShape(checkpoint.fetch(str(folder)).config)
    kinds = _texts(name, count)
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    limits: list[float] = []
    with warnings.catch_warnings(), MedEmbed(str(folder), precision=precision, threads=THREADS) as model:
        warnings.simplefilter("ignore", TruncationWarning)
        model.warm_up()
        for number in range(rounds + 1):
            limits.append(matrix_rate(shape, precision, THREADS, rounds=3))
            for kind, (some, _lengths) in kinds.items():
                started = perf_counter()
                model.encode_document(some)
                if number:  # the first round compiles
                    seconds[kind].append(perf_counter() - started)
    raw[f"{name} {precision}{by}"] = {"seconds": seconds, "limits": limits}
    highest = median(limits)
    result = []
    for kind, (_some, lengths) in kinds.items():
        rate = forward_operations(shape.hidden, shape.layers, shape.inner, lengths) / median(seconds[kind])
        row = {"engine": f"{name} {precision}{by}", "texts": kind, "tokens, mean": sum(lengths) / len(lengths)}
        result.append({**row, "GFLOP/s": rate / 1e9, "limit": highest / 1e9, "of the limit": rate / highest})
    return result


def _texts(name: str, count: int) -> dict[str, tuple[list[str], list[int]]]:
    """Texts of each kind, and the tokens that a model reads of each."""
    folder = models.folder(name)
    passages = texts.load("passages", 2048)
    lengths = texts.token_counts(folder, "passages", len(passages))
    long = [number for number, length in enumerate(lengths) if length >= LONG][:count]
    return {
        "short": (texts.load("queries", count * 4), texts.token_counts(folder, "queries", count * 4)),
        "mixed": (passages[:count], lengths[:count]),
        "long": ([passages[number] for number in long], [lengths[number] for number in long]),
    }


def _claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    mixed = {row["engine"]: row["of the limit"] for row in rows if row["texts"] == "mixed"}
    claims = [
        Claim(f"{name}: share of the limit", value, at_least=0.65)
        for name, value in mixed.items()
        if name.endswith(" int8")
    ]
    if "amx_bf16" in cpu_flags():
        claims += [
            Claim(f"{name} {engine}: share of the limit", mixed[f"{name} {engine}"], at_least=floor)
            for engine in ("bf16", "bf16 kernels")
            for name, floor in AMX.items()
            if f"{name} {engine}" in mixed
        ]
    return claims
