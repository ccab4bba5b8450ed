"""Embedded corpora: what indexing costs beside bare encoding, its memory, and exact search over a million vectors."""

import gzip
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed import EmbeddedCorpus, FakeEngine, MedEmbed, vectors
from medembed.clinical.split import Splitting
from medembed.corpus import embed, layout, search
from medembed.corpus.embed import Settings, index_rows, plan_of
from medembed.corpus.search import ScanKind
from medembed.rows.read import Row
from medembed.storage import arrow_files, shards
from medembed.storage.manifest import FORMAT, Shard, write_manifest
from medembed.storage.places import MANIFEST
from medembed.storage.shards import Runner
from medembed.vectors import Floats
from tests.benchmarks import models, texts
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.sizes import Size
from tests.benchmarks.worker import peak_mib

CORPORA = models.ROOT / "build" / "benchmark-corpora"
DIMENSION, BATCH, K = 384, 64, 10
# tokens of a short passage, which keeps a million of them to minutes, and passages of a note
SHORT, OF_A_NOTE = 24, 10
LONE = 8  # queries one after another in a job: a single one takes 40 ms, and the machine's moods as long
# how far the synthetic documents lie from the real texts they are made of: a mean cosine of 0.8
SPREAD = 0.75
FAKE = "fake"
SHARD = 32_768


def _rows(passages: Sequence[str]) -> Iterator[Row]:
    return (Row(str(number), text, "benchmark", number) for number, text in enumerate(passages, 1))


def index(size: Size, engines: Sequence[str] = ()) -> Result:
    """The same passages encoded, and indexed from a gz file of JSON lines into a corpus on disk, in turn in one process."""
    passages = texts.load("passages")[: size.indexed]
    model = MedEmbed(threads=2, engine=FakeEngine() if FAKE in engines else None)
    settings = Settings()
    seconds: dict[str, list[float]] = {"encode": [], "index": []}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "passages.jsonl.gz"
        with gzip.open(path, "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps({"id": str(row), "text": text}) + "\n" for row, text in enumerate(passages))
        model.encode_document(passages[: size.indexed // 8])
        for number in range(size.rounds):
            seconds["encode"].append(_timed(lambda: model.encode_document(passages)))
            folder = Path(name) / str(number)
            seconds["index"].append(_timed(partial(embed.index, [str(path)], folder, model, settings)))
    ratio = median(bare / whole for bare, whole in zip(seconds["encode"], seconds["index"], strict=True))
    rows = [{"engine": what, "texts/s": size.indexed / median(taken)} for what, taken in seconds.items()]
    told = {"texts": size.indexed, "shard_rows": settings.shard_rows, "rounds": size.rounds, "threads": 2}
    claims = [Claim("indexing as a share of bare encoding's throughput", ratio, at_least=0.97)]
    return Result(
        "corpus-index", "encode beside index of a gz file, in turn", told, rows, claims, raw={"seconds": seconds}
    )


def memory(size: Size, engines: Sequence[str] = ()) -> Result:
    """Peak memory of indexing few and many rows, and passages of notes, a process each, on the fake engine.

    The fake engine shows what indexing itself holds; what encoding holds is the business of ``stream-memory``.
    """
    del engines
    rows, claims = [], []
    for what, counts in (("rows", size.corpus_rows), ("passages", size.corpus_passages)):
        peaks = []
        for n in counts:
            command = [sys.executable, "-m", "tests.benchmarks.corpora", what, str(n)]
            done = subprocess.run(command, cwd=models.ROOT, capture_output=True, text=True, check=True)
            rows.append({"what": what, "rows": n, **json.loads(done.stdout)})
            peaks.append(rows[-1]["peak MiB"])
        few, many = counts
        claims.append(Claim(f"peak at {many:,} {what} over that at {few:,}", peaks[1] / peaks[0], at_most=1.10))
    return Result("corpus-memory", "indexing with the fake engine", {"dimension": DIMENSION}, rows, claims)


def ray_present() -> bool:
    """Whether Ray is installed."""
    return importlib.util.find_spec("ray") is not None


def on_ray(size: Size, engines: Sequence[str] = ()) -> Result:
    """The same passages indexed by this process with two threads, and by two Ray actors with one, in turn.

    Ray itself is started before; each of its turns starts two actors, which load the model.
    """
    from medembed.corpus import embed_ray

    passages = texts.load("passages")[: size.ray_rows]
    model = MedEmbed(threads=2, engine=FakeEngine() if FAKE in engines else None)
    settings = Settings(shard_rows=max(1, size.ray_rows // 8))
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    runners: dict[str, Runner | None] = {"local": None, "ray": embed_ray.on_ray(model, embed_ray.Cluster(2))}
    with tempfile.TemporaryDirectory() as name:
        few = partial(index_rows, _rows(passages[:4]), Path(name) / "warm", model, settings, inputs=[])
        few(runner=runners["ray"])
        for number in range(size.corpus_rounds):
            for what, runner in runners.items():
                folder = Path(name) / f"{what}-{number}"
                run = partial(index_rows, _rows(passages), folder, model, settings, inputs=[], runner=runner)
                seconds[what].append(_timed(run))
    rows = [{"engine": what, "texts/s": size.ray_rows / median(taken)} for what, taken in seconds.items()]
    told = {"texts": size.ray_rows, "shard_rows": settings.shard_rows, "rounds": size.corpus_rounds}
    claims = [Claim("two Ray actors as a share of the local runner", _ratio(seconds, "local", "ray"), at_least=0.8)]
    return Result(
        "corpus-ray", "one machine: in this process, and on Ray", told, rows, claims, raw={"seconds": seconds}
    )


def main() -> None:
    """Index in this process and print what it took."""
    what, n = sys.argv[1], int(sys.argv[2])
    found = texts.load("queries")
    sentences = (f"{found[i % len(found)]} ({i})" for i in range(n))
    splitting = None
    if what == "passages":
        splitting = Splitting(SHORT)
        sentences = ("\n\n".join(some) for some in zip(*[sentences] * OF_A_NOTE, strict=False))
    stream = (Row(str(i), text, "benchmark", i) for i, text in enumerate(sentences))
    model = MedEmbed(engine=FakeEngine(DIMENSION))
    with tempfile.TemporaryDirectory() as folder:
        summary = index_rows(stream, Path(folder) / "corpus", model, Settings(splitting=splitting), inputs=[])
    if summary.n_rows < n:
        raise RuntimeError(f"{n} rows went in, {summary.n_rows} are there")
    print(json.dumps({"peak MiB": peak_mib()}))


def searching(size: Size, engines: Sequence[str] = ()) -> Result:
    """Search of a large corpus: one query at a time and in batches, in floats and over bytes and bits, beside a bare product."""
    del engines
    model = MedEmbed(threads=2)
    corpus = EmbeddedCorpus.open(_synthetic(size.searched, model), model)
    queries = model.encode_query(texts.load("queries")[:BATCH])
    exact = _found(corpus, queries, "auto")
    rows: list[dict[str, Any]] = []
    seconds: dict[str, list[float]] = {}
    ways: tuple[ScanKind, ...] = ("exact", "int8", "binary")
    matrix = np.concatenate([block.vectors for block in corpus.index().stored])
    runs: dict[str, Callable[[], object]] = {"matmul, 64 queries": lambda: matrix @ queries.T}
    for way in ways:
        runs[f"{way}, 1 query"] = partial(_one_by_one, corpus, queries[:LONE], way)
        runs[f"{way}, 64 queries"] = partial(corpus.search, queries, K, scan=way)
    for run in runs.values():
        run()  # maps are made and pages read
    for number in range(size.rounds):
        for name in _rotated(list(runs), number):
            seconds.setdefault(name, []).append(_timed(runs[name]))
    recall: dict[str, float] = {way: _recall(exact, _found(corpus, queries, way)) for way in ways}
    for name, taken in seconds.items():
        many = BATCH if "64" in name else LONE
        rows.append(
            {"engine": name, "ms/query": 1000 * median(taken) / many, "recall@10": recall.get(name.split(",")[0])}
        )
    claims = [
        Claim(
            f"{size.searched:,} x {DIMENSION} float32, one query, seconds",
            median(seconds["exact, 1 query"]) / LONE,
            at_most=0.25,
        ),
        Claim(
            "batches of 64: share of the bare product's rate",
            _ratio(seconds, "matmul, 64 queries", "exact, 64 queries"),
            at_least=0.6,
        ),
        Claim(
            "int8, one query: times float32's speed", _ratio(seconds, "exact, 1 query", "int8, 1 query"), at_least=2.0
        ),
        Claim("int8: recall@10 after scoring in floats", recall["int8"], at_least=0.99),
    ]
    told = {"rows": size.searched, "dimension": DIMENSION, "k": K, "rounds": size.rounds, "spread": SPREAD}
    return Result(
        "corpus-search",
        "noisy copies of real texts, other real texts as queries",
        told,
        rows,
        claims,
        raw={"seconds": seconds},
    )


def _one_by_one(corpus: EmbeddedCorpus, queries: Floats, scan: ScanKind) -> None:
    for query in queries:
        corpus.search(query[None], K, scan=scan)


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _ratio(seconds: dict[str, list[float]], other: str, mine: str) -> float:
    return median(theirs / ours for theirs, ours in zip(seconds[other], seconds[mine], strict=True))


def _rotated(names: list[str], by: int) -> list[str]:
    return names[by % len(names) :] + names[: by % len(names)]


def _found(corpus: EmbeddedCorpus, queries: NDArray[np.float32], way: ScanKind) -> list[set[int]]:
    return [set(rows.tolist()) for rows in search.top_k(corpus.index(way), queries, K)[0]]


def _recall(exact: list[set[int]], found: list[set[int]]) -> float:
    return float(np.mean([len(a & b) / len(a) for a, b in zip(exact, found, strict=True)]))


def _synthetic(n: int, model: MedEmbed) -> Path:
    """A corpus of noisy copies of real texts' vectors, made once and kept in ``build/``."""
    folder = CORPORA / f"{FORMAT}-{n}-{model.revision}"
    if (folder / MANIFEST).exists():
        return folder
    import pyarrow as pa

    random = np.random.default_rng(0)
    real = model.encode_document(texts.load("queries")[BATCH:1088])
    plan = plan_of(model, Settings(store_text=False, shard_rows=SHARD), [])
    told = plan.fresh.encoding
    made: list[Shard] = []
    for number, start in enumerate(range(0, n, SHARD)):
        count = min(SHARD, n - start)
        noise = random.standard_normal((count, DIMENSION), dtype=np.float32) / np.float32(np.sqrt(DIMENSION))
        documents = vectors.normalize(real[random.integers(0, len(real), count)] + SPREAD * noise)
        rows = shards.table_of([Row(str(start + i), "", "synthetic", start + i) for i in range(count)], {})
        table = rows.append_column("vector", arrow_files.to_column(documents, layout.vector_type(told)))
        table = table.set_column(1, "text", pa.nulls(count, pa.string()))
        made.append(shards.write_shard(folder, number, "synthetic", table, count))
    write_manifest(folder, plan.fresh.model_copy(update={"shards": made}))
    return folder


if __name__ == "__main__":
    main()
