"""MaxSim: ours beside a loop in torch and sentence-transformers, in turn in one process, on two threads."""

import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.colbert.maxsim import maxsim
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.runner import Watch
from tests.benchmarks.sizes import Size

Floats = NDArray[np.float32]

DIMENSION, QUERY_TOKENS = 128, 32
# both numpy's and torch's; OMP_NUM_THREADS bounds numpy's from its import on
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
DOCUMENTS, LENGTHS = 100, (150, 250)
MANY_QUERIES = 50


def rerank(size: Size, engines: Sequence[str] = ()) -> Result:
    """One query with 100 documents of 200 tokens, which is reranking beyond encoding; and fifty queries with them."""
    import torch
    from sentence_transformers.util import maxsim as of_sentence_transformers

    del engines  # a comparison of functions, not of engines
    torch.set_num_threads(THREADS)
    rng = np.random.default_rng(0)
    lengths = rng.integers(LENGTHS[0], LENGTHS[1] + 1, DOCUMENTS).tolist()
    documents, queries = _rows(rng, lengths), _rows(rng, [QUERY_TOKENS] * MANY_QUERIES)
    tensors = [torch.from_numpy(row) for row in documents]

    def loop(asked: list[Floats]) -> Any:
        """What one would write: every query with every document."""
        as_tensors = [torch.from_numpy(query) for query in asked]
        scores = [[(query @ row.T).max(dim=1).values.sum() for row in tensors] for query in as_tensors]
        return torch.tensor(scores).numpy()

    sides: dict[str, Callable[[list[Floats]], Any]] = {
        "medembed": lambda asked: maxsim(asked, documents),
        "torch loop": loop,
        "sentence-transformers": lambda asked: of_sentence_transformers(
            [torch.from_numpy(query) for query in asked], tensors
        ).numpy(),
    }
    cases = {"1 query": queries[:1], f"{MANY_QUERIES} queries": queries}
    difference = max(
        float(np.abs(sides["medembed"](q) - side(q)).max()) for q in cases.values() for side in sides.values()
    )
    turns = {"1 query": 40 * size.rounds, f"{MANY_QUERIES} queries": size.rounds}
    watch = Watch()
    seconds = {case: _in_turn(sides, asked, turns[case]) for case, asked in cases.items()}
    others = watch.other_load()
    rows = [
        {"case": case, "of": name, "median ms": 1000 * median(spent), "fastest ms": 1000 * min(spent)}
        for case, of_case in seconds.items()
        for name, spent in of_case.items()
    ]
    ratios = {case: median(np.divide(of_case["torch loop"], of_case["medembed"])) for case, of_case in seconds.items()}
    claims = [
        Claim("100 documents beyond encoding, ms", 1000 * median(seconds["1 query"]["medembed"]), at_most=60.0),
        Claim("times a torch loop, 1 query", float(ratios["1 query"]), at_least=2.0),
        Claim(f"times a torch loop, {MANY_QUERIES} queries", float(ratios[f"{MANY_QUERIES} queries"]), at_least=2.0),
        Claim("largest difference of a score of 32 tokens", difference, at_most=1e-5),
    ]
    settings = {
        "documents": DOCUMENTS, "tokens": sum(lengths) / DOCUMENTS, "query tokens": QUERY_TOKENS, "dimension": DIMENSION,
        "threads": THREADS, "turns": turns,
    }  # fmt: skip
    return Result("maxsim", "MaxSim of queries with 100 documents", settings, rows, claims, others, raw=seconds)


def _rows(rng: np.random.Generator, lengths: list[int]) -> list[Floats]:
    return [vectors.normalize(rng.normal(size=(length, DIMENSION)).astype(np.float32)) for length in lengths]


def _in_turn(
    sides: dict[str, Callable[[list[Floats]], object]], asked: list[Floats], turns: int
) -> dict[str, list[float]]:
    """Seconds of each side, one after the other in every turn; the first turn warms up."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            side(asked)
            if turn:
                spent[name].append(time.perf_counter() - started)
    return spent
