"""`medembed keys`: keys of a server. Their file holds hashes only."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medembed.errors import SettingError
from medembed.extras import require
from medembed.terminal import say

keys_app = typer.Typer(help="Make, list and remove the API keys of `medembed serve`.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The file of keys.")]
Name = Annotated[str, typer.Argument(help="The key's name; the audit log has it.")]


class UseName(StrEnum):
    """Things that a key can be for."""

    embed = "embed"
    rerank = "rerank"
    search = "search"


@keys_app.command("add")
def add(
    file: File,
    name: Name,
    corpus: Annotated[
        list[str] | None, typer.Option(help="Corpus that the key reaches, by its name; repeat. [default: all]")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="Column that each search has to name a value of: NAME=VALUE for this value, NAME for any one; repeat for several."
        ),
    ] = None,
    may: Annotated[list[UseName] | None, typer.Option(help="What the key is for; repeat. [default: all]")] = None,
) -> None:
    """Make a key. It is printed once, and kept nowhere.

    Examples: [bold]medembed keys add keys.json ward-app[/bold] · [bold]medembed keys add keys.json portal --corpus notes --scope patient[/bold]
    """
    require("starlette")
    from medembed.serving import keys

    uses = [use for use in keys.USES if not may or UseName(use) in may]
    say(keys.add(file, name, corpora=corpus or None, scope=scope_of(scope or []), may=uses))
    say(f"{name} is in {file}; a running server reads it again at SIGHUP", error=True)


@keys_app.command("list")
def names(file: File) -> None:
    """List the keys: names, corpora, scopes and uses."""
    require("starlette")
    from medembed.serving import keys

    for key in keys.read(file).keys:
        scope = ", ".join(f"{column}={'|'.join(values) if values else '…'}" for column, values in key.scope.items())
        say(
            f"{key.name}: corpora {', '.join(key.corpora) if key.corpora is not None else 'all'}; scope {scope or 'none'}; for {', '.join(key.may)}"
        )


@keys_app.command("remove")
def remove(file: File, name: Name) -> None:
    """Take a key away."""
    require("starlette")
    from medembed.serving import keys

    keys.remove(file, name)
    say(f"{name} is no longer in {file}; a running server reads it again at SIGHUP", error=True)


def scope_of(given: list[str]) -> dict[str, list[str] | None]:
    """A scope from the command line.

    Args:
        given: ``"patient=17"``, or ``"patient"`` for any one value.

    Raises:
        SettingError: No column, no value, or one column with and without a value.
    """
    found: dict[str, list[str] | None] = {}
    for item in given:
        column, sign, value = item.partition("=")
        if not column or (sign and not value):
            raise SettingError("--scope: give NAME=VALUE, or NAME for any one value")
        before = found.get(column, [])
        if (column in found and not sign) or before is None:
            raise SettingError("--scope: a column is given with and without a value; choose one")
        found[column] = [*before, value] if sign else None
    return found
