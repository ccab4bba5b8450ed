"""Files of rows → a token index: what `medembed token-index` does."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medembed.colbert.index import build as building
from medembed.colbert.index import layout
from medembed.colbert.index.build import Draft, TokenSettings
from medembed.colbert.index.layout import INDEX, Row
from medembed.colbert.model import MedColBERT
from medembed.rows import read as rows
from medembed.rows import sources
from medembed.rows.read import Columns
from medembed.rows.rejects import Rejects, accepted
from medembed.rows.seen import SeenIds
from medembed.rows.source import Reject
from medembed.rows.sources import Found
from medembed.runtime.tokenizer import TruncationWarning
from medembed.storage.shard_folders import Mode, writing

Rows = Iterable[rows.Row | Reject]


def _nothing(_: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class Reading:
    """How files become documents of an index.

    Attributes:
        columns: Which columns hold id and text.
        format: Format of all inputs; None to go by their endings.
        mode: ``"new"`` makes or finishes an index, ``"append"`` adds to one, ``"overwrite"`` replaces one.
    """

    columns: Columns = field(default_factory=Columns)
    format: str | None = None
    mode: Mode = "new"


@dataclass(frozen=True)
class Summary:
    """What indexing did.

    Attributes:
        n_rows: Documents of the index now, deleted ones left out.
        n_tokens: Their token vectors, and those of deleted ones.
        encoded: Documents encoded by this run.
        rejected: Rows left out, by reason.
        truncated: Documents that this run cut at the model's limit.
    """

    n_rows: int
    n_tokens: int
    encoded: int
    rejected: Mapping[str, int]
    truncated: int


def index(
    inputs: Sequence[str] | Found,
    folder: Path,
    model: MedColBERT,
    settings: TokenSettings | None = None,
    reading: Reading | None = None,
    *,
    on_bytes: Callable[[int], object] = _nothing,
    stop: Callable[[], bool] = building.never,
) -> Summary:
    """Encode the rows of files into a token index; bounded memory, and after a crash the same call goes on.

    Args:
        inputs: Files, folders, globs, URLs, or what :func:`medembed.rows.sources.find` made of them.
        folder: The index; made if missing.
        model: What encodes.
        settings: Bits, pooling, shards; None for the defaults. An index that is appended to keeps its own.
        reading: Columns, format, mode; None for the defaults.
        on_bytes: Called with numbers of bytes of the inputs as they are read.
        stop: Asked between two shards; once it says True, ``IndexingStoppedError`` is raised.

    Returns:
        Counts. Rejected rows stand in ``rejects.jsonl`` with file, line and reason.

    Raises:
        InputFileError: An input cannot be read.
        CorpusError: The folder holds another index, another process writes to it, or it cannot be written.
        IndexingStoppedError: ``stop`` said so; what is whole stays.
    """
    reading = reading or Reading()
    found = sources.found_in(inputs, reading.format, [folder])
    if reading.mode == "append":
        layout.read_manifest(folder)  # says so before a folder is made where there is nothing to append to
    cut_before = model.truncated.texts
    stream = rows.read(found, reading.columns, on_bytes)
    with writing(folder, INDEX), warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # told once, in the summary
        with Rejects(folder) as rejects:
            if reading.mode == "append":
                draft = _appended(stream, folder, model, rejects, stop)
            else:
                documents = _documents(stream, SeenIds(), rejects)
                overwrite = reading.mode == "overwrite"
                draft = building.new_shards(
                    folder, documents, model, settings or TokenSettings(), overwrite=overwrite, stop=stop
                )
        manifest = building.finish(folder, draft)
    return Summary(
        n_rows=manifest.n_rows - len(manifest.deleted),
        n_tokens=manifest.n_tokens,
        encoded=draft.encoded,
        rejected=dict(rejects.counts),
        truncated=model.truncated.texts - cut_before,
    )


def _appended(stream: Rows, folder: Path, model: MedColBERT, rejects: Rejects, stop: Callable[[], bool]) -> Draft:
    """The shards that are there, and those of rows whose ids are not."""
    manifest = layout.read_manifest(folder)
    seen = SeenIds()
    for name in building.live_ids(folder, manifest):
        seen.add(name)
    return building.more_shards(folder, manifest, _documents(stream, seen, rejects), model, stop)


def _documents(stream: Rows, seen: SeenIds, rejects: Rejects) -> Iterator[Row]:
    return (Row(item.id, item.text) for item in accepted(stream, seen, rejects))
