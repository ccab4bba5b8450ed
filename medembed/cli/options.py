"""Options that several commands share, so that they read the same everywhere. What they mean together is here too."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medembed.errors import SettingError
from medembed.storage.modes import SYNC_LIMIT, Mode
from medembed.terminal import say

if TYPE_CHECKING:  # help names the options alone, and reads no rows
    from medembed.clinical.split import Splitting
    from medembed.rows.dialect import Dialect
    from medembed.rows.sources import Found


class PrecisionName(StrEnum):
    """Number formats an engine may compute in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    int8 = "int8"


class OverlongName(StrEnum):
    """Choices for texts above the model's limit."""

    truncate = "truncate"
    error = "error"
    chunk = "chunk"


class FormatName(StrEnum):
    """Formats of inputs."""

    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"
    parquet = "parquet"
    json = "json"
    fhir = "fhir"
    xml = "xml"
    html = "html"
    rtf = "rtf"
    docx = "docx"
    pdf = "pdf"
    files = "files"
    lines = "lines"


class Kind(StrEnum):
    """Choices of the model's prompt before each text."""

    query = "query"
    document = "document"


Model = Annotated[str, typer.Option("--model", "-m", help="A name (see `medembed models`), a hub id, or a folder.")]
Precision = Annotated[PrecisionName, typer.Option(help="Number format of the computation.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Show no progress bar. What was left out or cut is told all the same.")
]
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
Append = Annotated[
    bool, typer.Option("--append", help="Add to what is there; rows whose ids are there already are left out.")
]
Upsert = Annotated[
    bool,
    typer.Option("--upsert", help="Add to what is there, and replace rows whose text or kept columns have changed."),
]
Sync = Annotated[
    bool,
    typer.Option(
        "--sync",
        help="Make the corpus hold these rows and no others: add what is new, replace what has changed, delete what is gone.",
    ),
]
SyncLimit = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help=f"With --sync: share of the rows that may be deleted; more is refused. [default: {SYNC_LIMIT}]",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
StoreText = Annotated[
    bool | None,
    typer.Option("--store-text/--no-store-text", help="Keep the texts, so that hits bring them. [default: store-text]"),
]
Assertions = Annotated[
    bool | None,
    typer.Option(
        "--assertions/--no-assertions",
        help="Keep what each text negates, doubts, tells of others, of the past or of the future, which makes --assertion of `medembed "
        "search` fast. [default: no-assertions]",
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        help="What separates the fields of a CSV or TSV, for instance ';' or tab; found out by itself if usual."
    ),
]
Quote = Annotated[
    str, typer.Option(help="What quotes fields of a CSV or TSV; none where quotes are ordinary characters.")
]
Encoding = Annotated[str, typer.Option(help="Encoding of text files, for instance cp1252 or utf-16.")]
Header = Annotated[
    bool,
    typer.Option(
        "--header/--no-header",
        help="Whether a CSV or TSV begins with the names of its columns; otherwise they are 1, 2, ...",
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(help="Keep a column for filters: NAME, or NAME:int, NAME:float, NAME:bool, NAME:date; repeat."),
]
ScopeColumn = Annotated[
    str | None,
    typer.Option(
        help="Column that divides the rows, for instance by patient: it is kept, and every search has to name a value of it, or all."
    ),
]
Scope = Annotated[
    str | None,
    typer.Option(
        help="Whose rows are reached, for a corpus with a scope column: NAME=VALUE, or all. It cannot be left out there."
    ),
]
BatchRows = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Rows per shard: encoded at a time, and lost at most when the process is killed. "
        "[default: 4096; 1024 with late interaction]",
    ),
]
Bits = Annotated[
    int | None,
    typer.Option(
        help="With late interaction: bits per dimension of a token's vector, 2, 4 or 8; 128 dimensions take 34, 66 or 130 bytes. "
        "[default: 2]"
    ),
]
PoolFactor = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="With late interaction: merge alike tokens of a text until a share of 1/FACTOR is left. [default: 1]",
    ),
]
DocumentLength = Annotated[int | None, typer.Option(min=3, help="With late interaction: tokens to read of each text.")]

Split = Annotated[
    bool,
    typer.Option(
        "--split",
        help="Cut notes into passages, which become the rows: at sections, paragraphs and sentences. They keep note, start, end, "
        "section and heading.",
    ),
]
MaxTokens = Annotated[int | None, typer.Option(min=8, help="With --split: tokens of a passage at most. [default: 128]")]
Overlap = Annotated[
    int | None,
    typer.Option(
        min=0, help="With --split: tokens that a passage repeats of the one before, in whole sentences. [default: 0]"
    ),
]

# all rows are there: 0; some were rejected: 3; stopped by a signal: 128 and its number
SOME_REJECTED = 3


def mode(*, append: bool, upsert: bool, sync: bool, overwrite: bool) -> Mode:
    """The mode that --append, --upsert, --sync and --overwrite mean together.

    Raises:
        SettingError: Several were given.
    """
    modes: dict[Mode, bool] = {"append": append, "upsert": upsert, "sync": sync, "overwrite": overwrite}
    chosen = [name for name, given in modes.items() if given]
    if len(chosen) > 1:
        raise SettingError("--append, --upsert, --sync and --overwrite exclude each other: choose one")
    return chosen[0] if chosen else "new"


def shown(*, quiet: bool) -> bool | None:
    """Progress as the commands show it: never with --quiet, otherwise at a terminal."""
    return False if quiet else None


def refuse(given: Mapping[str, object], why: str) -> None:
    """Refuse options that mean nothing here.

    Raises:
        SettingError: One of them has a value; the message names all that have.
    """
    if names := [f"--{name}" for name, value in given.items() if value is not None and value is not False]:
        raise SettingError(f"{', '.join(names)}: {why}; leave it out")


def splitting(max_tokens: int | None, overlap: int | None, *, split: bool) -> "Splitting | None":
    """The settings that --split, --max-tokens and --overlap mean together. None for rows as they are.

    Raises:
        SettingError: One of the others without --split, or tokens that do not go together.
    """
    if not split:
        refuse({"max-tokens": max_tokens, "overlap": overlap}, "only with --split")
        return None
    from medembed.clinical.split import Splitting

    return Splitting(max_tokens, overlap or 0)


def dialect(delimiter: str | None, quote: str, encoding: str, *, header: bool) -> "Dialect":
    """The dialect of text files, from the options for it."""
    from medembed.rows.dialect import Dialect

    return Dialect(delimiter, None if quote == "none" else quote, encoding, header)


def tell_left_out(found: "Found") -> None:
    """Say which files of folders were not read. Then end with an exit code of its own.

    Raises:
        typer.Exit: Some were left out because of their ending.
    """
    _say_passed(found)
    if found.left_out:
        raise typer.Exit(SOME_REJECTED)


def _say_passed(found: "Found") -> None:
    if found.left_out:
        from medembed.rows.readers import known_endings
        from medembed.rows.sources import told_left_out

        say(f"files that were not read: {told_left_out(found.left_out)}; expected {known_endings()}", error=True)
    if found.n_hidden:
        say(f"{found.n_hidden} hidden files were not read", error=True)
    if found.n_stores:
        say(f"{found.n_stores} folders that medembed made were not read", error=True)


def tell_rejected(found: "Found", rejected: Mapping[str, int], path: Path, *, indexed: int) -> None:
    """Say how many rows and files were left out and why. Then end with an exit code of its own.

    Raises:
        typer.Exit: Some were.
    """
    _say_passed(found)
    if rejected:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in rejected.items())
        say(f"left out: {reasons}; see {path}", error=True)
        if indexed == 0:
            say("nothing was indexed: --text-column and --id-column name the columns of your rows", error=True)
    if rejected or found.left_out:
        raise typer.Exit(SOME_REJECTED)
