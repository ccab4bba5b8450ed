"""Rows → an embedded corpus. Its vectors are made here or by a runner."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.clinical import passages as cutting
from medembed.clinical.assertions import RULES
from medembed.clinical.hits import scope_columns
from medembed.clinical.split import Splitting
from medembed.corpus import layout
from medembed.corpus.layout import CORPUS, Embedding, Stored
from medembed.errors import CorpusError, SettingError
from medembed.model import MedEmbed
from medembed.progress import RowBar
from medembed.rows import sources
from medembed.rows.read import Columns
from medembed.rows.sources import Found
from medembed.storage import arrow_files, indexing, syncing
from medembed.storage.building import Plan, Summary, never
from medembed.storage.indexing import Rows
from medembed.storage.manifest import Manifest, RepeatedText
from medembed.storage.modes import SYNC_LIMIT, Mode
from medembed.storage.repeats import Repeats
from medembed.storage.shards import Encoded, Job, Runner, local, naming_rows
from medembed.storage.syncing import Announce

SHARD_ROWS = 4096


@dataclass(frozen=True)
class Settings:
    """Settings for making a corpus.

    Attributes:
        columns: Which columns mean what.
        vectors: How vectors are stored.
        shard_rows: Rows per shard: what is embedded at a time, and lost at most when the process is killed.
        store_text: Whether shards hold the texts; without, hits name file and line, and hybrid search is not possible.
        assertions: Whether shards hold what each text negates, doubts, tells of others, of the past or of the future.
        splitting: How notes are cut into passages, which become the rows; None to embed rows as they are.
        repeated_text: ``"once"`` embeds each text once, however often it comes, and search shows the first of its rows, which
            names the others in ``also_in``; ``"near"`` also takes texts for one that differ in nothing but line breaks, blanks,
            quotes, dashes and bullets, within one value of the scope column; ``"each"`` embeds and shows every row.
        mode: ``"new"`` makes or finishes a corpus of these inputs, ``"append"`` adds to one, ``"upsert"`` adds and replaces what
            has changed, ``"sync"`` also deletes what is gone, ``"overwrite"`` replaces the whole.
        sync_limit: Share of the rows that a sync may delete, from 0 to 1.
    """

    columns: Columns = field(default_factory=Columns)
    vectors: Stored = "float32"
    shard_rows: int = SHARD_ROWS
    store_text: bool = True
    assertions: bool = False
    splitting: Splitting | None = None
    repeated_text: RepeatedText = "each"
    mode: Mode = "new"
    sync_limit: float = SYNC_LIMIT

    def __post_init__(self) -> None:
        """Check the values."""
        syncing.check_limit(self.sync_limit)
        if self.shard_rows < 1:
            raise CorpusError(f"shard_rows={self.shard_rows}: give at least 1")
        if self.repeated_text not in get_args(RepeatedText):
            raise SettingError(
                f"repeated_text={self.repeated_text!r}: choose one of {', '.join(get_args(RepeatedText))}"
            )
        if self.repeated_text != "each" and not self.store_text:
            raise SettingError(
                f"repeated_text={self.repeated_text!r} compares the texts of rows: keep them, without --no-store-text"
            )


def settings_of(manifest: Manifest[Embedding], mode: Mode) -> Settings:
    """Settings that continue a corpus."""
    columns, splitting = cutting.settings_of(manifest)
    told = manifest.encoding.vectors, manifest.shard_rows, manifest.text_stored, manifest.assertions
    return Settings(columns, *told, splitting, manifest.repeated_text, mode)


def index(  # noqa: PLR0913 - what a run may be told, all keyword-only
    inputs: Sequence[str] | Found,
    folder: Path,
    model: MedEmbed,
    settings: Settings | None = None,
    *,
    format: str | None = None,  # noqa: A002 - what the option is called
    runner: Runner | None = None,
    progress: RowBar | None = None,
    stop: Callable[[], bool] = never,
    announce: Announce = syncing.silent,
) -> Summary:
    """Embed the rows of files into a corpus on disk. Run again after a crash, it goes on where it was.

    Args:
        inputs: Files, folders, globs, URLs, or what :func:`medembed.rows.sources.find` made of them.
        folder: The corpus; made if missing.
        model: What embeds; its document prompt is put before each text.
        settings: Columns, storage, mode; None for the defaults.
        format: Format of all inputs; None to go by their endings.
        runner: Who embeds; None for ``model`` in this process.
        progress: Is told of bytes and rows as they are read, and of rows as they are embedded, or found embedded.
        stop: Asked between two shards; once it says True, the shards begun are finished and ``IndexingStoppedError`` raised.
        announce: Is told what a sync is about to do, before it does it.

    Returns:
        Counts. Rejected rows stand in ``rejects.jsonl`` with file, line and reason.

    Raises:
        InputFileError: An input cannot be read.
        CorpusError: The folder holds another corpus, another process writes to it, or it cannot be written; what is written
            whole stays, and counts for the next run.
        SyncLimitError: A sync would delete more than it may; nothing is changed then.
        IndexingStoppedError: ``stop`` said so.
    """
    settings = settings or Settings()
    found = sources.found_in(inputs, format, [folder])
    plan = replace(plan_of(model, settings, list(found.patterns), runner, progress, stop), announce=announce)
    return indexing.index_files(found, settings.columns, folder, plan)


def index_rows(
    stream: Rows,
    folder: Path,
    model: MedEmbed,
    settings: Settings,
    *,
    inputs: list[str],
    runner: Runner | None = None,
    progress: RowBar | None = None,
    stop: Callable[[], bool] = never,
) -> Summary:
    """:func:`index` for rows that are read already. ``inputs`` is what the manifest says of their origin."""
    return indexing.index_rows(stream, folder, plan_of(model, settings, inputs, runner, progress, stop))


def index_python(rows: Iterable[Mapping[str, Any]], folder: Path, model: MedEmbed, settings: Settings) -> Summary:
    """:func:`index` for mappings. A mapping that cannot be used is an error."""
    plan = plan_of(model, settings, [indexing.FROM_PYTHON])
    return indexing.index_python(rows, settings.columns, folder, plan)


def plan_of(
    model: MedEmbed,
    settings: Settings,
    inputs: list[str],
    runner: Runner | None = None,
    progress: RowBar | None = None,
    stop: Callable[[], bool] = never,
) -> Plan[Embedding]:
    """Plan for building a corpus with these settings."""
    if hasattr(model, "document_length"):
        raise SettingError(
            f"an embedded corpus needs a MedEmbed, and this is a {type(model).__name__}: TokenIndex takes that"
        )
    _check_ranking(model)
    fresh = Manifest[Embedding](
        kind=CORPUS.name,
        encoding=layout.embedding_of(model, settings.vectors),
        engine=f"{model.engine_name} {model.precision} on {model.device}",
        text_stored=settings.store_text,
        kept=cutting.columns_of(settings.columns.kept, settings.splitting),
        assertions=settings.assertions,
        assertion_rules=RULES if settings.assertions else 0,
        splitting=cutting.told(settings.splitting, model),
        repeated_text=settings.repeated_text,
        scope=settings.columns.scope,
        shard_rows=settings.shard_rows,
        inputs=inputs,
    )
    told = progress or RowBar(None, None)
    runner_tells = runner is None
    on_rows = told.advance if runner_tells else _no_progress
    runner = runner or local(partial(encode, model, on_rows=on_rows))
    return Plan(
        CORPUS,
        fresh,
        runner if settings.repeated_text == "each" else Repeats(runner, scope_columns, on_rows),
        indexing.refused,
        settings.mode,
        cutting.cutter(settings.splitting, model),
        progress=told,
        runner_tells=runner_tells,
        stop=stop,
        sync_limit=settings.sync_limit,
    )


def _check_ranking(model: MedEmbed) -> None:
    """Refuse vectors that the product of a corpus search would rank in another order than their own similarity.

    Vectors of unit length have the same order by cosine, product and Euclidean distance.
    """
    similarity = model.spec.similarity
    if similarity == "manhattan" or (similarity == "euclidean" and not model.spec.normalized):
        raise SettingError(
            f"{model.name} compares vectors by {similarity} distance, and a corpus ranks by their product, which gives another order: "
            "use a model with similarity_fn_name cosine or dot, or compare its vectors with model.similarity"
        )


def _no_progress(_: int) -> None:
    """Show no progress."""


def encode(
    model: MedEmbed, job: Job, manifest: Manifest[Embedding], *, on_rows: Callable[[int], object] = _no_progress
) -> Encoded:
    """Embed the rows of one shard.

    Args:
        model: The model of the corpus.
        job: The rows.
        manifest: What is stored, and how.
        on_rows: Called with numbers of rows as they are embedded.

    Raises:
        OverlongTextError: A text is too long and may not be cut; the message has its file and line.
    """
    told = manifest.encoding
    matrix, truncated = _vectors(job.rows, model, on_rows)
    stored = vectors.quantize(matrix, told.vectors, told.ranges_array())
    column = arrow_files.to_column(stored, layout.vector_type(told))
    return Encoded({"vector": column, **scope_columns(job, manifest)}, len(matrix), truncated)


def _vectors(rows: Any, model: MedEmbed, on_rows: Callable[[int], object]) -> tuple[NDArray[np.float32], int]:
    """Vectors of a shard, and how many texts were cut.

    The vectors have *Shape:* ``(rows, dimension)``. They are made in one call: at the end of each the cores wait for the last one.
    """
    with naming_rows(rows):
        texts: list[str] = rows.column("text").to_pylist()
        encoded = model.encode_counted(texts, prompt_name="document", progress=on_rows)
    return encoded.vectors, encoded.cut.texts
