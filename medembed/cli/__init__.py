"""The command line: one command per file, registered here. Commands parse, call the library, and print."""

import sys
from typing import Annotated

import typer

from medembed import __version__
from medembed.cli.assess import ManyModels, assess
from medembed.cli.compare import compare
from medembed.cli.corpus import corpus_app
from medembed.cli.demo import demo
from medembed.cli.doctor import doctor
from medembed.cli.encode import encode
from medembed.cli.evaluate import evaluate
from medembed.cli.index import index, token_index
from medembed.cli.keys import keys_app
from medembed.cli.leaderboard import leaderboard_app
from medembed.cli.mcp import mcp
from medembed.cli.models import models_app
from medembed.cli.recipes import recipes_app
from medembed.cli.search import search
from medembed.cli.serve import serve
from medembed.errors import MedEmbedError
from medembed.terminal import lose_nothing, say

# exit codes: 0 done, 1 an error in one line, 2 the command line itself was wrong, 3 some rows were rejected (both index commands), 130 interrupted
app = typer.Typer(
    name="medembed",
    help="Medical text embeddings, fast and faithful on any CPU, offline from the first call.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(encode)
app.command()(index)
app.command("token-index")(token_index)
app.command()(search)
app.add_typer(corpus_app, name="corpus")
app.command()(serve)
app.command()(mcp)
app.add_typer(keys_app, name="keys")
app.add_typer(models_app, name="models")
app.command()(evaluate)
app.command()(compare)
app.command(cls=ManyModels)(assess)
app.add_typer(leaderboard_app, name="leaderboard")
app.add_typer(recipes_app, name="recipes")
app.command()(doctor)


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
