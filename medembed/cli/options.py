"""Options that several commands share, so that they read the same everywhere, and what they mean together."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medembed.errors import SettingError
from medembed.storage.shard_folders import Mode
from medembed.terminal import say


class PrecisionName(StrEnum):
    """Number formats an engine may compute in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    int8 = "int8"


class OverlongName(StrEnum):
    """What to do with texts above the model's limit."""

    truncate = "truncate"
    error = "error"
    chunk = "chunk"


class FormatName(StrEnum):
    """Formats of inputs."""

    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"
    parquet = "parquet"
    files = "files"
    lines = "lines"


class Kind(StrEnum):
    """Which of the model's prompts is put before each text."""

    query = "query"
    document = "document"


Model = Annotated[str, typer.Option("--model", "-m", help="A name (see `medembed models`), a hub id, or a folder.")]
Precision = Annotated[PrecisionName, typer.Option(help="Number format of the computation.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; one per physical core when left out.")]
Overlong = Annotated[OverlongName, typer.Option(help="Texts above the model's limit.")]

# what the two commands share that make a folder of shards
Inputs = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders, globs, URLs (s3://…), or - for standard input: JSON lines, CSV, TSV, Parquet, text."
    ),
]
TextColumn = Annotated[
    list[str] | None,
    typer.Option(help="Column or field of the text; repeat to join several by a space. [default: text]"),
]
IdColumn = Annotated[str, typer.Option(help="Column or field of the id.")]
NumberRows = Annotated[bool, typer.Option("--number-rows", help="Make ids of file and line instead.")]
Format = Annotated[
    FormatName | None,
    typer.Option(help="Format of all inputs, instead of by their endings; files: a text a file, lines: a text a line."),
]
Append = Annotated[bool, typer.Option("--append", help="Add to what is there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
StoreText = Annotated[
    bool, typer.Option("--store-text/--no-store-text", help="Keep the texts, so that hits bring them.")
]

# all rows are there: 0; some were rejected: 3; stopped by a signal: 128 and its number
SOME_REJECTED = 3


def mode(*, append: bool, overwrite: bool) -> Mode:
    """What --append and --overwrite mean together.

    Raises:
        SettingError: Both were given.
    """
    if append and overwrite:
        raise SettingError("--append and --overwrite exclude each other: choose one")
    return "append" if append else "overwrite" if overwrite else "new"


def tell_rejected(rejected: Mapping[str, int], path: Path, *, indexed: int) -> None:
    """Say how many rows were left out and why, and end with an exit code of its own.

    Raises:
        typer.Exit: Some were.
    """
    if rejected:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in rejected.items())
        say(f"left out: {reasons}; see {path}", error=True)
        if indexed == 0:
            say("nothing was indexed: --text-column and --id-column name the columns of your rows", error=True)
        raise typer.Exit(SOME_REJECTED)
