"""How close the vectors come to those of sentence-transformers in fp32, text by text."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.report import Claim, Result
from tests.benchmarks.runner import Setting, Worker
from tests.benchmarks.sizes import Size

REFERENCE = "st-fp32"
BUNDLED = "medembed-bundled"
OURS = ("medembed-fp32", "medembed-bf16", "medembed-int8", BUNDLED)
# BGE's query instruction: longer than most queries, so a prompt that got lost would show at once.
PROMPT = "Represent this sentence for searching relevant passages: "
LEAST = {  # mean and minimum that were promised
    "medembed-fp32": (0.99999, 0.99999),
    "medembed-bf16": (0.9999, 0.9995),
}
# The weights are stored in 8 and 16 bits, and computed in the precision that "auto" chooses.
LEAST_BUNDLED_MEAN = 0.9995

Floats = NDArray[np.float32]


def fidelity(size: Size, engines: Sequence[str] = ()) -> Result:
    """Cosine to the reference: mean and cls pooling, passages and queries, with and without a prompt; alone or in a batch."""
    names = tuple(engines or OURS)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in ("minilm", "minilm-cls", "mini"):
            # the bundled weights are those of "mini", and no other model's
            compared = [name for name in names if (name == BUNDLED) == (model == "mini")]
            if not compared:
                continue
            reference = _vectors(REFERENCE, model, size.fidelity, Path(scratch))
            for name in compared:
                ours = _vectors(name, model, size.fidelity, Path(scratch))
                rows.append(
                    {"engine": name, "pooling": "cls" if "cls" in model else "mean", **_compare(ours, reference)}
                )
    settings = {"model": "minilm", "reference": REFERENCE, "passages": size.fidelity, "queries": 2 * size.fidelity}
    title = "cosine to sentence-transformers in fp32"
    return Result("fidelity", title, settings, rows, [claim for row in rows for claim in _claims(row)])


def _vectors(engine: str, model: str, n: int, scratch: Path) -> dict[str, Floats]:
    """Every vector of one engine: passages, queries with and without a prompt, and queries one by one."""
    jobs: dict[str, dict[str, Any]] = {
        "passages": {"do": "encode", "kind": "passages", "n": n},
        "queries": {"do": "encode", "kind": "queries", "n": n},
        "prompted": {"do": "encode", "kind": "queries", "n": n, "prompt": PROMPT},
        "alone": {"do": "one_by_one", "kind": "passages", "n": n},
    }
    found = {}
    with Worker(engine, Setting(model=model)) as worker:
        for what, job in jobs.items():
            worker.ask(**job, save=str(scratch / "vectors.npy"))
            found[what] = np.load(scratch / "vectors.npy")
    return found


def _compare(ours: dict[str, Floats], reference: dict[str, Floats]) -> dict[str, float]:
    found = {what: cosines(ours[what], reference[what]) for what in ("passages", "queries", "prompted")}
    everything = np.concatenate(list(found.values()))
    return {
        "passages": float(found["passages"].mean()),
        "queries": float(found["queries"].mean()),
        "with prompt": float(found["prompted"].mean()),
        "mean": float(everything.mean()),
        "minimum": float(everything.min()),
        "alone or in a batch": float(cosines(ours["alone"], ours["passages"]).min()),
    }


def cosines(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Row by row, in double precision: at 0.99999 the rounding of float32 would show."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    found: NDArray[np.float64] = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    return found


def _claims(row: dict[str, Any]) -> list[Claim]:
    name = f"{row['engine']}, {row['pooling']} pooling"
    claims = []
    if row["engine"] in LEAST:
        mean, minimum = LEAST[row["engine"]]
        claims += [
            Claim(f"{name}: mean cosine", row["mean"], at_least=mean),
            Claim(f"{name}: minimum cosine", row["minimum"], at_least=minimum),
        ]
    if row["engine"] == BUNDLED:
        claims += [Claim(f"{name}: mean cosine", row["mean"], at_least=LEAST_BUNDLED_MEAN)]
    if row["engine"] != "medembed-int8":
        claims += [Claim(f"{name}: alone or in a batch, minimum", row["alone or in a batch"], at_least=0.9999)]
    return claims
