"""`python -m tests.benchmarks.adapters [NAME ...]`: what the adapters cost, and how they stand beside the Hugging Face ones.

`make bench-adapters` is the same in the environments it needs: that of the adapters for what they add, with the bundled weights, and one
with `adapters_peers.txt` for the rest. Everything runs in one process, in turn, on the same texts with the same weights, each side at its
default settings.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import importlib
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console

from tests.benchmarks import machine, models, report, texts
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.runner import Watch

# what of tests/benchmarks/runner.py holds here too: threads of the last engine may spin for some milliseconds
PAUSE_S = 0.2
PACKAGES = (
    "medembed", "langchain-medembed", "llama-index-embeddings-medembed", "medembed-haystack", "chroma-medembed", "daft-medembed",
    "langchain-core", "llama-index-core", "haystack-ai", "chromadb", "daft",
    "langchain-huggingface", "llama-index-embeddings-huggingface", "sentence-transformers", "torch", "openvino",
)  # fmt: skip
PEER_OF = {
    "langchain-medembed": "langchain-huggingface",
    "llama-index-embeddings-medembed": "llama-index-embeddings-huggingface",
}
ADAPTERS = (*PEER_OF, "medembed-haystack", "chroma-medembed", "daft-medembed")
BUNDLED = "mini"
Embed = Callable[[list[str]], Any]


@dataclass(frozen=True)
class Amounts:
    """How much is measured.

    Attributes:
        passages: In one call.
        queries: Awaited at once.
        rounds: Turns of our own sides.
        peer_rounds: Turns where the slow peers take part, a minute each on two cores.
        threads: CPU threads of every side.
    """

    passages: int = 1000
    queries: int = 200
    rounds: int = 5
    peer_rounds: int = 2
    threads: int = 2


FULL, QUICK = Amounts(), Amounts(passages=40, queries=20, rounds=2)


@dataclass
class Turns:
    """Wall times by side, round by round, and what each side made of the texts."""

    seconds: dict[str, list[float]]
    vectors: dict[str, Any]
    other_load: float = 0.0

    def ratio(self, side: str, base: str) -> float:
        """The median over the rounds of ``side``'s time by ``base``'s."""
        return median(a / b for a, b in zip(self.seconds[side], self.seconds[base], strict=True))


def overhead(amounts: Amounts) -> Result:
    """What an adapter adds to MedEmbed.encode_document."""
    langchain, llama = ours(amounts.threads, BUNDLED)
    passages = texts.load("passages", amounts.passages)
    # the adapters' lists of floats are their overhead, so the bare side stays with its array
    sides: dict[str, Embed] = {
        "medembed": lambda documents: langchain.client.encode_document(documents, show_progress_bar=False),
        "langchain-medembed": langchain.embed_documents,
        "llama-index-embeddings-medembed": llama.get_text_embedding_batch,
        "medembed-haystack": haystack(amounts.threads, passages),
        "chroma-medembed": chroma(amounts.threads),
        "daft-medembed": daft(amounts.threads),
    }
    turns = take_turns(sides, passages, amounts.rounds)
    claims = [Claim(f"{name}: share of time added to MedEmbed's", turns.ratio(name, "medembed") - 1, at_most=0.05)
              for name in ADAPTERS]  # fmt: skip
    return _passages_result("adapters-overhead", BUNDLED, amounts, turns, claims, "medembed")


def peers(amounts: Amounts) -> Result:
    """The adapters beside those of Hugging Face."""
    import torch

    torch.set_num_threads(amounts.threads)
    folder = str(models.folder("minilm"))
    langchain, llama = ours(amounts.threads, folder)
    langchain_hf = importlib.import_module("langchain_huggingface").HuggingFaceEmbeddings(model_name=folder)
    llama_hf = importlib.import_module("llama_index.embeddings.huggingface").HuggingFaceEmbedding(model_name=folder)
    sides: dict[str, Embed] = {
        "langchain-huggingface": langchain_hf.embed_documents,
        "langchain-medembed": langchain.embed_documents,
        "llama-index-embeddings-huggingface": llama_hf.get_text_embedding_batch,
        "llama-index-embeddings-medembed": llama.get_text_embedding_batch,
    }
    turns = take_turns(sides, texts.load("passages", amounts.passages), amounts.peer_rounds)
    claims = [Claim(f"{name}: times the speed of {peer}", turns.ratio(peer, name), at_least=3.0)
              for name, peer in PEER_OF.items()]  # fmt: skip
    return _passages_result("adapters-peers", "minilm", amounts, turns, claims, "langchain-huggingface")


def queries(amounts: Amounts) -> Result:
    """Queries awaited at once, against the same one after the other."""
    langchain, llama = ours(amounts.threads, str(models.folder("minilm")))
    waiting: dict[str, Callable[[str], Awaitable[Any]]] = {
        "langchain-medembed": langchain.aembed_query,
        "llama-index-embeddings-medembed": llama.aget_query_embedding,
    }
    asked = texts.load("queries", amounts.queries)
    latencies: dict[str, list[float]] = {name: [] for name in waiting}
    sides = {f"{name}, {how}": _asking(ask, how, latencies[name])
             for name, ask in waiting.items() for how in ("one by one", "at once")}  # fmt: skip
    # what the machine can do with these queries: the adapters cannot be faster at once, however they wait
    sides["medembed, one call"] = lambda given: langchain.client.encode_query(given, show_progress_bar=False)
    turns = take_turns(sides, asked, amounts.rounds)
    rows, claims = [], []
    for name in waiting:
        times = turns.ratio(f"{name}, one by one", f"{name}, at once")
        timed = sorted(latencies[name][-amounts.rounds * len(asked) :])  # those before are the warm-up's
        rows.append({
            "engine": name,
            "one by one/s": len(asked) / median(turns.seconds[f"{name}, one by one"]),
            "at once/s": len(asked) / median(turns.seconds[f"{name}, at once"]),
            "one call/s": len(asked) / median(turns.seconds["medembed, one call"]),
            "times": times,
            "share of one call's": turns.ratio("medembed, one call", f"{name}, at once"),
            "p50 ms": 1000 * timed[len(timed) // 2],
            "p95 ms": 1000 * timed[int(0.95 * len(timed))],
        })  # fmt: skip
        claims.append(Claim(f"{name}: at once, times the throughput of one by one", times, at_least=3.0))
    settings = {"model": "minilm", "queries": len(asked), "rounds": amounts.rounds, "threads": amounts.threads}
    title = "queries awaited at once; latency from the call to its vector"
    return Result("adapters-queries", title, settings, rows, claims, turns.other_load, _versions(), _raw(turns))


BENCHMARKS: dict[str, Callable[[Amounts], Result]] = {
    "adapters-queries": queries,
    "adapters-overhead": overhead,
    "adapters-peers": peers,
}


def ours(threads: int, model: str) -> tuple[Any, Any]:
    """The adapters that have peers."""
    langchain = importlib.import_module("langchain_medembed").MedEmbedEmbeddings(model=model, threads=threads)
    module = importlib.import_module("llama_index.embeddings.medembed")
    return langchain, module.MedEmbedEmbedding(model_name=model, threads=threads)


def haystack(threads: int, passages: list[str]) -> Embed:
    """The component, on documents that are there before the clock starts, as they are in a pipeline."""
    module = importlib.import_module("haystack_integrations.components.embedders.medembed")
    embedder = module.MedEmbedDocumentEmbedder(BUNDLED, threads=threads)
    of_text = {text: importlib.import_module("haystack").Document(content=text) for text in passages}
    return lambda given: [done.embedding for done in embedder.run([of_text[text] for text in given])["documents"]]


def chroma(threads: int) -> Embed:
    """The function alone, without the database behind it."""
    function = importlib.import_module("chroma_medembed").MedEmbedEmbeddingFunction
    embed: Embed = function(BUNDLED, threads=threads)
    return embed


def daft(threads: int) -> Embed:
    """What a worker of Daft calls for each of its batches, without the query engine around it."""
    provider = importlib.import_module("daft_medembed").MedEmbedProvider(BUNDLED, threads=threads)
    embed: Embed = provider.get_text_embedder().instantiate().embed_text
    return embed


def take_turns(sides: dict[str, Embed], given: list[str], rounds: int) -> Turns:
    """Every side does the same, beginning with another one each round; a tenth of it before, not timed."""
    turns = Turns({name: [] for name in sides}, {})
    for run in sides.values():
        run(given[: max(len(given) // 10, 8)])
    order = list(sides.items())
    for number in range(rounds):
        first = number % len(order)
        for name, run in order[first:] + order[:first]:
            time.sleep(PAUSE_S)
            watch = Watch()
            turns.vectors[name] = run(given)
            turns.seconds[name].append(watch.seconds())
            turns.other_load = max(turns.other_load, watch.other_load())
    return turns


def _asking(ask: Callable[[str], Awaitable[Any]], how: str, latencies: list[float]) -> Embed:
    """All queries in one event loop, either way; latencies are kept of those asked at once."""

    async def timed(query: str) -> Any:
        started = time.perf_counter()
        vector = await ask(query)
        latencies.append(time.perf_counter() - started)
        return vector

    async def every(asked: list[str]) -> list[Any]:
        if how == "at once":
            return await asyncio.gather(*(timed(query) for query in asked))
        return [await ask(query) for query in asked]

    return lambda asked: asyncio.run(every(asked))


def _passages_result(name: str, model: str, amounts: Amounts, turns: Turns, claims: list[Claim], base: str) -> Result:
    reference = np.asarray(turns.vectors[base], dtype=np.float32)
    rows = [
        {
            "engine": side,
            "seconds": median(taken),
            "texts/s": amounts.passages / median(taken),
            f"× {base}": turns.ratio(base, side),
            # vectors are of unit length: a side that reads less of the texts would show here
            "cosine": float(np.mean(np.sum(reference * np.asarray(turns.vectors[side], dtype=np.float32), axis=1))),
        }
        for side, taken in turns.seconds.items()
    ]
    rounds = len(turns.seconds[base])
    settings = {"model": model, "texts": amounts.passages, "rounds": rounds, "threads": amounts.threads}
    title = "passages in one call, as the model's files say"
    return Result(name, title, settings, rows, claims, turns.other_load, _versions(), _raw(turns))


def _versions() -> dict[str, dict[str, str]]:
    """Of what is here: the overhead can be measured in the adapters' own environment, without the peers."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return {"all": found}


def _raw(turns: Turns) -> dict[str, Any]:
    return {"seconds": turns.seconds}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, or all; 0 also where a floor is not met, as that is a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.adapters", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="small amounts; writes nothing unless --out is given")
    parser.add_argument("--rounds", type=int, help="turns of every side, instead of the usual number")
    parser.add_argument("--out", type=Path, help="write results here instead of the committed folder")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {', '.join(unknown)}: choose of {', '.join(BENCHMARKS)}")
    console = Console(width=140)
    console.print(f"machine: {', '.join(f'{key} {value}' for key, value in machine.describe().items())}\n")
    results = options.out or (None if options.quick else report.RESULTS)
    given = sys.argv[1:] if arguments is None else arguments
    command = f"python -m tests.benchmarks.adapters {shlex.join(given)}".strip()
    amounts = QUICK if options.quick else FULL
    if options.rounds is not None:
        amounts = replace(amounts, rounds=options.rounds, peer_rounds=options.rounds)
    for name in options.names or BENCHMARKS:
        result = BENCHMARKS[name](amounts)
        report.show(result, console)
        if results is not None:
            path = report.write(result, command, dt.datetime.now(dt.UTC).isoformat("T", "seconds"), results)
            console.print(f"[dim]{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
