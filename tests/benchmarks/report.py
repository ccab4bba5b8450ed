"""What a benchmark found: rows, claims held against their floors, a JSON file and a table."""

import datetime as dt
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import machine

RESULTS = Path(__file__).parent / "results"
# Above this share of the machine taken by others, the table says that the numbers are not to be trusted.
QUIET = 0.05


@dataclass(frozen=True)
class Claim:
    """A number that was promised.

    Attributes:
        what: In words, with its unit.
        value: Measured; None where this machine cannot tell.
        at_least: The floor, or
        at_most: the ceiling.
    """

    what: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the number keeps the promise; None where it was not measured."""
        if self.value is None:
            return None
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    @property
    def bound(self) -> str:
        """The promise, as ``≥ 4.0``."""
        return f"≥ {self.at_least}" if self.at_least is not None else f"≤ {self.at_most}"


@dataclass
class Result:
    """One benchmark's outcome.

    Attributes:
        name: As on the command line.
        title: What was measured, in words.
        settings: Everything that would change the numbers: sizes, rounds, threads.
        rows: The table, one dict a row, all with the same keys.
        claims: Promises and whether they hold.
        other_load: The most that other processes took of the machine meanwhile, 0 to 1.
        versions: Of packages, by engine.
        raw: The single measurements.
    """

    name: str
    title: str
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    claims: list[Claim] = field(default_factory=list)
    other_load: float | None = None
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)


def write(result: Result, command: str, date: str, results: Path = RESULTS) -> Path:
    """Write ``results/<machine>/<name>.json``, whole or not at all."""
    here = machine.describe()
    claims = [{**asdict(claim), "met": claim.met} for claim in result.claims]
    content = {**asdict(result), "claims": claims, "machine": here, "command": command, "date": date}
    path = results / machine.slug(here) / f"{result.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(aside, path)
    return path


def conclude(result: Result, module: str, folders: Sequence[Path], options: Sequence[str] = ()) -> None:
    """Show and write what a benchmark of its own, over folders of retrieval sets, has found."""
    show(result, Console(width=160))
    command = f"python -m tests.benchmarks.{module} " + shlex.join([*(folder.name for folder in folders), *options])
    write(result, command, dt.datetime.now(dt.UTC).isoformat("T", "seconds"))


def read(path: Path) -> Result:
    """A result that was written."""
    content = json.loads(path.read_text(encoding="utf-8"))
    claims = [
        Claim(**{key: claim[key] for key in ("what", "value", "at_least", "at_most")}) for claim in content["claims"]
    ]
    kept = {key: content[key] for key in Result.__dataclass_fields__ if key != "claims"}
    return Result(**kept, claims=claims)


def show(result: Result, console: Console) -> None:
    """Print the table and, under it, each claim beside its floor."""
    settings = ", ".join(f"{key} {value}" for key, value in result.settings.items())
    console.print(f"[bold]{result.name}[/]: {result.title} [dim]({settings})[/]", highlight=False)
    table = Table()
    for column in result.rows[0]:
        table.add_column(column, justify="left" if column == "engine" else "right")
    for row in result.rows:
        table.add_row(*(cell(value) for value in row.values()))
    console.print(table)
    show_claims(result.claims, console)
    if result.other_load is not None and result.other_load > QUIET:
        console.print(
            f"[yellow]other processes took up to {result.other_load:.0%} of the machine: only the ratios mean much"
        )
    console.print()


def show_claims(claims: Sequence[Claim], console: Console) -> None:
    """One line a claim: what, value, floor, met or not."""
    words = {True: "[green]met[/]", False: "[red]not met[/]", None: "[yellow]not measured here[/]"}
    for claim in claims:
        value = "–" if claim.value is None else cell(claim.value)
        console.print(f"  {claim.what}: {value} ({claim.bound}) {words[claim.met]}")


def cell(value: object) -> str:
    """A value as tables show it: three digits, or all the nines of a cosine."""
    if not isinstance(value, float):
        return str(value)
    if 0.99 < value <= 1:  # cosines: the digits after the nines matter
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
