"""`medembed serve`: a model, rankings and corpora for clients that speak HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.errors import SettingError
from medembed.extras import require

Corpora = Annotated[
    list[Path] | None,
    typer.Option("--corpus", help="A folder of `medembed index` or `medembed token-index` to search; repeat."),
]
Keys = Annotated[
    Path | None, typer.Option(help="File of API keys that `medembed keys` made; each request needs one of them then.")
]
Audit = Annotated[
    Path | None,
    typer.Option(help="File that gets a line of JSON for each answer: who, what route, counts, hit ids; never a text."),
]
Late = Annotated[
    str | None, typer.Option("--late-interaction", help="Late-interaction model that ranks, for instance mini.")
]
OpenToAll = Annotated[bool, typer.Option("--open-to-all", help="Serve other machines without keys.")]


def serve(
    model: Annotated[str, typer.Argument(help="A name (see `medembed models`), a hub id, or a folder.")] = BUNDLED,
    corpus: Corpora = None,
    late_interaction: Late = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")] = 8321,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with the models and its share of the cores.")
    ] = 1,
    keys: Keys = None,
    audit: Audit = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS certificate, with its chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key of the TLS certificate.")] = None,
    open_to_all: OpenToAll = False,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Tell each answer on standard error: route, status, time.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="A site whose pages may ask from a browser, such as https://wiki.example.org; repeat. None may by default."
        ),
    ] = None,
    precision: options.Precision = options.PrecisionName.auto,
    device: options.Device = "auto",
    threads: options.Threads = None,
    overlong: options.Overlong = options.OverlongName.truncate,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest body of a request.")] = 4,
    max_texts: Annotated[int, typer.Option(min=1, help="Most texts of a request.")] = 2048,
    max_requests: Annotated[int, typer.Option(min=1, help="Most requests answered at a time.")] = 256,
    max_wait: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a request may wait for others; more is refused with 429.")
    ] = 10.0,
) -> None:
    """Serve embeddings, rankings and search to clients of OpenAI, Cohere and text-embeddings-inference.

    Examples: [bold]medembed serve[/bold] · [bold]medembed serve mini --corpus notes --late-interaction mini[/bold] ·
    [bold]medembed serve --corpus notes --host 0.0.0.0 --keys keys.json --audit audit.jsonl --tls-cert cert.pem --tls-key key.pem[/bold]

    SIGTERM finishes what runs and refuses what is new; SIGHUP reads the keys again.
    """
    require("uvicorn")
    from medembed.serving import run, settings

    settings.check_open(host, keys, open_to_all=open_to_all)
    if (tls_cert is None) != (tls_key is None):
        raise SettingError("--tls-cert and --tls-key go together: give both")
    limits = settings.Limits(body_bytes=max_body_mb << 20, texts=max_texts, requests=max_requests, queue_s=max_wait)
    serving = settings.Serving(
        model,
        settings.named(corpus or []),
        late_interaction,
        host=host,
        port=port,
        device=device,
        threads=threads,
        precision=precision.value,
        overlong=overlong.value,
        keys=keys,
        audit=audit,
        access_log=access_log,
        origins=settings.checked_origins(allow_origin or []),
        limits=limits,
    )
    certificate = None if tls_cert is None else (str(tls_cert), str(tls_key))
    run.serve(serving, workers=workers, certificate=certificate)
