"""Speed and memory, from the committed results of `make bench`: bars, tables, commands, machines."""

import json
from pathlib import Path
from typing import Any

from docs.website.bars import bars
from docs.website.texts import BEHIND
from tests.benchmarks import report
from tests.benchmarks.machine import newest_unit
from tests.benchmarks.report import RESULTS

INTRO = """# Speed and memory

Measured by `make bench`: every engine in a process of its own, taking turns, at its default settings, on the same texts, with the same
number of threads. `st-fp32` is sentence-transformers 6 without any setting changed, `st-openvino` its OpenVINO backend. Ratios are taken
within a round, so that a slow minute strikes every side; the table shows their median. Compare on one machine only.

What was promised, and whether it came out, is [one table](../promises.md).
"""

# benchmark → column to draw, what it says
DRAWN = {
    "passages": ("texts/s", "Passages a second in one call (more is better)", ""),
    "queries": ("texts/s", "Queries a second in one call (more is better)", ""),
    "latency": ("p50_ms", "One query, median time (less is better)", " ms"),
    "cold-start": ("seconds", "From starting Python to the first vector (less is better)", " s"),
    "peak-memory": ("peak MiB", "Most memory held (less is better)", " MiB"),
    "bge-small": ("texts/s", "Passages a second at bge-small's shape (more is better)", ""),
    "bge-base": ("texts/s", "Passages a second at bge-base's shape (more is better)", ""),
}


def page(results: Path = RESULTS) -> str:
    """The page."""
    parts = [BEHIND + INTRO]
    for folder in sorted(results.glob("*/")):
        paths = sorted(folder.glob("*.json"), key=_order)
        parts += [_section(json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    return "\n".join(parts)


def _order(path: Path) -> tuple[int, str]:
    """Those with a picture first, as in ``DRAWN``."""
    return (list(DRAWN).index(path.stem) if path.stem in DRAWN else len(DRAWN), path.stem)


def _section(result: dict[str, Any]) -> str:
    rows = result["rows"]
    settings = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
    lines = [f"## {result['name']}: {result['title']}", "", f"{settings[:1].upper()}{settings[1:]}.", ""]
    if result["name"] in DRAWN:
        column, title, unit = DRAWN[result["name"]]
        lines += [bars(title, [(row["engine"], row[column]) for row in rows], unit, ours="medembed"), ""]
    lines += ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    lines += ["| " + " | ".join(report.cell(value) for value in row.values()) + " |" for row in rows]
    lines += ["", _machine(result), ""]
    return "\n".join(lines)


def _machine(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return (
        f"{machine['cpu']}, {machine['usable_cores']} cores, {newest_unit(machine)}, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}; {result['date'][:10]}. Command: `{result['command']}`."
    )
