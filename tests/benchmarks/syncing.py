"""A nightly sync beside a fresh index: `python -m tests.benchmarks.syncing [NOTES]`, the bundled model over short notes.

Notes are a handful of words, so that a fresh index of a hundred thousand takes minutes: real notes are longer, encoding them costs
more, and the share that a sync takes is smaller. Of the notes, 0.4% have changed, 0.3% are new and 0.3% are gone.

Processor time is compared, since that is what other processes of the machine change least.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from medembed import MedEmbed
from medembed.corpus import embed
from medembed.corpus.embed import Settings, settings_of
from medembed.corpus.layout import CORPUS
from medembed.rows.read import Columns
from medembed.storage.building import Summary
from medembed.storage.manifest import read_manifest
from medembed.storage.modes import Mode
from tests.benchmarks import report
from tests.benchmarks.report import Claim, Result

NOTES = 100_000
CHANGED, NEW, GONE = 0.004, 0.003, 0.003
SIGNS = [
    "fever",
    "cough",
    "chest pain",
    "rash",
    "nausea",
    "headache",
    "dizziness",
    "fatigue",
    "back pain",
    "sore throat",
    "anxiety",
]
DRUGS = ["aspirin", "metformin", "lisinopril", "insulin", "warfarin", "amoxicillin", "zolpidem", "ibuprofen", "statin"]


def note(number: int, night: int = 0) -> dict[str, str]:
    """A short note that no other equals."""
    text = f"{SIGNS[number % 11]} on {DRUGS[number % 9]}, day {number % 7919}" + (
        f", seen again {night}" if night else ""
    )
    return {"id": f"n{number}", "text": f"{text}, case {number}", "patient": str(number % 997)}


def write(path: Path, count: int, night: int) -> None:
    """The export of a night: 0 for the first."""
    gone = 0 if not night else round(count * GONE)
    with path.open("w", encoding="utf-8") as file:
        for number in range(gone, count + (round(count * NEW) if night else 0)):
            changed = bool(night) and gone <= number < gone + round(count * CHANGED)
            file.write(json.dumps(note(number, night if changed else 0)) + "\n")


def timed(work: Callable[[], Summary]) -> tuple[Summary, float, float]:
    """What a run gave, its processor time and its time by the clock, in seconds."""
    cpu, clock = time.process_time(), time.perf_counter()
    summary = work()
    return summary, time.process_time() - cpu, time.perf_counter() - clock


def measure(count: int, folder: Path, model: MedEmbed) -> Result:
    """Index the first export, then sync the second."""
    export, corpus = folder / "export.jsonl", folder / "corpus"

    def run(mode: Mode) -> Summary:
        columns = Columns(scope="patient")
        settings = Settings(columns) if mode == "new" else settings_of(read_manifest(corpus, CORPUS), mode)
        return embed.index([str(export)], corpus, model, settings)

    rows = []
    for night, (what, mode) in enumerate((("fresh index", "new"), ("sync", "sync"))):
        write(export, count, night)
        summary, cpu, clock = timed(lambda mode=mode: run(mode))  # type: ignore[misc]
        counts = {
            "embedded": summary.embedded,
            "replaced": summary.replaced,
            "new": summary.new,
            "deleted": summary.deleted,
        }
        rows.append({"engine": what, "rows": summary.n_rows, **counts, "CPU s": cpu, "s": clock})
    claim = Claim(
        "a sync's share of a fresh index's processor time",
        float(str(rows[1]["CPU s"])) / float(str(rows[0]["CPU s"])),
        at_most=0.05,
    )
    told = {"notes": count, "model": model.name, "revision": model.revision, "threads": model.settings["threads"]}
    return Result("corpus-sync", "a sync of 1% changes beside a fresh index", told, rows, [claim])


def main(count: int) -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory() as name, MedEmbed(threads=1) as model:
        report.conclude(measure(count, Path(name), model), "syncing", [Path(str(count))])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else NOTES)
