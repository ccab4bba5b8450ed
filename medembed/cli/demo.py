"""`medembed demo`: six hundred medical passages, embedded and searched offline."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from medembed import demo as corpus
from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.console import Terminal
from medembed.errors import SettingError
from medembed.model import Floats, MedEmbed
from medembed.terminal import say

SHOWN_CHARS = 160


def demo(
    query: Annotated[
        list[str] | None, typer.Option("--query", "-q", help="Your own question; may be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="Passages to show for each question.")] = 3,
    model: options.Model = BUNDLED,
    precision: options.Precision = options.PrecisionName.auto,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> None:
    """Embed 600 openly licensed medical passages and search them. Needs no network.

    Examples: [bold]medembed demo[/bold] · [bold]medembed demo -q "itchy rash after hiking" -k 5[/bold] · [bold]medembed demo --json[/bold]
    """
    questions = query or list(corpus.QUESTIONS)
    if not all(question.strip() for question in questions):
        raise SettingError("a --query is blank, and something would be found for it all the same: give a question")
    console = Terminal(quiet=as_json)
    answers: list[dict[str, Any]] = []
    passages = corpus.passages()
    started = time.perf_counter()
    with MedEmbed(model, precision=precision.value, threads=threads, overlong="chunk") as embedder:
        console.print(f"{embedder!r}\nready in {time.perf_counter() - started:.2f} s", highlight=False)
        texts = [passage.text for passage in passages]
        documents, seconds = _timed(partial(embedder.encode_document, texts))
        tokens = sum(embedder.count_tokens(texts))
        facts = {"model": embedder.name, "passages": len(texts), "tokens": tokens, "seconds": seconds}
        console.print(
            f"{len(texts)} passages ({tokens:,} tokens) embedded in {seconds:.1f} s: "
            f"{len(texts) / seconds:.0f} passages/s, {tokens / seconds:,.0f} tokens/s", highlight=False,
        )  # fmt: skip
        console.print(
            "(anew each time: this shows the speed here, and the demo writes nothing to your disk)\n", style="dim"
        )
        embedder.encode_query(questions[0])  # the first query starts threads, which is not part of a query's time
        for question in questions:
            vector, seconds = _timed(partial(embedder.encode_query, question))
            scores = embedder.similarity(vector, documents)[0]
            best = [(float(scores[row]), passages[int(row)]) for row in np.argsort(-scores)[:k]]
            answers.append(
                {
                    "query": question,
                    "seconds": seconds,
                    "hits": [{"score": score, **asdict(passage)} for score, passage in best],
                }
            )
            console.print(_table(question, best))
            console.print(f"query embedded in {seconds * 1000:.1f} ms\n", style="dim", highlight=False)
    console.print("Passages: MedQuAD (NIH, CDC) and OpenStax, CC BY 4.0. Not medical advice.", style="dim")
    if as_json:
        say(json.dumps({**facts, "answers": answers}))


def _timed(run: Callable[[], Floats]) -> tuple[Floats, float]:
    started = time.perf_counter()
    return run(), time.perf_counter() - started


def _table(question: str, best: list[tuple[float, corpus.Passage]]) -> Table:
    table = Table("score", "passage", "source", title=Text(question, style="bold"), title_justify="left", expand=True)
    for score, passage in best:
        body = Text.assemble((f"{passage.title}\n", "bold"), passage.text[:SHOWN_CHARS].rstrip() + " …")
        table.add_row(f"{score:.3f}", body, passage.source.partition(":")[2])
    return table
