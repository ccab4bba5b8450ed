"""The table of claims in the project's README, made from the committed results; a test holds the two together."""

import json
from pathlib import Path
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.report import RESULTS, Claim

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- benchmarks: written by `make bench ARGS=--readme` -->\n", "<!-- end of benchmarks -->"


def claims_table(results: Path = RESULTS) -> str:
    """Every claim of every committed result, machine by machine, as Markdown."""
    return "\n".join(_machine_table(folder) for folder in sorted(results.glob("*/")) if any(folder.glob("*.json")))


def rewrite(readme: Path = README, results: Path = RESULTS) -> None:
    """Put the table between its two marks."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(before + BEGIN + claims_table(results) + END + after, encoding="utf-8")


def _machine_table(folder: Path) -> str:
    paths = sorted(folder.glob("*.json"))
    first = json.loads(paths[0].read_text(encoding="utf-8"))
    lines = [f"{_machine_line(first)}\n", "| measured | value | promised | |", "|---|---|---|---|"]
    for path in paths:
        result = report.read(path)
        lines += [_claim_row(result.name, claim) for claim in result.claims]
    return "\n".join(lines) + "\n"


def _machine_line(content: dict[str, Any]) -> str:
    machine = content["machine"]
    newest = machine["vector_units"][-1] if machine["vector_units"] else "no AVX"
    return f"{machine['cpu']}, {machine['usable_cores']} cores, {newest}; {content['date'][:10]}:"


def _claim_row(name: str, claim: Claim) -> str:
    what = claim.what if claim.what.startswith(name) else f"{name}: {claim.what}"
    value = "–" if claim.value is None else report.cell(claim.value)
    met = {True: "", False: "**not met**", None: "not measured"}[claim.met]
    return f"| {what} | {value} | {claim.bound} | {met} |"
