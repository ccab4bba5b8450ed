"""Usable pairs of a small model behind llama.cpp's server, by how passages are named: python -m tests.benchmarks pairs-small-model"""

import gzip
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.records import Note, content_id
from medembed.recipes.writers.openai_endpoint import EndpointWriter
from medembed.recipes.writers.replies import CUT
from tests.benchmarks import models
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.sizes import Size
from tests.recipes.llamacpp import MODEL, PYTHON, serving

ARTICLES = models.ROOT / "recipes" / "tiny" / "data" / "articles.jsonl.gz"
LENGTHS = (300, 1200)


def present() -> bool:
    """Whether `make test-llamacpp` has made the server's environment."""
    return PYTHON.exists()


def notes(path: Path, count: int) -> list[Note]:
    """Sections of the recipe tiny's textbook chapters, of 300 to 1,200 characters."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        parts = [
            (article["doc_id"], part["text"]) for article in map(json.loads, lines) for part in article["sections"]
        ]
    fit = [(article, text) for article, text in parts if LENGTHS[0] <= len(text) <= LENGTHS[1]]
    return [Note(content_id(text), article, "openstax", "", "", text) for article, text in fit[:count]]


def usable(size: Size, _engines: Sequence[str] = ()) -> Result:
    """What becomes of the pairs, where a passage is copied by the model and where the grammar holds the note's sentences."""
    asked = notes(ARTICLES, size.written)
    with serving() as endpoint:
        rows = [_row(endpoint, asked, passage) for passage in ("span", "sentence")]
    share = {row["passage"]: row["usable"] for row in rows}
    return Result(
        "pairs-small-model",
        f"pairs of {MODEL} (Q4_1) behind llama.cpp's server",
        {"notes": len(asked), "pairs asked of a note": 2},
        rows,
        [Claim("usable pairs, sentences in the grammar, share", share["sentence"], at_least=0.95)],
    )


def _row(endpoint: str, asked: Sequence[Note], passage: Literal["span", "sentence"]) -> dict[str, Any]:
    llm = Llm(model=MODEL, pairs_per_note=2, max_tokens=1000, temperature=0.0, passage=passage)
    writer = EndpointWriter(llm, Execution(endpoint=endpoint, timeout_s=300.0, concurrency=4), seed=7)
    started = time.perf_counter()
    try:
        written = list(writer.write(asked))
    finally:
        writer.close()
    lost = Counter(failure.reason for item in written for failure in item.failures)
    kept = sum(len(item.pairs) for item in written)
    named = kept + sum(lost.values())
    return {
        "passage": passage,
        "pairs": kept,
        "lost": sum(lost.values()),
        "of them cut": lost[CUT],
        "usable": kept / named,
        "notes with a pair": sum(bool(item.pairs) for item in written) / len(written),
        "seconds": time.perf_counter() - started,
    }
