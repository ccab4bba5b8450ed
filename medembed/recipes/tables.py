"""What people see: the plan with its cost, the summary of a run, the state of a work folder, the catalogue."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from medembed.recipes.artifacts import MANIFEST, broken_files, open_manifest
from medembed.recipes.catalog import Entry
from medembed.recipes.cost import estimate
from medembed.recipes.load import load_recipe
from medembed.recipes.pipeline import Built, Step
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.terminal import Terminal


def print_plan(recipe: Recipe, places: Places, steps: Sequence[Step]) -> None:
    """Steps, fingerprints, what is built, known counts, and what the rest will take."""
    table = _table("step", "fingerprint", "state", "rows", title=f"{recipe.name}: plan, nothing is run")
    for step in steps:
        manifest = open_manifest(step.folder)
        rows = None if manifest is None else manifest["summary"].get("rows")
        table.add_row(step.key, step.fingerprint, _state(step), "" if rows is None else f"{rows:,}")
    console = Terminal(emoji=False)
    console.print(table)
    costs = _table("cost estimate", "amount", "how")
    for line in estimate(recipe, places, {step.key: open_manifest(step.folder) for step in steps}):
        costs.add_row(line.what, line.amount, line.how)
    console.print(costs)


def print_summary(recipe: Recipe, built: Sequence[Built]) -> None:
    """One row a step, and under it every count that is not nought."""
    table = _table("step", "fingerprint", "rows", "seconds", "counts", title=f"{recipe.name}: done")
    for item in built:
        summary = item.artifact.summary
        seconds = "reused" if item.reused else f"{item.seconds:.1f}"
        table.add_row(item.step.key, item.step.fingerprint, _number(summary.get("rows")), seconds, _counts(summary))
    console = Terminal(emoji=False)
    console.print(table)
    console.print(f"{built[-1].step.stage.makes}: {built[-1].step.folder}", highlight=False)


def print_status(steps: Sequence[Step]) -> None:
    """What is finished, begun or missing; every finished file is hashed."""
    table = _table("step", "state", "rows", "folder")
    for step in steps:
        manifest = open_manifest(step.folder)
        table.add_row(
            step.key, _state(step), _number(manifest["summary"].get("rows")) if manifest else "", str(step.folder)
        )
    Terminal(emoji=False).print(table)


def print_catalog(entries: Sequence[Entry]) -> None:
    """Shipped recipes with one line each."""
    table = _table("recipe", "base", "hardware", "what")
    for entry in entries:
        recipe = load_recipe(entry.file)
        table.add_row(recipe.name, recipe.base.model, recipe.hardware, recipe.description)
    Terminal(emoji=False).print(table)


def _state(step: Step) -> str:
    if (step.folder / MANIFEST).is_file():
        broken = broken_files(step.folder)
        return f"[red]{len(broken)} broken file(s)[/red]" if broken else "built"
    return "begun" if step.folder.is_dir() else "missing"


def _counts(summary: dict[str, Any]) -> str:
    parts: list[str] = []
    for name, value in summary.items():
        if isinstance(value, dict):
            parts += [f"{key}: {_number(item)}" for key, item in value.items() if isinstance(item, int | float)]
        elif name != "rows" and isinstance(value, int | float | str) and not isinstance(value, bool):
            parts.append(f"{name}: {_number(value)}")
    return "\n".join(parts)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value if value is not None else "")


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")  # a cut setting cannot be copied
    return table
