"""The command line of the recipes: one parser for the main door and for the door of every stage."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from medembed.errors import MedEmbedError
from medembed.recipes import catalog
from medembed.recipes.load import load_recipe
from medembed.recipes.sources import Places
from medembed.terminal import say

RECIPE = "name of a shipped recipe, or path of a folder with recipe.toml"


def stage_main(stage: str, arguments: Sequence[str] | None = None) -> int:
    """Run a recipe up to a stage: what ``python -m medembed.recipes.<stage>`` does.

    ``train`` is the one command that makes a model, so it goes on to ``publish`` unless ``--until`` says otherwise.

    Args:
        stage: Name of the stage.
        arguments: Command line; None for the process's own.

    Returns:
        Exit status: 0, or 1 after an error that was explained.
    """
    target = "publish" if stage == "train" else stage
    parser = argparse.ArgumentParser(
        prog=f"python -m medembed.recipes.{stage}",
        description=f"Run a recipe up to '{target}'; what is built already is used again.",
    )
    add_run_arguments(parser, target)
    parser.add_argument(
        "--recipe",
        default="tiny",
        help=f"{RECIPE} (default: tiny)",
    )
    return explained(lambda: run(parsed(parser, arguments)))


def add_run_arguments(parser: argparse.ArgumentParser, target: str) -> None:
    """The options that all doors to a run share."""
    from medembed.recipes.pipeline import NAMES

    add_settings(parser)
    stages = f"last stage to build, one of {', '.join(NAMES)} (default: {target})"
    parser.add_argument("--until", default=target, metavar="STAGE", help=stages)
    parser.add_argument("--dry-run", action="store_true", help="print plan, fingerprints, counts and cost; run nothing")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """What goes on top of a recipe's file; ``medembed.recipes.schema`` names all of it."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="settings on top of the recipe, e.g. train.epochs=2 execution.work=DIR",
    )


def run(options: argparse.Namespace) -> int:
    """Build, or show what would be built."""
    from medembed.recipes import pipeline, tables

    entry = catalog.find(options.recipe)
    recipe = load_recipe(entry.file, options.settings)
    places = Places(entry.folder, recipe.execution)
    if options.dry_run:
        tables.print_plan(recipe, places, pipeline.until(pipeline.plan(recipe, places), options.until))
        return 0
    built = pipeline.build(recipe, places, options.until)
    if built:  # empty in the follower processes of a distributed run
        tables.print_summary(recipe, built)
    return 0


def explained(work: Callable[[], int]) -> int:
    """Run, and print the project's own errors as sentences instead of tracebacks."""
    try:
        return work()
    except MedEmbedError as error:
        say(f"{type(error).__name__}: {error}", error=True)
        return 1
    except KeyboardInterrupt:
        say("stopped; the same command goes on where this one was", error=True)
        return 130


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m medembed.recipes list | show | copy | run | status | download``."""
    parser = argparse.ArgumentParser(
        prog="python -m medembed.recipes",
        description="From notes to a fine-tuned model: recipes to look at, copy and run.",
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="the shipped recipes")
    show = commands.add_parser("show", help="a recipe's file and card")
    show.add_argument("recipe", help=RECIPE)
    copy = commands.add_parser("copy", help="copy a recipe to a folder, to be edited")
    copy.add_argument("recipe", help=RECIPE)
    copy.add_argument("target", type=Path, help="folder to make; must not exist yet")
    for name, text in (
        ("run", "build every missing stage"),
        ("status", "what is built"),
        ("download", "fetch and verify sources by URL"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
        command.add_argument("recipe", nargs="?", default="tiny", help=f"{RECIPE} (default: tiny)")
        if name == "run":
            add_run_arguments(command, "publish")
        else:
            add_settings(command)
    options = parsed(parser, arguments)
    if options.command is None:
        parser.print_help()
        return 0
    return explained(lambda: _COMMANDS[options.command](options))


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Arguments with settings anywhere between the options; argparse alone wants them all in one place."""
    options, rest = parser.parse_known_args(arguments)
    unknown = [text for text in rest if text.startswith("-") or "=" not in text]
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}; settings are written key=value, for instance train.epochs=2")
    options.settings = [*getattr(options, "settings", []), *rest]
    return options


def _list(_options: argparse.Namespace) -> int:
    from medembed.recipes import tables

    tables.print_catalog(catalog.shipped())
    return 0


def _show(options: argparse.Namespace) -> int:
    entry = catalog.find(options.recipe)
    card = entry.folder / "README.md"
    say(entry.file.read_text(encoding="utf-8"))
    say(card.read_text(encoding="utf-8") if card.is_file() else "(no card)")
    return 0


def _copy(options: argparse.Namespace) -> int:
    target = catalog.copy(options.recipe, options.target)
    say(f"copied to {target}; run it with: python -m medembed.recipes run {target}")
    return 0


def _status(options: argparse.Namespace) -> int:
    from medembed.recipes import pipeline, tables

    entry = catalog.find(options.recipe)
    recipe = load_recipe(entry.file, options.settings)
    tables.print_status(pipeline.plan(recipe, Places(entry.folder, recipe.execution)))
    return 0


def _download(options: argparse.Namespace) -> int:
    from medembed.recipes.sources import download

    entry = catalog.find(options.recipe)
    recipe = load_recipe(entry.file, options.settings)
    for name, source in {**recipe.notes.sources, **recipe.pairs.sources}.items():
        if source.url:
            say(f"{name}: {download(source, name, recipe.execution.work / 'downloads')}")
        elif source.format != "hub":
            say(f"{name}: no url; {source.origin or 'origin not named'}; give it with execution.data=DIR")
    return 0


_COMMANDS = {"list": _list, "show": _show, "copy": _copy, "run": run, "status": _status, "download": _download}
