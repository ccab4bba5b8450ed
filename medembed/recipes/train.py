"""The command that makes a model: ``python -m medembed.recipes.train --recipe NAME key=value ...``."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from medembed.errors import MedEmbedError
from medembed.terminal import lose_nothing, say

STOPPED = 130  # as shells have it: 128 and SIGINT

Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings on top of the recipe, e.g. train.epochs=2."),
]
Until = Annotated[
    str,
    typer.Option(
        metavar="STAGE",
        help="Last stage to build: notes, pairs, filters, negatives, triplets, train, merge, score or publish.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print plan, fingerprints, counts and cost; run nothing.")]


def run(recipe: str, settings: Sequence[str], *, until: str = "publish", dry_run: bool = False) -> None:
    """Build a recipe, or show what would be built.

    Args:
        recipe: Name of a shipped recipe, or path of a folder or file.
        settings: Settings on top of it, as ``key=value``.
        until: Name of the last stage.
        dry_run: Show the plan and run nothing.

    Raises:
        RecipeError: The recipe cannot be read, planned or built.
    """
    from medembed.recipes import pipeline, tables
    from medembed.recipes.load import open_recipe

    loaded, places = open_recipe(recipe, settings)
    if dry_run:
        tables.print_plan(loaded, places, pipeline.until(pipeline.plan(loaded, places), until))
        return
    built = pipeline.build(loaded, places, until)
    if built:  # empty in the follower processes of a distributed run
        tables.print_summary(loaded, built)


def command(
    settings: Settings = None,
    recipe: Annotated[
        str, typer.Option(help="Name of a shipped recipe, or path of a folder with recipe.toml.")
    ] = "tiny",
    until: Until = "publish",
    dry_run: DryRun = False,
) -> None:
    """Run a recipe. What is built already is used again."""
    run(recipe, settings or (), until=until, dry_run=dry_run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and print the project's own errors as one sentence.

    Args:
        arguments: The command line; None for the process's own.

    Returns:
        Exit status: 0, 1 after an error that was explained, 2 for a wrong command line, 130 when interrupted.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    lose_nothing()
    try:
        app(arguments, prog_name="python -m medembed.recipes.train")
    except SystemExit as ended:
        if ended.code == STOPPED:
            say("stopped; the same command goes on where this one was", error=True)
        return int(ended.code or 0)
    except MedEmbedError as error:
        say(f"{type(error).__name__}: {error}", error=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
