"""Splitters of clinical text on a table of cases: `python -m tests.benchmarks.splitters NOTES.jsonl.gz`.

Needs `pip install semantic-text-splitter pysbd`; with `openmed` its sections are compared too.
"""

import gzip
import importlib
import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from medembed import MedEmbed, split
from medembed.clinical.bounds import bounds
from medembed.clinical.sections import sections
from tests.benchmarks import report
from tests.benchmarks.report import Claim, Result

CASES = Path(__file__).parents[1] / "clinical"
# tokens of a passage in which sentences of the table have to be cut apart
SMALL = 24
# notes joined to a long one, and the long ones that are timed
JOINED, TIMED = 10, 20

Bounds = Callable[[str], list[int]]


def cases() -> Iterator[tuple[str, set[int]]]:
    """Texts, and where their pieces begin."""
    for line in (CASES / "sentences.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        places, at = set(), 0
        for piece in case["pieces"]:
            places.add(at)
            at += len(piece) + len(case["join"])
        yield case["join"].join(case["pieces"]), places - {0}


def ours(text: str) -> list[int]:
    """Where the pieces of :mod:`medembed.clinical.bounds` begin."""
    return [place for place, _ in bounds(text, 0, len(text))]


def of_pysbd(text: str) -> list[int]:
    """Where the sentences of pysbd begin."""
    segmenter = importlib.import_module("pysbd").Segmenter(language="en", clean=False, char_span=True)
    starts = [span.start + len(span.sent) - len(span.sent.lstrip()) for span in segmenter.segment(text)]
    return [start for start in starts if start]


def scored(name: str, find: Bounds, notes: list[str]) -> dict[str, Any]:
    """Bounds found, missed and wrong in the table, and characters a second in long notes."""
    found = missed = wrong = 0
    for text, expected in cases():
        got = set(find(text))
        found += len(got & expected)
        missed += len(expected - got)
        wrong += len(got - expected)
    began = time.perf_counter()
    for note in notes:
        find(note)
    rate = sum(map(len, notes)) / (time.perf_counter() - began)
    return {"engine": name, "found": found, "missed": missed, "wrong": wrong, "characters/s": rate}


def windows(name: str, cut: Callable[[str], list[int]], notes: list[str]) -> dict[str, Any]:
    """Windows of few tokens over the table: cuts where a piece begins, and cuts inside one; characters a second in long notes."""
    right = wrong = missed = 0
    for text, expected in cases():
        got = set(cut(text)) - {0}
        right += len(got & expected)
        missed += len(expected - got)
        wrong += len(got - expected)
    began = time.perf_counter()
    for note in notes:
        cut(note)
    rate = sum(map(len, notes)) / (time.perf_counter() - began)
    return {"engine": name, "found": right, "missed": missed, "wrong": wrong, "characters/s": rate}


def sections_of(name: str, find: Callable[[str], list[str | None]], notes: list[str]) -> dict[str, Any]:
    """Headings of the table that are named right, lines that are wrongly taken for one, and characters a second."""
    right = wrong = total = 0
    for line in (CASES / "headings.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        got, expected = [part for part in find(case["text"]) if part], [part for part in case["sections"] if part]
        total += len(expected)
        hits = sum(min(got.count(part), expected.count(part)) for part in {*expected})
        right += hits
        wrong += len(got) - hits
    began = time.perf_counter()
    for note in notes:
        find(note)
    rate = sum(map(len, notes)) / (time.perf_counter() - began)
    return {"engine": name, "found": right, "missed": total - right, "wrong": wrong, "characters/s": rate}


def of_openmed(text: str) -> list[str | None]:
    """Names of the sections that OpenMed finds."""
    found = importlib.import_module("openmed.clinical.sections").detect_sections(text)
    return [re.sub(r"\W+", "_", str(part["label"])).lower() for part in found]


def main(path: Path) -> None:
    """Measure, print, write."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        every = [json.loads(line)["text"] for line in lines]
    notes = ["\n\n".join(every[at : at + JOINED]) for at in range(0, JOINED * TIMED, JOINED)]
    with MedEmbed(threads=1) as model:
        rows = [scored("medembed bounds", ours, notes), scored("pysbd", of_pysbd, notes)]
        semantic = importlib.import_module("semantic_text_splitter").TextSplitter
        tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(str(model.folder / "tokenizer.json"))
        other = semantic.from_huggingface_tokenizer(tokenizer, SMALL)
        rows += [
            windows(
                "medembed split", lambda text: [part.start for part in split(text, model, max_tokens=SMALL)], notes
            ),
            windows("semantic-text-splitter", lambda text: [start for start, _ in other.chunk_indices(text)], notes),
        ]
        rows.append(sections_of("medembed sections", lambda text: [part.name for part in sections(text)], notes))
        if importlib.util.find_spec("openmed") is not None:
            rows.append(sections_of("openmed sections", of_openmed, notes))
    claims = [
        Claim("bounds: wrong of ours less pysbd's", rows[0]["wrong"] - rows[1]["wrong"], at_most=0.0),
        Claim("windows: wrong of ours less semantic-text-splitter's", rows[2]["wrong"] - rows[3]["wrong"], at_most=0.0),
    ]
    report.conclude(
        Result("splitters", "splitters of clinical text", {"cases": len(list(cases()))}, rows, claims),
        "splitters",
        [path],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
