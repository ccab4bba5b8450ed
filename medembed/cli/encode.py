"""`medembed encode`: texts in, a file of vectors out, in bounded memory."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.errors import OverlongTextError
from medembed.model import Floats, MedEmbed
from medembed.progress import RowBar, row_bar
from medembed.rows import files, read, sources
from medembed.rows.outputs import check_outputs
from medembed.rows.read import Columns, Row
from medembed.rows.readers import BY_ENDING
from medembed.terminal import say

# the first group is small, so that progress shows soon; then they grow to what batches well
FIRST_ROWS, MOST_ROWS = 64, 1024
# what is read before it is needed
AHEAD_ROWS, AHEAD_CHARS = 8192, 16 << 20
# in a file of vectors, rows are those of the file: a text file is a text per line here
ENDINGS = {**BY_ENDING, ".txt": "lines", ".md": "lines"}


def encode(
    inputs: options.Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Vectors: .npy, .jsonl or .parquet.")],
    text_column: options.TextColumn = None,
    id_column: Annotated[
        str | None,
        typer.Option(help="Column or field of an id to keep with each vector; beside a .npy they stand in .ids.json."),
    ] = None,
    number_rows: options.NumberRows = False,
    format: options.Format = None,  # noqa: A002 - what it is called everywhere
    delimiter: options.Delimiter = None,
    quote: options.Quote = '"',
    encoding: options.Encoding = "utf-8",
    header: options.Header = True,
    overwrite: options.Overwrite = False,
    model: options.Model = BUNDLED,
    kind: Annotated[
        options.Kind, typer.Option(help="Which of the model's prompts to put before each text.")
    ] = options.Kind.document,
    precision: options.Precision = options.PrecisionName.auto,
    device: options.Device = "auto",
    threads: options.Threads = None,
    truncate_dim: Annotated[int | None, typer.Option(min=1, help="Keep this many dimensions.")] = None,
    overlong: options.Overlong = options.OverlongName.truncate,
    quiet: options.Quiet = False,
) -> None:
    """Embed texts into a file of vectors, one per row.

    A row that cannot be used ends the command with its file and line.

    Examples: [bold]medembed encode notes.jsonl -o notes.npy[/bold] · [bold]medembed encode q.txt -o q.parquet --kind query[/bold] ·
    [bold]zcat notes.jsonl.gz | medembed encode - -o notes.parquet --id-column id[/bold]

    A .txt file is a text per line; with --format files it is one text. Exit code 3 says that files of a folder were left out.
    """
    files.check_place(output)
    with_ids = id_column is not None or number_rows
    outputs = files.paths_of(output, with_ids=with_ids)
    check_outputs(outputs, inputs, overwrite=overwrite)
    found = sources.find(
        inputs,
        None if format is None else format.value,
        dialect=options.dialect(delimiter, quote, encoding, header=header),
        outputs=outputs,
        by_ending=ENDINGS,
    )
    check_outputs(outputs, [source.name for source in found], overwrite=overwrite)
    columns = Columns(tuple(text_column or ["text"]), None if number_rows else id_column)
    blank = _Blank()
    started = time.perf_counter()
    with (
        MedEmbed(
            model,
            precision=precision.value,
            device=device,
            threads=threads,
            truncate_dim=truncate_dim,
            overlong=overlong.value,
        ) as embedder,
        files.VectorWriter(output, embedder.dimension, with_ids=with_ids) as writer,
        row_bar(found.size(), options.shown(quiet=quiet)) as progress,
    ):
        for rows in _groups(read.all_rows(found, columns, progress.read), progress):
            blank.note(rows, writer.n_rows)
            writer.write(_embedded(embedder, rows, kind), [row.id for row in rows])
            progress.advance(len(rows))
        n_cut = embedder.truncated.texts
    seconds = time.perf_counter() - started
    if not writer.n_rows:
        say(f"{', '.join(inputs)} holds no text", error=True)
    if blank.count:
        say(
            f"{blank.count} texts are blank, the first is row {blank.first}; each has a vector all the same", error=True
        )
    say(f"{writer.n_rows} vectors of {embedder.dimension} dimensions in {seconds:.1f} s: {output}", error=True)
    if n_cut:
        say(
            f"{n_cut} texts are longer than the model reads and were cut: --overlong chunk embeds them whole",
            error=True,
        )
    options.tell_left_out(found)


def _groups(rows: Iterator[Row], progress: RowBar) -> Iterator[list[Row]]:
    """Rows in groups of growing size. They are read ahead so that their number can be told or estimated."""
    ahead: deque[Row] = deque()
    size, chars = FIRST_ROWS, 0
    while True:
        n_before = len(ahead)
        while len(ahead) < AHEAD_ROWS and chars < AHEAD_CHARS and (row := next(rows, None)) is not None:
            ahead.append(row)
            chars += len(row.text)
        progress.add(len(ahead) - n_before)
        if not ahead:
            return
        group = [ahead.popleft() for _ in range(min(size, len(ahead)))]
        chars -= sum(len(row.text) for row in group)
        yield group
        size = min(2 * size, MOST_ROWS)


def _embedded(model: MedEmbed, rows: Sequence[Row], kind: options.Kind) -> Floats:
    try:
        # what is cut is told once, at the end
        texts = [row.text for row in rows]
        return model.encode_counted(texts, prompt_name=kind.value, show_progress_bar=False).vectors
    except OverlongTextError as error:
        row = rows[error.index]
        raise error.at(f"{row.source}, line {row.line}: the text") from None


@dataclass
class _Blank:
    """Rows that hold no text: their number, and the first.

    They are embedded, so that rows of the output are those of the input.
    """

    count: int = 0
    first: int = 0

    def note(self, rows: Sequence[Row], start: int) -> None:
        """Count the blank rows of a group that begins at a row."""
        blank = [number for number, row in enumerate(rows, start) if not row.text.strip()]
        if blank and not self.count:
            self.first = blank[0]
        self.count += len(blank)
