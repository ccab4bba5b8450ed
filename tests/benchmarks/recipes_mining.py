"""Mining beyond encoding: python -m tests.benchmarks.recipes_mining [QUERIES PASSAGES]   (default 50,000 × 100,000, 384 dims)

Random unit vectors in place of encoded ones; everything after encoding is the stage's own code.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from medembed.recipes.records import Pair, content_id
from medembed.recipes.schema import Negatives
from medembed.recipes.stages import negatives
from medembed.search import on_disk as topk

DIMENSION, PART = 384, 8192


def vectors(folder: Path, count: int, seed: int) -> list[Path]:
    random = np.random.default_rng(seed)
    parts = []
    for index, start in enumerate(range(0, count, PART)):
        block = random.standard_normal((min(PART, count - start), DIMENSION), dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        parts.append(folder / f"{seed}-{index:04d}.npy")
        np.save(parts[-1], block)
    return parts


def main(n_queries: int, n_passages: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dense = vectors(folder, n_passages, 1), vectors(folder, n_passages, 2)  # each passage is a pair, with a query
        pairs = [
            Pair(
                content_id("p", str(i)),
                "",
                str(i),
                "s",
                f"query {i}",
                "given",
                f"passage number {i} of the corpus",
                -1,
                -1,
                5,
            )
            for i in range(n_passages)
        ]
        corpus = negatives.read_corpus(pairs)
        settings = Negatives(max_score_ratio=1.0)
        started = time.perf_counter(), time.process_time()
        found = 0
        for start in range(0, n_queries, topk.QUERIES_A_BLOCK):
            for index, (rows, scores, _), _ in negatives._rankings(corpus, start, settings, dense, None):
                if index < n_queries:
                    found += len(negatives.choose(rows, scores, 1.0, settings))
        seconds, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        json.dumps(
            {
                "queries": n_queries,
                "passages": n_passages,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(cpu, 1),
                "negatives": found,
                "peak_gib": round(peak, 2),
            }
        )
    )


if __name__ == "__main__":
    main(*(int(value) for value in (sys.argv[1:3] or ("50000", "100000"))))
