"""`medembed index`: files of rows in, an embedded corpus out; run again after a crash, it goes on."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from medembed.cli import options
from medembed.corpus import embed, sources
from medembed.corpus.embed import SHARD_ROWS, Mode, Settings, Summary
from medembed.corpus.layout import REJECTS, Stored
from medembed.corpus.pool import pooled
from medembed.corpus.rows import Columns
from medembed.corpus.shards import Runner
from medembed.errors import IndexingStoppedError, SettingError
from medembed.model import MedEmbed
from medembed.progress import bar
from medembed.registry import BUNDLED

# all rows are in the corpus: 0; some were rejected: 3; stopped by a signal: 128 and its number
SOME_REJECTED = 3


class VectorsName(StrEnum):
    """How vectors are stored."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"
    binary = "binary"


class FormatName(StrEnum):
    """Formats of inputs."""

    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"
    parquet = "parquet"
    files = "files"
    lines = "lines"


def index(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, globs, URLs (s3://…), or - for standard input: JSON lines, CSV, TSV, Parquet, text."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the corpus.")],
    text_column: Annotated[
        list[str] | None,
        typer.Option(help="Column or field of the text; repeat to join several by a space. [default: text]"),
    ] = None,
    id_column: Annotated[str, typer.Option(help="Column or field of the id.")] = "id",
    number_rows: Annotated[bool, typer.Option("--number-rows", help="Make ids of file and line instead.")] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Keep a column for filters: NAME, or NAME:int, NAME:float, NAME:bool; repeat."),
    ] = None,
    format: Annotated[  # noqa: A002 - what it is called everywhere
        FormatName | None,
        typer.Option(
            help="Format of all inputs, instead of by their endings; files: a text a file, lines: a text a line."
        ),
    ] = None,
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
    append: Annotated[bool, typer.Option("--append", help="Add to the corpus that is there.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the corpus that is there.")] = False,
    store_text: Annotated[
        bool, typer.Option("--store-text/--no-store-text", help="Keep the texts, or only their file and line.")
    ] = True,
    model: options.Model = BUNDLED,
    precision: options.Precision = options.PrecisionName.auto,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N or mps; several by commas, shared out to the workers.")
    ] = "auto",
    threads: options.Threads = None,
    truncate_dim: Annotated[int | None, typer.Option(min=1, help="Keep this many dimensions.")] = None,
    overlong: Annotated[
        options.OverlongName, typer.Option(help="Texts above the model's limit.")
    ] = options.OverlongName.truncate,
) -> None:
    """Embed a corpus of any size into a folder; a killed run goes on where it was.

    Examples: [bold]medembed index notes/*.jsonl -o corpus/[/bold] · [bold]medembed index new.csv.gz -o corpus/ --append[/bold]

    Exit code 3 says that rows were left out; rejects.jsonl in the folder says which and why.
    """
    if append and overwrite:
        raise SettingError("--append and --overwrite exclude each other: choose one")
    mode: Mode = "append" if append else "overwrite" if overwrite else "new"
    columns = Columns(tuple(text_column or ["text"]), None if number_rows else id_column, _kept(keep or []))
    stored: Stored = vectors.value
    settings = Settings(columns, stored, batch_rows, store_text, mode)
    chosen = None if format is None else format.value
    sizes = [source.size for source in sources.find(inputs, chosen)]
    total = sum(size for size in sizes if size is not None) if None not in sizes else None
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
        _signals() as stopped,
        bar(total, None, unit="B") as advance,
    ):
        runner = _runner(embedder, workers, devices, ray, gpus)
        try:
            summary = embed.index(
                inputs,
                output,
                embedder,
                settings,
                format=chosen,
                runner=runner,
                on_bytes=advance,
                stop=lambda: bool(stopped),
            )
        except IndexingStoppedError as error:
            typer.echo(f"medembed: {error}", err=True)
            raise typer.Exit(128 + stopped[0]) from None
    _tell(summary, output, time.perf_counter() - started)


def _runner(model: MedEmbed, workers: int, devices: list[str], ray: str | None, gpus: float) -> Runner | None:
    """Who embeds: this process, several of this machine, or Ray's actors."""
    if ray is not None:
        from medembed.corpus.embed_ray import Cluster, on_ray

        address = None if ray == "local" else ray
        return on_ray(model, Cluster(workers, least=1, cpus=model.settings["threads"] or 1, gpus=gpus, address=address))
    return None if workers == 1 else pooled(model, workers, devices)


def _kept(given: list[str]) -> dict[str, str]:
    return {name: kind or "string" for name, _, kind in (item.partition(":") for item in given)}


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Note the first SIGINT or SIGTERM, so that the shard can be finished; a second one ends the process as usual."""
    stopped: list[int] = []
    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def note(number: int, _: FrameType | None) -> None:
        stopped.append(number)
        typer.echo("medembed: finishing the shard; once more to stop at once", err=True)
        signal.signal(number, before[number] or signal.SIG_DFL)

    for number in (signal.SIGINT.value, signal.SIGTERM.value):
        before[number] = signal.signal(number, note)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _tell(summary: Summary, output: Path, seconds: float) -> None:
    rate = f", {summary.embedded / seconds:.0f}/s" if summary.embedded else ""
    typer.echo(
        f"{output}: {summary.n_rows} rows ({summary.embedded} embedded now in {seconds:.1f} s{rate}; {summary.kept} were there)",
        err=True,
    )
    if summary.truncated:
        typer.echo(
            f"{summary.truncated} texts are longer than the model reads and were cut: --overlong chunk embeds them whole, or index passages",
            err=True,
        )
    if summary.rejected:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in summary.rejected.items())
        typer.echo(f"left out: {reasons}; see {output / REJECTS}", err=True)
        raise typer.Exit(SOME_REJECTED)
