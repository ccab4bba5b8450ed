"""Numbers to plan with, worked out from committed measurements: time, disk and a query's time, by how many notes there are."""

import json
from pathlib import Path
from typing import Any

from docs.website.texts import ROOT
from tests.benchmarks import texts
from tests.benchmarks.machine import maker, newest_unit
from tests.benchmarks.report import RESULTS

PAGE = ROOT / "docs" / "guides" / "capacity.md"
NOTES = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
PASSAGES_A_NOTE = 5
DIMENSION = 384
CORES = 16
SECONDS_AN_HOUR = 3600

INTRO = """# Numbers I can plan with

<!-- written by `python -m docs.website --readme` from tests/benchmarks/results -->

Worked out from what was measured, not tried at these sizes. A note is taken as {per_note} passages of {tokens:.0f} tokens, about a
thousand tokens. Yours differ: `model.count_tokens` tells how long they are, `medembed doctor` how fast this machine is.

"""
AFTER = """
The rate is that of `passages` for the bundled shape, six layers of 384 dimensions. A model of bge-base's shape takes {base:.0f} times as long.
Machines keep the rate when work is shared out over processes: [corpora on a cluster](clusters.md). Indexing costs up to a tenth beyond
encoding (`corpus-index`).

"""
SIZES = """
- **Disk**: vectors as float32, and the texts; `--vectors int8` takes a quarter of the vectors' part, `--no-store-text` leaves the texts out.
- **Memory while indexing** does not follow the number of notes: {indexing[peak MiB]:.0f} MiB at {indexing[rows]:,} {indexing[what]} beside the model,
  whose process peaks at {process:.0f} MiB (`corpus-memory`, `peak-memory`).
- **Memory while searching**: shards are read through memory maps. A query takes what the table says where the vectors fit into free memory,
  and as long as the disk takes otherwise.
- **One query**: exact search over every passage on two cores, {machine}, {query:.0f} ms a million rows; `--scan int8` {int8:.0f} ms
  (`corpus-search`). Time follows the number of rows. Above some ten million rows take
  [approximate search](corpora.md#approximate-search), or a [scope](patients.md) that leaves most rows out.

What it costs in dollars at a cloud's prices: [a hundred million notes](clusters.md#what-a-hundred-million-notes-cost).

The numbers are of `python -m tests.benchmarks passages bge-base corpus-index corpus-memory corpus-search peak-memory`, committed in
`tests/benchmarks/results`.
"""


def page(results: Path = RESULTS) -> str:
    """The page."""
    rates = _rates(results)
    passages = _newest(results, "passages")
    searched = _newest(results, "corpus-search")
    tokens = passages["settings"]["tokens"] / passages["settings"]["texts"]
    scans = {row["engine"]: row["ms/query"] for row in searched["rows"]}
    parts = [
        INTRO.format(per_note=PASSAGES_A_NOTE, tokens=tokens),
        _speed(rates),
        AFTER.format(base=_times_base(results)),
        _sizes(max(rates, key=lambda name: rates[name]), rates, scans["exact, 1 query"]),
        SIZES.format(
            indexing=_newest(results, "corpus-memory")["rows"][-1],
            process=max(
                row["peak MiB"] for row in _newest(results, "peak-memory")["rows"] if "medembed" in row["engine"]
            ),
            machine=_named(searched),
            query=scans["exact, 1 query"],
            int8=scans["int8, 1 query"],
        ),
    ]
    return "".join(parts)


def _speed(rates: dict[str, float]) -> str:
    """A row a machine."""
    lines = ["| one core of | passages a second | notes an hour | a million notes |", "|---|---|---|---|"]
    for machine, rate in sorted(rates.items(), key=lambda item: -item[1]):
        notes = rate * SECONDS_AN_HOUR / PASSAGES_A_NOTE
        lines.append(f"| {machine} | {rate:.0f} | {notes:,.0f} | {1e6 / notes:.0f} core hours |")
    return "\n".join(lines) + "\n"


def _sizes(machine: str, rates: dict[str, float], milliseconds: float) -> str:
    """A row for each number of notes."""
    rate = rates[machine]
    said = texts.load("passages")
    text_bytes = sum(len(text.encode()) for text in said) / len(said)
    lines = [
        f"| notes | passages | {CORES} cores of {machine} | disk: vectors | disk: texts | one query, exact |",
        "|---|---|---|---|---|---|",
    ]
    for notes in NOTES:
        rows = notes * PASSAGES_A_NOTE
        hours = rows / rate / SECONDS_AN_HOUR / CORES
        lines.append(
            f"| {notes:,} | {rows:,} | {_duration(hours)} | {_gigabytes(rows * DIMENSION * 4)} | {_gigabytes(rows * text_bytes)} "
            f"| {_duration(rows / 1e6 * milliseconds / 1000 / SECONDS_AN_HOUR)} |"
        )
    return "\n".join(lines) + "\n"


def _duration(hours: float) -> str:
    seconds = hours * SECONDS_AN_HOUR
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if hours < 2 else f"{hours:.0f} h"


def _gigabytes(count: float) -> str:
    return (
        f"{count / 1e9:.0f} GB"
        if count >= 1e10
        else f"{count / 1e9:.1f} GB"
        if count >= 1e8
        else f"{count / 1e6:.0f} MB"
    )


def _rates(results: Path) -> dict[str, float]:
    """Passages a second of one core, by machine. Where a machine has no `passages`, what bare encoding did in `corpus-index`."""
    found = {}
    for name, engine in (("corpus-index", "encode"), ("passages", "medembed")):
        for path in sorted(results.glob(f"*/{name}.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            found[_named(content)] = _row(content, engine)["texts/s"] / content["settings"]["threads"]
    return found


def _times_base(results: Path) -> float:
    """How many times as long a passage takes in a model of bge-base's shape, where both were measured."""
    base = _newest(results, "bge-base")
    here = json.loads((results / _folder(results, "bge-base") / "passages.json").read_text(encoding="utf-8"))
    ours, theirs = (_row(found, "medembed")["texts/s"] for found in (here, base))
    return float(ours / theirs)


def _row(content: dict[str, Any], engine: str) -> dict[str, Any]:
    return next(row for row in content["rows"] if row["engine"] == engine)


def _folder(results: Path, name: str) -> str:
    return max(
        results.glob(f"*/{name}.json"), key=lambda path: json.loads(path.read_text(encoding="utf-8"))["date"]
    ).parent.name


def _newest(results: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (results / _folder(results, name) / f"{name}.json").read_text(encoding="utf-8")
    )
    return content


def _named(content: dict[str, Any]) -> str:
    return f"{maker(content['machine'])} with {newest_unit(content['machine'])}"
