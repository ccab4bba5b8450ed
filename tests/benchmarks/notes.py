"""Passages of long notes: facts found, offsets, time, copied text: `python -m tests.benchmarks.notes NOTES.jsonl.gz [CASES]`.

Open notes are joined into long ones, of which a share is copied forward from the patient's note before. A fact stands in the last tenth
of each. Times are seconds of CPU, so that other processes on the machine do not count.
"""

import gzip
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medembed import EmbeddedCorpus, Encoded, MedEmbed, Settings, Splitting, split
from medembed.runtime.encoding import Cut
from tests.benchmarks import report
from tests.benchmarks.report import Claim, Result

# shares of a note's text that are copied forward; a large hospital had 33% in 2015 and 54% in 2020
SHARES = (0.0, 0.3, 0.54)
# open notes in a long one, long notes of a patient, and long notes that are timed
JOINED, OF_PATIENT, TIMED = 6, 4, 16
DRUGS = ["amoxicillin", "codeine", "ibuprofen", "sulfamethoxazole", "vancomycin", "lisinopril", "carbamazepine", "allopurinol",
         "clindamycin", "iodine contrast", "phenytoin", "tramadol", "metoclopramide", "ciprofloxacin", "warfarin"]  # fmt: skip
REACTIONS = ["hives", "swelling of the lips", "a seizure", "hoarseness", "fainting", "peeling of the skin", "blurred vision",
             "ringing in the ears", "a fall of the platelets", "wheezing", "jaundice", "a rash on both palms", "confusion",
             "a nosebleed"]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A long note with a fact in its last tenth, and a question about it."""

    id: str
    text: str
    query: str


def facts(count: int) -> list[tuple[str, str]]:
    """Sentences and questions, each of another drug and reaction."""
    pairs = list(itertools.product(DRUGS, REACTIONS))
    random.Random(0).shuffle(pairs)
    return [
        (f"Of note, {drug} was followed by {reaction} within an hour.", f"{reaction} after {drug}")
        for drug, reaction in pairs[:count]
    ]


def cases(notes: Sequence[str], share: float, count: int) -> list[Case]:
    """Long notes of patients, one after the other.

    Args:
        notes: Open notes.
        share: Share of each patient's text that is copied from the note before.
        count: Long notes.
    """
    fresh = itertools.cycle(notes)
    made: list[Case] = []
    before: list[str] = []
    owed = 0.0
    for number, (fact, query) in enumerate(facts(count)):
        if number % OF_PATIENT == 0:
            before, owed = [], 0.0
        parts: list[str] = []
        # the first note of a patient copies nothing, so the others copy more
        owed += share * JOINED * (OF_PATIENT / (OF_PATIENT - 1)) if before else 0.0
        copied = min(len(before), round(owed))
        owed -= copied
        parts = [*before[:copied], *(next(fresh) for _ in range(JOINED - copied))]
        before = parts
        text = "\n\n".join(parts)
        at = text.rfind("\n", 0, len(text) - len(text) // 20)
        at = at if at >= len(text) * 9 // 10 else text.rfind(". ", 0, len(text) - len(text) // 20) + 1
        made.append(Case(f"n{number}", f"{text[:at]}\n{fact}\n{text[at:].lstrip()}", query))
    return made


class Remembering(MedEmbed):
    """The bundled model. It encodes no text twice, so that several corpora of the same texts take one's time."""

    seen: dict[str, Any] = {}  # noqa: RUF012 - one for the process

    def encode_counted(self, inputs: Sequence[str], **options: Any) -> Encoded:
        """Encode the texts that are new."""
        new = [text for text in dict.fromkeys(inputs) if text not in self.seen]
        cut = Cut()
        if new:
            encoded = super().encode_counted(new, **options)
            cut = encoded.cut
            self.seen.update(zip(new, encoded.vectors, strict=True))
        return Encoded(np.stack([self.seen[text] for text in inputs]), cut)


def measure(share: float, made: Sequence[Case], model: MedEmbed, *, whole: bool) -> dict[str, Any]:
    """Share of facts found at rank 3 and better, offsets that are exact, and how much of the text is repeated."""
    rows = [{"id": case.id, "text": case.text} for case in made]
    settings = Settings(splitting=None if whole else Splitting(), repeated_text="once")
    with tempfile.TemporaryDirectory() as folder:
        corpus = EmbeddedCorpus.build(Path(folder) / "c", rows, model, settings)
        found = corpus.search([case.query for case in made], 3, group_by=None if whole else "note")
        texts = {case.id: case.text for case in made}
        stored = [] if whole else corpus.store.rows(np.arange(len(corpus)))
        exact = [texts[row["note"]][row["start"] : row["end"]] == row["text"] for row in stored]
        lengths = [len(row["text"]) for row in stored]
        unique = sum(map(len, {row["text"] for row in stored}))
        ranked = [
            any(
                case.id in {hit.id.partition("#")[0], *(name.partition("#")[0] for name in hit.also_in)} for hit in hits
            )
            for case, hits in zip(made, found, strict=True)
        ]
    return {
        "engine": f"{'whole notes' if whole else '--split'}, {share:.0%} copied",
        "rows": len(corpus),
        "found at rank 3": float(np.mean(ranked)),
        "exact offsets": float(np.mean(exact)) if exact else None,
        "text repeated": 1 - unique / sum(lengths) if lengths else None,
        "split, of encoding": None,
        "encoding saved": None,
    }


def copied(notes: Sequence[str], share: float, count: int) -> float:
    """Share of the characters of long notes that lie in a paragraph copied from the patient's note before."""
    made = cases(notes, share, count)
    total = again = 0
    for number, case in enumerate(made):
        earlier = set(made[number - 1].text.split("\n\n")) if number % OF_PATIENT else set()
        for paragraph in case.text.split("\n\n"):
            total += len(paragraph)
            again += len(paragraph) if paragraph in earlier else 0
    return again / total


def timed(made: Sequence[Case], model: MedEmbed) -> tuple[float, float, float]:
    """Seconds of CPU: cutting notes, encoding every passage, encoding each text once."""
    began = time.process_time()
    texts = [passage.text for case in made for passage in split(case.text, model)]
    cutting = time.process_time() - began
    times = []
    for some in (texts, list(dict.fromkeys(texts))):
        began = time.process_time()
        model.encode_document(some, show_progress_bar=False)
        times.append(time.process_time() - began)
    return cutting, times[0], times[1]


def results(notes: Sequence[str], count: int) -> Iterator[dict[str, Any]]:
    """A row for each share, and one for notes that are not split."""
    with Remembering(threads=1) as model:
        yield measure(0.0, cases(notes, 0.0, count), model, whole=True)
        for share in SHARES:
            row = measure(share, cases(notes, share, count), model, whole=False)
            cutting, every, once = timed(cases(notes, share, min(count, TIMED)), model)
            yield {**row, "split, of encoding": cutting / every, "encoding saved": 1 - once / every}


def main(path: Path, count: int) -> None:
    """Measure, print, write."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        notes = [json.loads(line)["text"] for line in lines]
    random.Random(1).shuffle(notes)
    rows = list(results(notes, count))
    claims = []
    for share, row in zip(SHARES, rows[1:], strict=True):
        there = copied(notes, share, min(count, TIMED))
        claims += [
            Claim(f"{row['engine']}: facts at rank 3", row["found at rank 3"], at_least=0.95),
            Claim(f"{row['engine']}: exact offsets", row["exact offsets"], at_least=1.0),
            Claim(f"{row['engine']}: splitting, of encoding", row["split, of encoding"], at_most=0.05),
            Claim(f"{row['engine']}: encoding saved less copied share", row["encoding saved"] - there, at_least=-0.05),
        ]
    settings = {"cases": count, "notes joined": JOINED, "notes of a patient": OF_PATIENT, "timed": min(count, TIMED)}
    report.conclude(Result("notes", "passages of long notes", settings, rows, claims), "notes", [path])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200)
