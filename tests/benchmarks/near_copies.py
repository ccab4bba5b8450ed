"""Copies in another layout, embedded once: `python -m tests.benchmarks.near_copies NOTES.jsonl.gz [CASES]`.

Long notes as in :mod:`tests.benchmarks.notes`, half of whose text is copied forward. Every other note of a patient is laid out anew, as
another system would show it. Told are the share of text that is not embedded again, and what that does to the hits.
"""

import gzip
import json
import random
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medembed import EmbeddedCorpus, MedEmbed, Settings, Splitting
from medembed.storage.manifest import RepeatedText
from medembed.storage.tables import Hit
from medembed.storage.wording import plain
from tests.benchmarks import report
from tests.benchmarks.notes import OF_PATIENT, Case, Remembering, cases
from tests.benchmarks.report import Claim, Result

COPIED, CASES, K = 0.54, 100, 10
Layout = Callable[[str], str]


def wrapped(text: str) -> str:
    """Lines of eighty characters at most."""
    return "\n".join(textwrap.fill(line, 80) if len(line) > 80 else line for line in text.split("\n"))


def typeset(text: str) -> str:
    """Round quotes and long dashes."""
    return re.sub(r'"([^"\n]*)"', "\u201c\\1\u201d", text.replace("'", "\u2019").replace("-", "\u2013"))


LAYOUTS: dict[str, Layout] = {
    "the same layout": str,
    "lines of 80 characters": wrapped,
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "two blanks after a full stop": lambda text: text.replace(". ", ".  "),
    "round quotes, long dashes": typeset,
}


def laid_out(made: Sequence[Case], layout: Layout) -> list[dict[str, str]]:
    """Rows of notes, every other one of a patient in another layout."""
    return [
        {"id": case.id, "text": layout(case.text) if number % OF_PATIENT % 2 else case.text}
        for number, case in enumerate(made)
    ]


def said(hits: Sequence[Hit]) -> list[str]:
    """The first texts of hits, without their layout, each once."""
    return list(dict.fromkeys(plain(hit.text or "") for hit in hits))[:K]


def measure(made: Sequence[Case], layout: Layout, model: MedEmbed) -> dict[str, Any]:
    """Share of text embedded once, and hits and vectors held against those of a corpus where every row is embedded."""
    rows, queries = laid_out(made, layout), [case.query for case in made]
    shares, found, stored = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        how: RepeatedText
        for how in ("each", "once", "near"):
            settings = Settings(splitting=Splitting(), repeated_text=how)
            corpus = EmbeddedCorpus.build(Path(folder) / how, rows, model, settings)
            texts = [row["text"] for row in corpus.store.rows(np.arange(len(corpus)))]
            key = plain if how == "near" else str
            new = {key(text): len(text) for text in reversed(texts)}
            shares[how] = 1 - sum(new.values()) / sum(map(len, texts))
            found[how] = corpus.search(queries, k=8 * K)
            stored[how] = corpus.vectors()
    pairs = list(zip(found["each"], found["near"], strict=True))
    cosines = np.einsum("ij,ij->i", stored["each"], stored["near"])
    facts = {how: np.mean([_has(case, hits) for case, hits in zip(made, found[how], strict=True)]) for how in found}
    return {
        "passages": len(cosines),
        "once, of the text": shares["once"],
        "near, of the text": shares["near"],
        "same hits": float(np.mean([len({*said(a)} & {*said(b)}) / len(said(a)) for a, b in pairs])),
        "same order": float(np.mean([said(a) == said(b) for a, b in pairs])),
        "least cosine": float(cosines.min()),
        "facts in 10": float(facts["each"]),
        "facts in 10, near": float(facts["near"]),
    }


def _has(case: Case, hits: Sequence[Hit]) -> bool:
    """Whether the note of a case is named by the hits with the first texts."""
    first = set(said(hits))
    return case.id in {
        name.partition("#")[0] for hit in hits if plain(hit.text or "") in first for name in (hit.id, *hit.also_in)
    }


def main(path: Path, count: int) -> None:
    """Measure, print, write."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        notes = [json.loads(line)["text"] for line in lines]
    random.Random(1).shuffle(notes)
    made = cases(notes, COPIED, count, "sentence")
    with Remembering(threads=1) as model:
        rows = [{"engine": name, **measure(made, layout, model)} for name, layout in LAYOUTS.items()]
    claims = [Claim(f"{row['engine']}: same hits", row["same hits"], at_least=0.99) for row in rows]
    settings = {"notes": count, "copied": COPIED, "k": K}
    report.conclude(
        Result("near-copies", "copies in another layout", settings, rows, claims),
        "near_copies",
        [path, Path(str(count))],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else CASES)
