"""Passages of long notes: facts found, offsets, time, copied text: `python -m tests.benchmarks.notes NOTES.jsonl.gz [CASES]`.

Open notes are joined into long ones, of which a share is copied forward from the patient's note before. A fact stands at the end of each
as a section, or in the midst of a paragraph of its last tenth. Times are seconds of CPU, so that other processes on the machine do not count.
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

from medembed import EmbeddedCorpus, Encoded, Hybrid, MedEmbed, Settings, Splitting, split
from medembed.runtime.encoding import Cut
from medembed.storage.tables import Hit
from tests.benchmarks import report
from tests.benchmarks.report import Claim, Result

# shares of a note's text that are copied forward; a large hospital had 33% in 2015 and 54% in 2020
SHARES = (0.0, 0.3, 0.54)
# open notes in a long one, long notes of a patient, and long notes that are timed
JOINED, OF_PATIENT, TIMED, ROUNDS = 6, 4, 8, 2
# each drug comes with four reactions, so a question has to tell four notes apart
DRUGS = [
    "abacavir", "adalimumab", "allopurinol", "amiodarone", "amoxicillin", "aspirin", "azathioprine", "baclofen", "bleomycin",
    "bupropion", "captopril", "carbamazepine", "cefazolin", "celecoxib", "ciprofloxacin", "cisplatin", "clindamycin", "clozapine",
    "codeine", "dapsone", "diclofenac", "doxycycline", "enoxaparin", "erythromycin", "furosemide", "gentamicin", "glyburide",
    "heparin", "hydralazine", "ibuprofen", "iodine contrast", "isoniazid", "ketamine", "lamotrigine", "latex", "lidocaine",
    "metformin", "methotrexate", "metronidazole", "morphine", "nevirapine", "nitrofurantoin", "omeprazole", "paclitaxel",
    "penicillin", "phenytoin", "propofol", "sulfasalazine", "tramadol", "vancomycin",
]  # fmt: skip
REACTIONS = ["hives", "swelling of the lips", "low platelets", "jaundice"]
# how a fact stands in a note, and how it is asked for
KINDS = {"section": "ALLERGIES: {drug} ({reaction})", "sentence": "Of note, {drug} gave this patient {reaction}."}
QUERY = "allergy to {drug}: {reaction}"


@dataclass(frozen=True)
class Case:
    """A long note with a fact in its last tenth, and a question about it."""

    id: str
    text: str
    query: str


def facts(count: int, kind: str) -> list[tuple[str, str]]:
    """Sentences and questions, each of another drug and reaction."""
    pairs = list(itertools.product(DRUGS, REACTIONS))
    random.Random(0).shuffle(pairs)
    return [
        (KINDS[kind].format(drug=drug, reaction=reaction), QUERY.format(drug=drug, reaction=reaction))
        for drug, reaction in pairs[:count]
    ]


def cases(notes: Sequence[str], share: float, count: int, kind: str = "section") -> list[Case]:
    """Long notes of patients, one after the other.

    Args:
        notes: Open notes.
        share: Share of each patient's text that is copied from the note before.
        count: Long notes.
        kind: How the fact of each stands in it.
    """
    fresh = itertools.cycle(notes)
    made: list[Case] = []
    before: list[str] = []
    owed = 0.0
    for number, (fact, query) in enumerate(facts(count, kind)):
        if number % OF_PATIENT == 0:
            before, owed = [], 0.0
        # the first note of a patient copies nothing, so the others copy more
        owed += share * JOINED * (OF_PATIENT / (OF_PATIENT - 1)) if before else 0.0
        copied = min(len(before), round(owed))
        owed -= copied
        before = [*before[:copied], *(next(fresh) for _ in range(JOINED - copied))]
        text = "\n\n".join(before)
        made.append(Case(f"n{number}", f"{text}\n\n{fact}" if kind == "section" else inside(text, fact), query))
    return made


def inside(text: str, fact: str) -> str:
    """A text with a sentence in its last tenth, behind another one."""
    at = text.rfind(". ", 0, len(text) - len(text) // 20) + 2
    return f"{text[:at]}{fact} {text[at:]}"


class Remembering(MedEmbed):
    """The bundled model. It encodes no text twice, so that several corpora of the same texts take one's time."""

    seen: dict[str, Any] = {}  # noqa: RUF012 - one for the process
    tokens: dict[str, int] = {}  # noqa: RUF012

    def encode_counted(self, inputs: Sequence[str], **options: Any) -> Encoded:
        """Encode the texts that are new."""
        new = [text for text in dict.fromkeys(inputs) if text not in self.seen]
        cut = Cut()
        if new:
            encoded = super().encode_counted(new, **options)
            cut = encoded.cut
            self.tokens.update(zip(new, encoded.tokens.tolist(), strict=True))
            self.seen.update(zip(new, encoded.vectors, strict=True))
        tokens = np.array([self.tokens[text] for text in inputs], dtype=np.int64)
        return Encoded(np.stack([self.seen[text] for text in inputs]), cut, tokens)


def measure(made: Sequence[Case], model: MedEmbed, splitting: Splitting | None) -> dict[str, Any]:
    """Share of facts found at rank 3 and better, offsets that are exact, and how much of the text is repeated."""
    rows = [{"id": case.id, "text": case.text} for case in made]
    settings = Settings(splitting=splitting, repeated_text="once")
    queries = [case.query for case in made]
    with tempfile.TemporaryDirectory() as folder:
        corpus = EmbeddedCorpus.build(Path(folder) / "c", rows, model, settings)
        group = None if splitting is None else "note"
        found = {how: corpus.search(queries, 3, group_by=group, hybrid=how) for how in (None, Hybrid())}
        texts = {case.id: case.text for case in made}
        stored = [] if splitting is None else corpus.store.rows(np.arange(len(corpus)))
    exact = [texts[row["note"]][row["start"] : row["end"]] == row["text"] for row in stored]
    lengths = sum(len(row["text"]) for row in stored)
    unique = sum(map(len, {row["text"] for row in stored}))
    dense, fused = (
        float(np.mean([case.id in _notes(hits) for case, hits in zip(made, some, strict=True)]))
        for some in found.values()
    )
    return {
        "rows": len(corpus),
        "rank 3": dense,
        "rank 3, hybrid": fused,
        "exact offsets": float(np.mean(exact)) if exact else None,
        "text repeated": 1 - unique / lengths if lengths else None,
    }


def _notes(hits: Sequence[Hit]) -> set[str]:
    """Notes that hits name, with those that have the same text."""
    return {name.partition("#")[0] for hit in hits for name in (hit.id, *hit.also_in)}


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
    """Seconds of CPU: cutting notes, encoding every passage, encoding each text once. The least of several rounds, in turn."""
    best = [float("inf")] * 3
    for _ in range(ROUNDS):
        began = time.process_time()
        texts = [passage.text for case in made for passage in split(case.text, model)]
        times = [time.process_time() - began]
        for some in (texts, list(dict.fromkeys(texts))):
            began = time.process_time()
            model.encode_document(some, show_progress_bar=False)
            times.append(time.process_time() - began)
        best = [min(pair) for pair in zip(best, times, strict=True)]
    return best[0], best[1], best[2]


def results(notes: Sequence[str], count: int) -> Iterator[dict[str, Any]]:
    """Notes that are not split, then a row for each share, and one for facts in the midst of a paragraph."""
    none = {"split, of encoding": None, "encoding saved": None, "copied": None}
    with Remembering(threads=1) as model:
        yield {"engine": "whole notes", **measure(cases(notes, 0.0, count), model, None), **none}
        for share in SHARES:
            few = min(count, TIMED)
            cutting, every, once = timed(cases(notes, share, few), model)
            yield {
                "engine": f"--split, {share:.0%} copied",
                **measure(cases(notes, share, count), model, Splitting()),
                "split, of encoding": cutting / every,
                "encoding saved": 1 - once / every,
                "copied": copied(notes, share, few),
            }
        for length in (256, 128, 64):
            found = measure(cases(notes, 0.0, count, "sentence"), model, Splitting(length))
            yield {"engine": f"{length} tokens, in a paragraph", **found, **none}


def main(path: Path, count: int) -> None:
    """Measure, print, write."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        notes = [json.loads(line)["text"] for line in lines]
    random.Random(1).shuffle(notes)
    rows = list(results(notes, count))
    claims = []
    for row in rows[1:-3]:
        claims += [
            Claim(f"{row['engine']}: facts at rank 3", row["rank 3"], at_least=0.95),
            Claim(f"{row['engine']}: exact offsets", row["exact offsets"], at_least=1.0),
            Claim(f"{row['engine']}: splitting, of encoding", row["split, of encoding"], at_most=0.05),
            Claim(
                f"{row['engine']}: encoding saved less copied", row["encoding saved"] - row["copied"], at_least=-0.05
            ),
        ]
    settings = {"cases": count, "notes joined": JOINED, "notes of a patient": OF_PATIENT, "timed": min(count, TIMED)}
    report.conclude(Result("notes", "passages of long notes", settings, rows, claims), "notes", [path])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else len(DRUGS) * len(REACTIONS))
