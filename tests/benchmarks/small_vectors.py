"""What smaller vectors cost: `python -m tests.benchmarks.small_vectors FOLDER ...`, on BEIR folders, with the bundled model.

Each text is encoded once; the same vectors are then cut or quantized, and searched exactly.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from medembed import MedEmbed, vectors
from medembed.checkpoints import shortening
from medembed.recipes import retrieval
from medembed.rows import beir
from medembed.search.ranking import ndcg
from medembed.vectors import Floats
from tests.benchmarks import report
from tests.benchmarks.report import Claim, Result

DIMENSIONS = (256, 128, 64)
RESCORED = 100  # first hits by bits that are scored again in floats
QUERIES_A_BLOCK = 256
WHOLE = "float32"
# column → share of the whole score, as the mean over the sets, that was promised
PROMISED = {"128 dimensions": 0.98, "int8": 0.995, "binary, rescored": 0.97}

Scores = Callable[[Floats], Floats]


def measure(folder: Path, model: MedEmbed) -> dict[str, Any]:
    """nDCG@10 of every kind of vector on one set."""
    found = retrieval.read_set(folder.name, beir.open_folder(folder))
    rows = model.encode_document(list(found.documents.values()))
    queries = model.encode_query(list(found.queries.values()))
    ids, judged = list(found.documents), list(found.queries)

    def score(how: Scores) -> float:
        values: list[float] = []
        for start in range(0, len(judged), QUERIES_A_BLOCK):
            best = np.argsort(-how(queries[start : start + QUERIES_A_BLOCK]), axis=1, kind="stable")[:, :10]
            keys = judged[start : start + QUERIES_A_BLOCK]
            values += [ndcg([ids[row] for row in top], found.qrels[key]) for key, top in zip(keys, best, strict=True)]
        return mean(values)

    return {"engine": folder.name, "queries": len(judged)} | {
        name: score(how) for name, how in _ways(rows, model).items()
    }


def _ways(rows: Floats, model: MedEmbed) -> dict[str, Scores]:
    """Similarities of queries to all rows, by kind of vector."""
    bytes_, bits = model.quantize(rows, "int8"), model.quantize(rows, "binary")

    directions = shortening.read(model.folder, rows.shape[1])

    def cut(dimension: int) -> Scores:
        short = shortening.shorten(rows, dimension, directions)
        return lambda queries: shortening.shorten(queries, dimension, directions) @ short.T

    def by_bytes(queries: Floats) -> Floats:
        return vectors.similarity(model.quantize(queries, "int8"), bytes_, "int8", model.vector_ranges)

    def by_bits(queries: Floats) -> Floats:
        return vectors.similarity(model.quantize(queries, "binary"), bits, "binary")

    def rescored(queries: Floats) -> Floats:
        first = by_bits(queries)
        kept = np.argpartition(-first, min(RESCORED, first.shape[1]) - 1, axis=1)[:, :RESCORED]
        scores = np.full(first.shape, -np.inf, dtype=np.float32)
        np.put_along_axis(scores, kept, np.einsum("qd,qkd->qk", queries, rows[kept]), axis=1)
        return scores

    whole: dict[str, Scores] = {WHOLE: lambda queries: queries @ rows.T}
    return whole | {f"{size} dimensions": cut(size) for size in DIMENSIONS} | {
        "int8": by_bytes, "binary": by_bits, "binary, rescored": rescored,
    }  # fmt: skip


def main(folders: list[Path]) -> None:
    """Measure, print, write."""
    with MedEmbed() as model:
        rows = [measure(folder, model) for folder in folders]
        settings = {"model": model.name, "revision": model.revision, "rescored": RESCORED}
    claims = [
        Claim(f"mean over the sets, {name}: share of {WHOLE}'s", mean(row[name] for row in rows) / mean(row[WHOLE] for row in rows), at_least=least)
        for name, least in PROMISED.items()
    ]  # fmt: skip
    result = Result("small-vectors", "nDCG@10", settings, rows, claims)
    report.conclude(result, "small_vectors", folders)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
