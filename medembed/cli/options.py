"""Options that several commands share, so that they read the same everywhere."""

from enum import StrEnum
from typing import Annotated

import typer


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


class Kind(StrEnum):
    """Which of the model's prompts is put before each text."""

    query = "query"
    document = "document"


Model = Annotated[str, typer.Option("--model", "-m", help="A name (see `medembed models`), a hub id, or a folder.")]
Precision = Annotated[PrecisionName, typer.Option(help="Number format of the computation.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; one per physical core when left out.")]
