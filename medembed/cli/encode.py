"""`medembed encode`: a file of texts in, a file of vectors out, in bounded memory."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.model import MedEmbed
from medembed.progress import bar
from medembed.rows import files
from medembed.terminal import say


def encode(
    source: Annotated[Path, typer.Argument(help="Texts: .txt (one a line), .jsonl, .csv, .tsv or .parquet, also .gz.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Vectors: .npy, .jsonl or .parquet.")],
    text_column: Annotated[str, typer.Option(help="Column or field that holds the text.")] = "text",
    model: options.Model = BUNDLED,
    kind: Annotated[
        options.Kind, typer.Option(help="Which of the model's prompts to put before each text.")
    ] = options.Kind.document,
    precision: options.Precision = options.PrecisionName.auto,
    device: options.Device = "auto",
    threads: options.Threads = None,
    truncate_dim: Annotated[int | None, typer.Option(min=1, help="Keep this many dimensions.")] = None,
    overlong: Annotated[
        options.OverlongName, typer.Option(help="Texts above the model's limit.")
    ] = options.OverlongName.truncate,
) -> None:
    """Embed the texts of a file.

    Examples: [bold]medembed encode notes.jsonl -o notes.npy[/bold] · [bold]medembed encode q.txt -o q.parquet --kind query[/bold]
    """
    blank = _Blank()
    texts = _noting_blank(files.read_texts(source, text_column), blank)
    with (
        MedEmbed(
            model,
            precision=precision.value,
            device=device,
            threads=threads,
            truncate_dim=truncate_dim,
            overlong=overlong.value,
        ) as embedder,
        files.VectorWriter(output, embedder.dimension) as writer,
        bar(None, None) as advance,
    ):
        started = time.perf_counter()
        for rows in embedder.encode_stream(texts, kind=kind.value, window=files.ROWS_AT_A_TIME):
            writer.write(rows)
            advance(len(rows))
        seconds = time.perf_counter() - started
    if not writer.n_rows:
        say(f"{source} holds no text", error=True)
    if blank.count:
        say(
            f"{blank.count} texts are blank, the first is row {blank.first}; each has a vector all the same", error=True
        )
    say(f"{writer.n_rows} vectors of {embedder.dimension} dimensions in {seconds:.1f} s: {output}", error=True)


@dataclass
class _Blank:
    """Rows that hold no text: how many, and the first. They are embedded, so that rows of the output are those of the file."""

    count: int = 0
    first: int = 0


def _noting_blank(texts: Iterable[str], blank: _Blank) -> Iterator[str]:
    for row, text in enumerate(texts):
        if not text.strip():
            blank.first = blank.first if blank.count else row
            blank.count += 1
        yield text
