"""`medembed token-index`: files of rows in, an index of token vectors for late interaction out."""

import time
from pathlib import Path
from typing import Annotated, cast

import typer

from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.cli.stopping import stopping
from medembed.colbert.index import files
from medembed.colbert.index.build import SHARD_ROWS, TokenSettings
from medembed.colbert.model import MedColBERT
from medembed.colbert.residual import Bits
from medembed.progress import bar
from medembed.rows import sources
from medembed.rows.read import Columns
from medembed.rows.rejects import REJECTS
from medembed.rows.sources import Found
from medembed.terminal import say


def token_index(
    inputs: options.Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the index.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="mini, or hub id or folder of a late-interaction model.")
    ] = BUNDLED,
    text_column: options.TextColumn = None,
    id_column: options.IdColumn = "id",
    number_rows: options.NumberRows = False,
    format: options.Format = None,  # noqa: A002 - what it is called everywhere
    delimiter: options.Delimiter = None,
    quote: options.Quote = '"',
    encoding: options.Encoding = "utf-8",
    header: options.Header = True,
    bits: Annotated[
        int,
        typer.Option(help="Bits a dimension of a token's vector: 2, 4 or 8; 128 dimensions take 34, 66 or 130 bytes."),
    ] = 2,
    pool_factor: Annotated[
        float, typer.Option(min=1, help="Merge alike tokens of a text until a share of 1/FACTOR is left.")
    ] = 1.0,
    batch_rows: Annotated[
        int, typer.Option(min=1, help="Rows a shard: encoded at a time, and lost at most when the process is killed.")
    ] = SHARD_ROWS,
    append: options.Append = False,
    overwrite: options.Overwrite = False,
    store_text: options.StoreText = True,
    document_length: Annotated[int | None, typer.Option(min=3, help="Tokens to read of each text.")] = None,
    precision: options.Precision = options.PrecisionName.auto,
    device: options.Device = "auto",
    threads: options.Threads = None,
    overlong: options.Overlong = options.OverlongName.truncate,
) -> None:
    """Index a vector for every token of a corpus of any size; a killed run goes on where it was.

    Examples: [bold]medembed token-index notes/*.jsonl -o tokens/[/bold] ·
    [bold]medembed search tokens/ "painful swollen calf"[/bold]

    Centroids are made from the first 2,048 rows: mix the sources. Exit code 3 says that rows were left out; rejects.jsonl in the
    folder says which and why.
    """
    mode = options.mode(append=append, overwrite=overwrite)
    settings = TokenSettings(cast("Bits", bits), pool_factor, batch_rows, store_text)
    chosen = None if format is None else format.value
    columns = Columns(tuple(text_column or ["text"]), None if number_rows else id_column)
    written = options.dialect(delimiter, quote, encoding, header=header)
    found = sources.find(inputs, chosen, dialect=written, outputs=[output])
    reading = files.Reading(columns, chosen, mode)
    started = time.perf_counter()
    with (
        MedColBERT(
            model,
            precision=precision.value,
            device=device,
            threads=threads,
            document_length=document_length,
            overlong=overlong.value,
        ) as encoder,
        stopping() as stopped,
        bar(found.size(), None, unit="B") as advance,
    ):
        summary = files.index(found, output, encoder, settings, reading, on_bytes=advance, stop=lambda: bool(stopped))
    _tell(summary, found, output, time.perf_counter() - started)


def _tell(summary: files.Summary, found: Found, output: Path, seconds: float) -> None:
    rate = f", {summary.encoded / seconds:.0f}/s" if summary.encoded else ""
    say(
        f"{output}: {summary.n_rows} rows, {summary.n_tokens} token vectors ({summary.encoded} rows encoded now in {seconds:.1f} s{rate})",
        error=True,
    )
    if summary.truncated:
        say(
            f"{summary.truncated} texts are longer than the model reads and were cut: --overlong chunk reads them whole, or index passages",
            error=True,
        )
    options.tell_rejected(found, summary.rejected, output / REJECTS, indexed=summary.n_rows)
