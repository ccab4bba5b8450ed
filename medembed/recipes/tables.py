"""Tables for people: the plan with its cost, the summary of a run, the state of a work folder, the catalog."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from medembed.checkpoints import checkpoint
from medembed.checkpoints.registry import BUNDLED
from medembed.console import Terminal
from medembed.recipes import chain
from medembed.recipes.artifacts import MANIFEST, broken_files, open_manifest
from medembed.recipes.catalog import Entry
from medembed.recipes.cost import estimate
from medembed.recipes.load import load_recipe
from medembed.recipes.models import MADE
from medembed.recipes.pipeline import Built, Step
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places


def print_plan(recipe: Recipe, places: Places, steps: Sequence[Step]) -> None:
    """Models the recipe is made of, steps, fingerprints, what is built, known counts, and what the rest will take."""
    console = Terminal(emoji=False)
    own = [step for step in steps if step.is_own]
    links = chain.chain_of(recipe, places)
    if links:
        _print_chain(console, recipe, places, links, steps)
    table = _table("step", "fingerprint", "state", "rows", title=f"{recipe.name}: plan, nothing is run")
    for step in own:
        manifest = open_manifest(step.folder)
        rows = None if manifest is None else manifest["summary"].get("rows")
        table.add_row(step.key, step.fingerprint, _state(step), "" if rows is None else f"{rows:,}")
    console.print(table)
    costs = _table(f"cost of {recipe.name}" + (" alone" if links else ""), "amount", "how")
    for line in estimate(recipe, places, {step.key: open_manifest(step.folder) for step in own}):
        costs.add_row(line.what, line.amount, line.how)
    console.print(costs)


def _print_chain(
    console: Terminal, recipe: Recipe, places: Places, links: Sequence[chain.Link], steps: Sequence[Step]
) -> None:
    """The models that lead to this recipe's, in the order in which they are made."""
    table = _table("model", "made from", "state", title=f"{recipe.name}: the chain of models")
    for link in links:
        own = [step for step in steps if step.key.startswith(f"{link.name.removeprefix(MADE)}:")]
        missing = [step for step in own if open_manifest(step.folder) is None]
        made_before = f"made before as {link.digest}" if link.digest else ""
        if not link.made_from:
            state = "not made by a recipe" + (f"; measured with {link.digest}" if link.digest else "")
        elif link.folder is not None:
            state = f"{link.digest}, in {link.folder}: not made again"
        elif own and not missing:
            state = "built: used again"
        else:
            state = ", ".join(filter(None, [made_before, f"{len(missing)} steps to run" if own else "not needed"]))
        table.add_row(link.name, "\n".join(link.made_from), state)
    bundled = places.expected.get("bundled_as")
    state = f"bundled with the package as {bundled}: {checkpoint.fetch(bundled).revision}" if bundled else "this recipe"
    table.add_row(recipe.name, "\n".join(chain.named_models(recipe)), state)
    console.print(table)


def print_summary(recipe: Recipe, built: Sequence[Built]) -> None:
    """Print one row per step, with its counts below.

    Counts of zero are left out. Without a development set, the next line is a command that tells whether it helped. The last
    line is the folder that loads.
    """
    table = _table("step", "fingerprint", "rows", "seconds", "counts", title=f"{recipe.name}: done")
    for item in built:
        summary = item.artifact.summary
        seconds = "reused" if item.reused else f"{item.seconds:.1f}"
        table.add_row(item.step.key, item.step.fingerprint, _number(summary.get("rows")), seconds, _counts(summary))
    console = Terminal(emoji=False)
    console.print(table)
    last = built[-1]
    folder = last.step.folder / "model" if (last.step.folder / "model").is_dir() else last.step.folder
    if last.step.stage.name == "publish" and recipe.execution.out is not None:
        folder = recipe.execution.out
    if folder != last.step.folder and not recipe.development:
        asked = f"medembed assess NOTES --models {BUNDLED} tuned={folder}"
        console.print(
            f"not measured yet; with notes that were kept out of it: {asked}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    console.print(f"{last.step.stage.makes}: {folder}", highlight=False, markup=False, soft_wrap=True)


def print_status(steps: Sequence[Step]) -> None:
    """The state of each step: finished, begun or missing. Every finished file is hashed."""
    table = _table("step", "state", "rows", "folder")
    for step in steps:
        manifest = open_manifest(step.folder)
        table.add_row(
            step.key, _state(step), _number(manifest["summary"].get("rows")) if manifest else "", str(step.folder)
        )
    Terminal(emoji=False).print(table)


def status_facts(steps: Sequence[Step]) -> list[dict[str, object]]:
    """State of each step, as values for programs.

    Returns:
        A row a step: its key, its state, its number of rows where it is known, its folder, and how many files are broken.
    """
    rows: list[dict[str, object]] = []
    for step in steps:
        manifest = open_manifest(step.folder)
        broken = len(broken_files(step.folder)) if (step.folder / MANIFEST).is_file() else 0
        state = "broken" if broken else "built" if manifest else _state(step)
        counted = manifest["summary"].get("rows") if manifest else None
        rows.append({"step": step.key, "state": state, "rows": counted, "folder": str(step.folder), "broken": broken})
    return rows


def catalog_facts(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """Shipped recipes as values for programs.

    Returns:
        A row a recipe: its name, its base, its hardware, what it does.
    """
    loaded = [(entry.name, load_recipe(entry.file)) for entry in entries]
    return [
        {"recipe": name, "base": recipe.base.model, "hardware": recipe.hardware, "what": recipe.description}
        for name, recipe in loaded
    ]


def print_catalog(entries: Sequence[Entry]) -> None:
    """Shipped recipes, one row each."""
    table = _table("recipe", "base", "hardware", "what")
    for entry in entries:
        recipe = load_recipe(entry.file)
        table.add_row(entry.name, recipe.base.model, recipe.hardware, recipe.description)
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
            whose = "" if name == "counts" else f"{name}, "
            parts += [f"{whose}{key}: {_number(item)}" for key, item in value.items() if isinstance(item, int | float)]
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
