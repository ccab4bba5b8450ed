"""`medembed mcp`: search over corpora as tools of an assistant."""

from pathlib import Path
from typing import Annotated

import typer

from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.cli.keys import scope_of
from medembed.cli.serve import Audit, Keys, OpenToAll
from medembed.errors import SettingError
from medembed.extras import require


def mcp(
    corpus: Annotated[list[Path], typer.Option(help="A folder of `medembed index` or `medembed token-index`; repeat.")],
    model: options.Model = BUNDLED,
    http: Annotated[
        bool, typer.Option("--http", help="Streamable HTTP at /mcp, in place of standard input and output.")
    ] = False,
    host: Annotated[str, typer.Option(help="With --http: address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --http: port to listen on.")] = 8322,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE: every call finds rows with this value alone; repeat for several. Calls cannot widen it."
        ),
    ] = None,
    keys: Keys = None,
    audit: Audit = None,
    open_to_all: OpenToAll = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Give an assistant the tools search, get_note and list_filters over the Model Context Protocol.

    Examples: [bold]medembed mcp --corpus notes[/bold] · [bold]medembed mcp --corpus notes --scope patient=17 --audit audit.jsonl[/bold] ·
    [bold]medembed mcp --corpus notes --http --keys keys.json[/bold]
    """
    require("mcp")
    from medembed.serving import mcp_server, run, settings

    bound = scope_of(scope or [])
    if any(values is None for values in bound.values()):
        raise SettingError(
            "--scope: give NAME=VALUE; a column that each call has to name belongs to a key: medembed keys add"
        )
    if not http and (keys is not None or host != settings.HOST or open_to_all):
        raise SettingError(
            "--keys, --host and --open-to-all are for --http: over standard input there is one assistant, give --scope"
        )
    settings.check_open(host, keys, open_to_all=open_to_all)
    serving = settings.Serving(
        model, settings.named(corpus), host=host, port=port, device=device, threads=threads, keys=keys, audit=audit
    )
    fixed = {column: values for column, values in bound.items() if values is not None}
    if http:
        run.serve_mcp(serving, lambda served: mcp_server.http_application(served, fixed))
    else:
        run.serve_stdio(serving, lambda served: mcp_server.run_stdio(served, fixed))
