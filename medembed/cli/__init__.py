"""The command line: one command per file, listed in `commands`. Commands parse, call the library, and print."""

import sys
from typing import Annotated

import typer

from medembed import __version__
from medembed.cli.commands import Commands
from medembed.errors import MedEmbedError
from medembed.terminal import lose_nothing, say

# exit codes: 0 done, 1 an error in one line, 2 the command line itself was wrong, 3 some rows were rejected (both index commands), 130 interrupted
app = typer.Typer(
    name="medembed",
    cls=Commands,
    help="Medical text embeddings, fast and faithful on any CPU, offline from the first call.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"medembed {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program as a whole."""


def main() -> None:
    """Run the program. Errors of the library become one line on standard error and exit code 1."""
    lose_nothing()
    try:
        app()
    except MedEmbedError as error:
        say(f"medembed: {error}", error=True)
        sys.exit(1)
    except BrokenPipeError:  # `medembed ... | head`
        sys.stderr.close()
        sys.exit(0)
