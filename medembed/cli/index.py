"""`medembed index`: files of rows in, an embedded corpus out; run again after a crash, it goes on."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.cli.stopping import stopping
from medembed.corpus import embed
from medembed.corpus.embed import SHARD_ROWS, Settings, Summary
from medembed.corpus.layout import Stored
from medembed.corpus.pool import pooled
from medembed.corpus.shards import Runner
from medembed.model import MedEmbed
from medembed.progress import row_bar
from medembed.rows import sources
from medembed.rows.read import Columns
from medembed.rows.rejects import REJECTS
from medembed.rows.sources import Found
from medembed.terminal import say


class VectorsName(StrEnum):
    """How vectors are stored."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"
    binary = "binary"


def index(
    inputs: options.Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the corpus.")],
    text_column: options.TextColumn = None,
    id_column: options.IdColumn = "id",
    number_rows: options.NumberRows = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Keep a column for filters: NAME, or NAME:int, NAME:float, NAME:bool, NAME:date; repeat."),
    ] = None,
    format: options.Format = None,  # noqa: A002 - what it is called everywhere
    delimiter: options.Delimiter = None,
    quote: options.Quote = '"',
    encoding: options.Encoding = "utf-8",
    header: options.Header = True,
    vectors: Annotated[VectorsName, typer.Option(help="How vectors are stored.")] = VectorsName.float32,
    batch_rows: Annotated[
        int, typer.Option(min=1, help="Rows a shard: embedded at a time, and lost at most when the process is killed.")
    ] = SHARD_ROWS,
    workers: Annotated[int, typer.Option(min=1, help="Processes, or Ray actors, each with a model of its own.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Embed on Ray: local starts it here, auto joins the cluster of this machine, or the address of one."
        ),
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="With --ray: GPUs a worker.")] = 0,
    append: options.Append = False,
    overwrite: options.Overwrite = False,
    store_text: options.StoreText = True,
    model: options.Model = BUNDLED,
    precision: options.Precision = options.PrecisionName.auto,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N or mps; several by commas, shared out to the workers.")
    ] = "auto",
    threads: options.Threads = None,
    truncate_dim: Annotated[int | None, typer.Option(min=1, help="Keep this many dimensions.")] = None,
    overlong: options.Overlong = options.OverlongName.truncate,
) -> None:
    """Embed a corpus of any size into a folder; a killed run goes on where it was.

    Examples: [bold]medembed index notes/*.jsonl -o corpus/[/bold] · [bold]medembed index new.csv.gz -o corpus/ --append[/bold]

    Exit code 3 says that rows or files were left out; rejects.jsonl in the folder says which rows and why.
    """
    mode = options.mode(append=append, overwrite=overwrite)
    columns = Columns(tuple(text_column or ["text"]), None if number_rows else id_column, _kept(keep or []))
    stored: Stored = vectors.value
    settings = Settings(columns, stored, batch_rows, store_text, mode)
    chosen = None if format is None else format.value
    written = options.dialect(delimiter, quote, encoding, header=header)
    found = sources.find(inputs, chosen, dialect=written, outputs=[output])
    devices = device.split(",")
    started = time.perf_counter()
    with (
        MedEmbed(
            model,
            precision=precision.value,
            device=devices if len(devices) > 1 else device,
            threads=threads,
            truncate_dim=truncate_dim,
            overlong=overlong.value,
        ) as embedder,
        stopping() as stopped,
        row_bar(found.size()) as progress,
    ):
        runner = _runner(embedder, workers, devices, ray, gpus)
        summary = embed.index(
            found,
            output,
            embedder,
            settings,
            runner=runner,
            progress=progress,
            stop=lambda: bool(stopped),
        )
    _tell(summary, found, output, time.perf_counter() - started)


def _runner(model: MedEmbed, workers: int, devices: list[str], ray: str | None, gpus: float) -> Runner | None:
    """Who embeds: this process, several of this machine, or Ray's actors."""
    if ray is not None:
        from medembed.corpus.embed_ray import Cluster, on_ray

        address = None if ray == "local" else ray
        return on_ray(model, Cluster(workers, least=1, cpus=model.settings["threads"] or 1, gpus=gpus, address=address))
    return None if workers == 1 else pooled(model, workers, devices)


def _kept(given: list[str]) -> dict[str, str]:
    return {name: kind or "string" for name, _, kind in (item.partition(":") for item in given)}


def _tell(summary: Summary, found: Found, output: Path, seconds: float) -> None:
    rate = f", {summary.embedded / seconds:.0f}/s" if summary.embedded else ""
    say(
        f"{output}: {summary.n_rows} rows ({summary.embedded} embedded now in {seconds:.1f} s{rate}; {summary.kept} were there)",
        error=True,
    )
    if summary.truncated:
        say(
            f"{summary.truncated} texts are longer than the model reads and were cut: --overlong chunk embeds them whole, or index passages",
            error=True,
        )
    options.tell_rejected(found, summary.rejected, output / REJECTS, indexed=summary.n_rows)
