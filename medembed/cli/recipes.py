"""`medembed recipes`: look at recipes, copy and run them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from medembed.cli.options import AsJson
from medembed.recipes.train import DryRun, Settings, Until
from medembed.terminal import say

recipes_app = typer.Typer(no_args_is_help=True, help="Retrain and extend the models: list, show, copy and run recipes.")
Recipe = Annotated[str, typer.Argument(help="Name of a shipped recipe, or path of a folder with recipe.toml.")]


@recipes_app.command("list")
def list_recipes(as_json: AsJson = False) -> None:
    """List the shipped recipes.

    Examples: [bold]medembed recipes list[/bold] · [bold]medembed recipes list --json[/bold]
    """
    from medembed.recipes import catalog, tables

    if as_json:
        say(json.dumps(tables.catalog_facts(catalog.shipped())))
        return
    tables.print_catalog(catalog.shipped())


@recipes_app.command()
def show(recipe: Recipe = "tiny") -> None:
    """Print a recipe's file and card.

    Example: [bold]medembed recipes show tiny[/bold]
    """
    from medembed.recipes import catalog

    entry = catalog.find(recipe)
    card = entry.folder / "README.md"
    say(entry.file.read_text(encoding="utf-8"))
    say(card.read_text(encoding="utf-8") if card.is_file() else "(no card)")


@recipes_app.command()
def copy(recipe: Recipe, target: Annotated[Path, typer.Argument(help="Folder to make; must not exist yet.")]) -> None:
    """Copy a recipe to a folder, to be edited.

    Example: [bold]medembed recipes copy tiny my-recipe[/bold]
    """
    from medembed.recipes import catalog
    from medembed.rows.outputs import check_apart

    check_apart(target, catalog.find(recipe).folder)
    catalog.copy(recipe, target)
    say(f"copied to {target}; run it with: medembed recipes run {target}")


@recipes_app.command()
def run(recipe: Recipe = "tiny", settings: Settings = None, until: Until = "publish", dry_run: DryRun = False) -> None:
    """Build every missing stage, as `python -m medembed.recipes.train --recipe RECIPE` does.

    Example: [bold]medembed recipes run tiny train.epochs=2[/bold]
    """
    from medembed.recipes import train

    train.run(recipe, settings or (), until=until, dry_run=dry_run)


@recipes_app.command()
def status(recipe: Recipe = "tiny", settings: Settings = None, as_json: AsJson = False) -> None:
    """Tell what is built. Every finished file is hashed.

    Examples: [bold]medembed recipes status tiny[/bold] · [bold]medembed recipes status tiny --json[/bold]
    """
    from medembed.recipes import pipeline, tables
    from medembed.recipes.load import open_recipe

    steps = pipeline.plan(*open_recipe(recipe, settings or ()))
    if as_json:
        say(json.dumps(tables.status_facts(steps)))
        return
    tables.print_status(steps)


@recipes_app.command()
def clean(
    recipe: Recipe = "tiny",
    settings: Settings = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")] = False,
) -> None:
    """Remove stages that earlier runs of a recipe built and its present settings do not use.

    Example: [bold]medembed recipes clean tiny --dry-run[/bold]
    """
    from medembed.recipes import cleaning, pipeline
    from medembed.recipes.load import open_recipe

    loaded, places = open_recipe(recipe, settings or ())
    old = (cleaning.find_old if dry_run else cleaning.remove_old)(loaded, pipeline.plan(loaded, places))
    done = "would be removed" if dry_run else "removed"
    for item in old:
        left = f"; {item.n_kept} other file(s) stay there" if item.n_kept else ""
        say(f"{item.name}: {len(item.files)} files, {item.n_bytes:,} bytes {done}{left}")
    total = sum(item.n_bytes for item in old)
    say(f"{loaded.execution.work}: {len(old)} old stage(s) of {loaded.name}, {total:,} bytes {done}")


@recipes_app.command()
def download(recipe: Recipe = "tiny", settings: Settings = None) -> None:
    """Fetch sources that have a URL, and verify them.

    Example: [bold]medembed recipes download tiny[/bold]
    """
    from medembed.recipes.load import open_recipe
    from medembed.recipes.sources import download as fetch

    loaded, places = open_recipe(recipe, settings or ())
    for name, source in {**loaded.notes.sources, **loaded.pairs.sources}.items():
        if source.url:
            say(f"{name}: {fetch(source, name, places.execution.work / 'downloads')}")
        elif source.format != "hub":
            say(f"{name}: no url; {source.origin or 'origin not named'}; give it with execution.data=DIR")
