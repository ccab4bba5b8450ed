"""Rows → a corpus: cut into shards, those already there kept, the rest embedded, the manifest last."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from medembed.corpus import layout, shards
from medembed.corpus.layout import CORPUS, Manifest, Shard, Stored
from medembed.corpus.shards import Job, Runner
from medembed.errors import CorpusError, IndexingStoppedError
from medembed.model import MedEmbed
from medembed.progress import RowBar
from medembed.rows import read as rows
from medembed.rows import sources
from medembed.rows.read import Columns, Row
from medembed.rows.rejects import Rejects, accepted
from medembed.rows.seen import SeenIds
from medembed.rows.source import Reject
from medembed.rows.sources import Found
from medembed.storage import paths, shard_folders
from medembed.storage.shard_folders import MANIFEST, SHARDS, Mode, write_manifest, writing

SHARD_ROWS = 4096
Rows = Iterable[Row | Reject]


def _nothing(_: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class Settings:
    """How a corpus is made.

    Attributes:
        columns: Which columns mean what.
        vectors: How vectors are stored.
        shard_rows: Rows a shard: what is embedded at a time, and lost at most when the process is killed.
        store_text: Whether shards hold the texts; without, hits name file and line, and hybrid search is not possible.
        mode: ``"new"`` makes or finishes a corpus of these inputs, ``"append"`` adds to one, ``"overwrite"`` replaces one.
    """

    columns: Columns = field(default_factory=Columns)
    vectors: Stored = "float32"
    shard_rows: int = SHARD_ROWS
    store_text: bool = True
    mode: Mode = "new"

    def __post_init__(self) -> None:
        """Check the values."""
        if self.shard_rows < 1:
            raise CorpusError(f"shard_rows={self.shard_rows}: give at least 1")


@dataclass(frozen=True)
class Summary:
    """What indexing did.

    Attributes:
        n_rows: Rows of the corpus now, deleted ones left out.
        embedded: Rows embedded by this run.
        kept: Rows of shards that were there already.
        rejected: Rows left out, by reason.
        truncated: Texts of the corpus that were longer than the model reads.
    """

    n_rows: int
    embedded: int
    kept: int
    rejected: Mapping[str, int]
    truncated: int


def index(
    inputs: Sequence[str] | Found,
    folder: Path,
    model: MedEmbed,
    settings: Settings | None = None,
    *,
    format: str | None = None,  # noqa: A002 - what the option is called
    runner: Runner | None = None,
    progress: RowBar | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Embed the rows of files into a corpus on disk; run again after a crash, it goes on where it was.

    Args:
        inputs: Files, folders, globs, URLs, or what :func:`medembed.rows.sources.find` made of them.
        folder: The corpus; made if missing.
        model: What embeds; its document prompt is put before each text.
        settings: Columns, storage, mode; None for the defaults.
        format: Format of all inputs; None to go by their endings.
        runner: Who embeds; None for ``model`` in this process.
        progress: Is told of bytes and rows as they are read, and of rows as they are embedded, or found embedded.
        stop: Asked between two shards; once it says True, the shards begun are finished and ``IndexingStoppedError`` raised.

    Returns:
        Counts. Rejected rows stand in ``rejects.jsonl`` with file, line and reason.

    Raises:
        InputFileError: An input cannot be read.
        CorpusError: The folder holds another corpus, another process writes to it, or it cannot be written; what is written
            whole stays, and counts for the next run.
        IndexingStoppedError: ``stop`` said so.
    """
    settings = settings or Settings()
    found = sources.found_in(inputs, format, [folder])
    told = progress or RowBar(None, None)
    stream = rows.read(found, settings.columns, told.read)
    patterns = list(found.patterns)
    return index_rows(stream, folder, model, settings, inputs=patterns, runner=runner, progress=told, stop=stop)


def index_rows(
    stream: Rows,
    folder: Path,
    model: MedEmbed,
    settings: Settings,
    *,
    inputs: list[str],
    runner: Runner | None = None,
    progress: RowBar | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """:func:`index` for rows that are read already; ``inputs`` is what the manifest says of their origin."""
    if settings.mode == "append":
        layout.read_manifest(folder)  # says so before a folder is made where there is nothing to append to
    with writing(folder, CORPUS):
        base = _base(folder, model, settings, inputs)
        paths.remove_folder(folder, f"{SHARDS}/staging")
        told = progress or RowBar(None, None)
        run = _Run(folder, base, settings, stop, told)
        with Rejects(folder) as rejects:
            pending = run.pending(accepted(stream, run.seen(), rejects))
            for shard in (runner or local(model, told.advance))(pending, folder, base):
                run.done(shard)
                if runner is not None:
                    told.advance(shard.n_rows)
            if run.stopped:
                raise IndexingStoppedError(
                    f"stopped with {run.n_rows} rows in whole shards of {folder}: run the same command again to go on"
                )
            manifest = run.finished(dict(rejects.counts))
        write_manifest(folder, manifest)
        sweep(folder, manifest)
    deleted = manifest.deleted.n_rows if manifest.deleted else 0
    truncated = sum(shard.truncated for shard in manifest.shards)
    return Summary(manifest.n_rows - deleted, run.embedded, run.kept, manifest.rejected, truncated)


def local(model: MedEmbed, on_rows: Callable[[int], object] = _nothing) -> Runner:
    """Embeds in this process."""

    def run(jobs: Iterable[Job], folder: Path, manifest: Manifest) -> Iterator[Shard]:
        for job in jobs:
            table = shards.embed_shard(job.rows, model, manifest, on_rows)
            yield shards.write_shard(folder, job.index, job.content, table)

    return run


class _Run:
    """One run of indexing: which shards there are, which are still to be made."""

    def __init__(
        self,
        folder: Path,
        base: Manifest,
        settings: Settings,
        stop: Callable[[], bool],
        progress: RowBar,
    ) -> None:
        self._folder, self._base, self._settings, self._stop = folder, base, settings, stop
        self._progress = progress
        self._made: dict[int, Shard] = {}
        self.embedded, self.kept, self.stopped = 0, 0, False

    def seen(self) -> SeenIds:
        """The ids that the corpus has already, deleted ones left out: they may come again."""
        seen = SeenIds()
        gone = deleted_rows(self._folder, self._base)
        start = 0
        for shard in self._base.shards:
            names = shards.read_shard(self._folder, shard, ["id"]).column("id").to_pylist()
            seen.update([name for number, name in enumerate(names, start) if number not in gone])
            start += shard.n_rows
        return seen

    def pending(self, accepted: Iterator[Row]) -> Iterator[Job]:
        """Jobs for the shards that are not there yet."""
        settings = layout.settings_hash(self._base)
        for number in range(len(self._base.shards), 10**9):
            if self._stop():
                self.stopped = True
                return
            group = list(islice(accepted, self._settings.shard_rows))
            if not group:
                return
            self._progress.add(len(group))
            table = shards.table_of(group, self._base)
            job = Job(number, layout.content_hash(settings, table), table)
            if (there := shards.find_shard(self._folder, job)) is not None:
                self._made[number] = there
                self.kept += there.n_rows
                self._progress.advance(there.n_rows)
            else:
                yield job

    def done(self, shard: Shard) -> None:
        """Take over a shard that a runner made."""
        self._made[int(Path(shard.file).name.split(".")[0])] = shard
        self.embedded += shard.n_rows

    @property
    def n_rows(self) -> int:
        """Rows in whole shards."""
        return layout.shard_rows(self._base.shards) + self.embedded + self.kept

    def finished(self, rejected: dict[str, int]) -> Manifest:
        """The manifest of the corpus as it is now."""
        made = [self._made[number] for number in sorted(self._made)]
        expected = list(range(len(self._base.shards), len(self._base.shards) + len(made)))
        if sorted(self._made) != expected:
            raise CorpusError(f"{self._folder}: some shards were not made; run the same command again")
        update = {"shards": [*self._base.shards, *made], "n_rows": self.n_rows, "rejected": rejected}
        return self._base.model_copy(update=update)


def _base(folder: Path, model: MedEmbed, settings: Settings, inputs: list[str]) -> Manifest:
    """What this run builds on: the corpus to append to, or an empty one."""
    fresh = Manifest(
        embedding=layout.embedding_of(model, settings.vectors),
        engine=f"{model.engine_name} {model.precision} on {model.device}",
        text_stored=settings.store_text,
        kept=dict(settings.columns.kept),
        shard_rows=settings.shard_rows,
        inputs=inputs,
    )
    if settings.mode == "append":
        there = layout.read_manifest(folder)
        layout.check_model(there, model, folder)
        if layout.settings_hash(there) != layout.settings_hash(fresh):
            raise CorpusError(
                f"{folder} keeps {_told(there)}, but these rows would be {_told(fresh)}: append with the corpus's own settings"
            )
        return there.model_copy(update={"edited": True, "inputs": [*there.inputs, *inputs]})
    if settings.mode == "new" and (folder / MANIFEST).is_file():
        _check_same(layout.read_manifest(folder), fresh, folder)
    return fresh


def _check_same(there: Manifest, fresh: Manifest, folder: Path) -> None:
    """A finished corpus may be gone over again with what it was made of, and with nothing else."""
    advice = "use --append to add to it, --overwrite to replace it, or another folder"
    if there.edited:
        raise CorpusError(f"{folder} is finished, and rows were appended or deleted since: {advice}")
    if (there.inputs, there.shard_rows, layout.settings_hash(there)) != (
        fresh.inputs,
        fresh.shard_rows,
        layout.settings_hash(fresh),
    ):
        raise CorpusError(
            f"{folder} is finished; it was made of {', '.join(there.inputs)} as {_told(there)}, and this is {', '.join(fresh.inputs)} "
            f"as {_told(fresh)}: {advice}"
        )


def _told(manifest: Manifest) -> str:
    told = manifest.embedding
    text = "with texts" if manifest.text_stored else "without texts"
    kept = f", columns {', '.join(f'{name}:{kind}' for name, kind in manifest.kept.items())}" if manifest.kept else ""
    return (
        f"{told.vectors} vectors of {told.model!r} at {told.revision} ({told.dimension} dimensions, {told.max_seq_length} tokens, "
        f"overlong {told.overlong}), {text}{kept}, {manifest.shard_rows} rows a shard"
    )


def deleted_rows(folder: Path, manifest: Manifest) -> frozenset[int]:
    """Numbers of deleted rows.

    Raises:
        CorpusDamagedError: Their file is missing or changed: the corpus must not show rows that were deleted.
    """
    if manifest.deleted is None:
        return frozenset()
    told = Shard(file=manifest.deleted.file, sha256=manifest.deleted.sha256, n_rows=manifest.deleted.n_rows, content="")
    if not shard_folders.is_intact(folder, told.file, told.sha256):
        raise layout.damaged_deletions(folder, told.file)
    table: Any = shards.read_shard(folder, told)
    return frozenset(table.column("row").to_pylist())


def sweep(folder: Path, manifest: Manifest) -> None:
    """Remove what a finished manifest does not name."""
    named = {shard.file for shard in manifest.shards} | ({manifest.deleted.file} if manifest.deleted else set())
    shard_folders.sweep(folder, named, ["deleted.*"])
