"""`medembed leaderboard`: a static page of published and own results.

It also writes what a submission to MTEB needs.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from medembed.cli import options
from medembed.errors import SettingError
from medembed.evaluation import leaderboard, submission
from medembed.rows.outputs import all_or_none, check_outputs
from medembed.terminal import say

leaderboard_app = typer.Typer(help="A leaderboard as a static page.", no_args_is_help=True)


@leaderboard_app.callback()
def _group() -> None:
    """A leaderboard as a static page."""


@leaderboard_app.command()
def build(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Output folders of `medembed evaluate`; none for published numbers only."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the page and the linked JSON go.")] = Path(
        "docs"
    ),
    submit: Annotated[
        Path | None, typer.Option(help="Also prepare ModelMeta entries and a results tree for MTEB in this folder.")
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Write leaderboard.html and leaderboard.md.

    The first opens in any browser, without a network. The second is a page of the docs.

    Examples: [bold]medembed leaderboard build results[/bold] · [bold]medembed leaderboard build results --submit for-mteb[/bold]
    """
    if submit is not None and not results:
        raise SettingError(
            "--submit needs at least one folder of results: medembed leaderboard build RESULTS --submit DIR"
        )
    copies = leaderboard.copies(results or [], output)
    outputs = [*leaderboard.pages(output), *copies.values()]
    check_outputs([*outputs, *([] if submit is None else [submit])], copies, overwrite=overwrite)
    with all_or_none(outputs):
        pages = leaderboard.build(results or [], output)
    facts: dict[str, object] = {"pages": [str(page) for page in pages]}
    _tell([f"wrote {page}" for page in pages], quiet=as_json)
    if submit is not None and results:
        prepared = submission.prepare(results, submit)
        facts["submission"] = {**vars(prepared), "folder": str(submit)}
        _tell(
            [f"wrote {submit}: {len(prepared.ready)} model entries, {prepared.files} result files, README.md"],
            quiet=as_json,
        )
        for name, todo in prepared.missing.items():
            say(f"{name}: {submission.REFUSED}, {todo}", error=True)
    if as_json:
        say(json.dumps(facts))


def _tell(lines: list[str], *, quiet: bool) -> None:
    for line in [] if quiet else lines:
        say(line)
