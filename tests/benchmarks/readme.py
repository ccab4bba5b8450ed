"""Claims of the committed results: four in the project's README, all of them on a page of the site."""

import json
from pathlib import Path
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.machine import maker, newest_unit
from tests.benchmarks.report import RESULTS, Claim

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- benchmarks: written by `make bench ARGS=--readme` -->\n", "<!-- end of benchmarks -->"
PAGE = README.parent / "docs" / "promises.md"
PROMISES = """---
search:
  boost: 0.2
---
# Promises

What was promised, what came out, and where: one row per kind of machine, the newest measurement of each. The command of a row is
`make bench ARGS=NAME`, with the name before the colon; some benchmarks have [a command of their own](benchmarks/index.md). The
promises of speed were set on a CPU with AMX.

"""
# benchmark, its claim, how the README calls it
SHOWN = (
    ("passages", "passages: times st-fp32's speed", "passages in one call, times the speed of sentence-transformers"),
    ("queries", "queries: times st-fp32's speed", "queries in one call, times the speed of sentence-transformers"),
    ("cold-start", "process start to first vector, seconds", "from starting Python to the first vector, seconds"),
    ("corpus-search", "1,000,000 x 384 float32, one query, seconds", "exact search in a million vectors, seconds"),
)


def claims_table(results: Path = RESULTS) -> str:
    """Every claim of every committed result in one Markdown table, one row per kind of machine."""
    rows = sorted(
        (_what(result.name, claim), _machine(content), _claim_cells(claim), content["date"][:10])
        for content, result in _found(results)
        for claim in result.claims
    )
    lines = ["| measured | value | promised | | machine | date |", "|---|---|---|---|---|---|"]
    lines += [f"| {what} | {cells} | {machine} | {date} |" for what, machine, cells, date in rows]
    return "\n".join(lines) + "\n"


def claims_page(results: Path = RESULTS) -> str:
    """The page with every claim."""
    return PROMISES + claims_table(results)


def readme_table(results: Path = RESULTS) -> str:
    """Four claims, a column per kind of machine that measured at least half of them, and a sentence on what falls short."""
    by_machine: dict[str, dict[str, Claim]] = {}
    for content, result in _found(results):
        claims = by_machine.setdefault(_machine(content), {})
        claims |= {f"{result.name}: {claim.what}": claim for claim in result.claims}
    keys = [f"{name}: {claim}" for name, claim, _ in SHOWN]
    machines = [name for name, claims in by_machine.items() if 2 * len(claims.keys() & set(keys)) >= len(SHOWN)]
    lines = ["| measured | " + " | ".join([*machines, "promised"]) + " |", "|---" * (len(machines) + 2) + "|"]
    for key, (_, _, words) in zip(keys, SHOWN, strict=True):
        cells = [_value(by_machine[name].get(key)) for name in machines]
        bounds = {claims[key].bound for claims in by_machine.values() if key in claims}
        lines.append(f"| {words} | " + " | ".join([*cells, *bounds]) + " |")
    every = [claim for claims in by_machine.values() for claim in claims.values()]
    short = sum(claim.met is False for claim in every)
    page = PAGE.relative_to(README.parent)
    told = f"**{short} of {len(every)} promises on {len(by_machine)} kinds of machines fall short**: [each with its machine]({page})."
    return "\n".join([*lines, "", told]) + "\n"


def rewrite(readme: Path = README, results: Path = RESULTS, page: Path = PAGE) -> None:
    """Put the four claims between their two marks, and write the page with all of them."""
    page.write_text(claims_page(results), encoding="utf-8")
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(before + BEGIN + readme_table(results) + END + after, encoding="utf-8")


def _found(results: Path) -> list[tuple[dict[str, Any], report.Result]]:
    paths = sorted(results.glob("*/*.json"))
    return [(json.loads(path.read_text(encoding="utf-8")), report.read(path)) for path in paths]


def _machine(content: dict[str, Any]) -> str:
    machine = content["machine"]
    return f"{maker(machine)}, {machine['usable_cores']} cores, {newest_unit(machine)}"


def _what(name: str, claim: Claim) -> str:
    return claim.what if claim.what.startswith(name) else f"{name}: {claim.what}"


def _value(claim: Claim | None) -> str:
    if claim is None or claim.value is None:
        return "–"
    return report.cell(claim.value) + (" (**not met**)" if claim.met is False else "")


def _claim_cells(claim: Claim) -> str:
    met = {True: "", False: "**not met**", None: "not measured"}[claim.met]
    return f"{'–' if claim.value is None else report.cell(claim.value)} | {claim.bound} | {met}"
