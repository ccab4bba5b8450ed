"""Rows → a token index.

A codec is made from the first rows. Then token vectors are compressed, here or by a runner.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.clinical import passages as cutting
from medembed.clinical.assertions import RULES
from medembed.clinical.hits import scope_columns
from medembed.clinical.split import Splitting
from medembed.colbert.index import layout
from medembed.colbert.index.layout import CODEC, INDEX, TokenEncoding
from medembed.colbert.model import MedColBERT
from medembed.colbert.residual import CODE_BYTES, MOST_CENTROIDS, Bits, ResidualCodec, train_codec
from medembed.colbert.token_pooling import check_factor
from medembed.errors import CorpusDamagedError, CorpusError, SettingError
from medembed.progress import RowBar
from medembed.rows import sources
from medembed.rows.read import Columns
from medembed.rows.sources import Found
from medembed.storage import arrow_files, indexing, shards, syncing
from medembed.storage.building import Plan, Summary, never
from medembed.storage.durable import SHORT, file_sha256, write_hashed
from medembed.storage.manifest import Manifest, Part, damaged
from medembed.storage.modes import SYNC_LIMIT, Mode
from medembed.storage.paths import below
from medembed.storage.places import entries
from medembed.storage.shards import Encoded, Job, Record, local, naming_rows
from medembed.storage.syncing import Announce

Floats = NDArray[np.float32]

# rows encoded at a time, and lost at most when the process is killed: 1,024 of 200 tokens are 100 MB
SHARD_ROWS = 1_024
# rows at the beginning that centroids are made from
SAMPLE_ROWS = 2_048
# ColBERTv2 takes 16 · √tokens centroids; k-means sees 32 tokens of each
CENTROIDS_PER_ROOT, TOKENS_PER_CENTROID = 16, 32


@dataclass(frozen=True)
class TokenSettings:
    """Settings for making a token index.

    Attributes:
        columns: Which columns mean what.
        bits: Bits that a dimension's remainder takes: 2, 4 or 8.
        pool_factor: Merge alike tokens of a row until about ``1 / pool_factor`` are left; 1 keeps all.
        shard_rows: Rows encoded at a time, and lost at most when the process is killed.
        store_text: Whether hits bring their texts.
        assertions: As for :class:`medembed.corpus.embed.Settings`.
        splitting: As for :class:`medembed.corpus.embed.Settings`.
        mode: As for :class:`medembed.corpus.embed.Settings`.
        sync_limit: As there.
    """

    columns: Columns = field(default_factory=Columns)
    bits: Bits = 2
    pool_factor: float = 1.0
    shard_rows: int = SHARD_ROWS
    store_text: bool = True
    assertions: bool = False
    splitting: Splitting | None = None
    mode: Mode = "new"
    sync_limit: float = SYNC_LIMIT

    def __post_init__(self) -> None:
        """Check the values."""
        syncing.check_limit(self.sync_limit)
        check_factor(self.pool_factor)
        if self.bits not in (2, 4, 8):
            raise SettingError(f"bits={self.bits}: choose 2, 4 or 8")
        if self.shard_rows < 1:
            raise SettingError(f"shard_rows={self.shard_rows}: give at least 1")


def settings_of(manifest: Manifest[TokenEncoding], mode: Mode) -> TokenSettings:
    """Settings that continue an index."""
    told = manifest.encoding
    columns, splitting = cutting.settings_of(manifest)
    return TokenSettings(
        columns,
        told.bits,
        told.pool_factor,
        manifest.shard_rows,
        manifest.text_stored,
        manifest.assertions,
        splitting,
        mode,
    )


def index(
    inputs: Sequence[str] | Found,
    folder: Path,
    model: MedColBERT,
    settings: TokenSettings | None = None,
    *,
    format: str | None = None,  # noqa: A002 - what the option is called
    progress: RowBar | None = None,
    stop: Callable[[], bool] = never,
    announce: Announce = syncing.silent,
) -> Summary:
    """Encode the rows of files into a token index.

    Arguments, results and errors are those of :func:`medembed.corpus.embed.index`.
    """
    settings = settings or TokenSettings()
    found = sources.found_in(inputs, format, [folder])
    plan = replace(plan_of(folder, model, settings, list(found.patterns), progress, stop), announce=announce)
    return indexing.index_files(found, settings.columns, folder, plan)


def index_python(
    rows: Iterable[Mapping[str, Any]], folder: Path, model: MedColBERT, settings: TokenSettings
) -> Summary:
    """:func:`index` for mappings. A mapping that cannot be used is an error."""
    plan = plan_of(folder, model, settings, [indexing.FROM_PYTHON])
    return indexing.index_python(rows, settings.columns, folder, plan)


def plan_of(
    folder: Path,
    model: MedColBERT,
    settings: TokenSettings,
    inputs: list[str],
    progress: RowBar | None = None,
    stop: Callable[[], bool] = never,
) -> Plan[TokenEncoding]:
    """Plan for building an index with these settings."""
    if not hasattr(model, "document_length"):
        raise SettingError(
            f"a token index needs a MedColBERT, and this is a {type(model).__name__}: EmbeddedCorpus takes that"
        )
    fresh = Manifest[TokenEncoding](
        kind=INDEX.name,
        encoding=layout.encoding_of(model, settings.bits, settings.pool_factor),
        engine=f"{model.precision} on {model.device}",
        text_stored=settings.store_text,
        kept=cutting.columns_of(settings.columns.kept, settings.splitting),
        assertions=settings.assertions,
        assertion_rules=RULES if settings.assertions else 0,
        splitting=cutting.told(settings.splitting, model),
        scope=settings.columns.scope,
        shard_rows=settings.shard_rows,
        inputs=inputs,
    )
    encoder = _Encoder(folder, model)
    return Plan(
        INDEX,
        fresh,
        local(encoder.encode),
        indexing.refused,
        settings.mode,
        cutting.cutter(settings.splitting, model),
        encoder.prepare,
        progress=progress or RowBar(None, None),
        stop=stop,
        sync_limit=settings.sync_limit,
    )


class _Encoder:
    """The encoder of rows with the codec of an index. It makes the codec of a new index from its first rows."""

    def __init__(self, folder: Path, model: MedColBERT) -> None:
        self._folder, self._model = folder, model
        self._codec: ResidualCodec | None = None
        self._ready: list[Floats] = []
        self._truncated = 0

    def prepare(
        self, folder: Path, manifest: Manifest[Any], records: Iterator[Record]
    ) -> tuple[Manifest[Any], Iterator[Record]]:
        """The codec of the first rows. It is the one that an earlier run has left, or a new one.

        Raises:
            CorpusError: There are no rows.
        """
        first = list(islice(records, SAMPLE_ROWS))
        if not first:
            raise CorpusError("there are no rows to index: give at least one with an id and a text")
        told = manifest.encoding
        sample = shards.table_of(first, manifest.kept)
        content = shards.content_hash(manifest.settings_hash(), sample)
        part = _left(folder, content)
        if part is None:
            self._ready, self._truncated = self._encoded(sample, 0, told.pool_factor)
            self._codec = _trained(np.concatenate(self._ready), told.bits)
            path, digest = write_hashed(
                folder, lambda sha: f"{CODEC}.{content}.{sha[:SHORT]}.safetensors", self._codec.save
            )
            part = Part(file=path.name, sha256=digest)
        return manifest.model_copy(update={"parts": {CODEC: part}}), chain(first, records)

    def encode(self, job: Job, manifest: Manifest[Any]) -> Encoded:
        """Encode and compress the rows of one shard. Rows that the codec was made from are encoded already."""
        if self._codec is None:
            self._codec = load_codec(self._folder, manifest)
        start = job.index * manifest.shard_rows
        ready = self._ready[start : start + job.rows.num_rows]
        for place in range(start, start + len(ready)):
            self._ready[place] = np.empty((0, 0), dtype=np.float32)  # let go of
        tokens, truncated = self._encoded(job.rows, len(ready), manifest.encoding.pool_factor)
        truncated += self._truncated
        self._truncated = 0
        encoded = compressed(ready + tokens, self._codec, truncated)
        return replace(encoded, columns={**encoded.columns, **scope_columns(job, manifest)})

    def _encoded(self, rows: Any, first: int, pool_factor: float) -> tuple[list[Floats], int]:
        """Token vectors of rows from a place on. The second value is how many of their texts were cut."""
        texts = rows.column("text").to_pylist()[first:]
        with naming_rows(rows, first):
            encoded = self._model.encode_counted(texts, pool_factor=pool_factor, show_progress_bar=False)
        return encoded.vectors, encoded.cut.texts


def compressed(tokens: Sequence[Floats], codec: ResidualCodec, truncated: int = 0) -> Encoded:
    """Token vectors of several rows in few bytes.

    Args:
        tokens: Of each row. *Shape:* ``(tokens, dim)``.
        codec: What compresses.
        truncated: Texts that were longer than the model reads.
    """
    packed = codec.compress(np.concatenate(tokens))
    ends = np.cumsum([0, *map(len, tokens)])
    columns = {
        "codes": arrow_files.from_bytes(packed.codes, ends * CODE_BYTES),
        "remainders": arrow_files.from_bytes(packed.remainders, ends * packed.remainders.shape[1]),
    }
    return Encoded(columns, len(packed), truncated)


def _left(folder: Path, content: str) -> Part | None:
    """A codec of the same rows that an earlier run has left. It counts only if its bytes are intact."""
    for path in entries(folder, ""):
        names = path.name.split(".")
        if names[:2] == [CODEC, content] and len(names) == 4:
            digest = file_sha256(path)
            if digest.startswith(names[2]):
                return Part(file=path.name, sha256=digest)
    return None


def _trained(tokens: Floats, bits: Bits) -> ResidualCodec:
    n_centroids = _n_centroids(len(tokens))
    some = np.random.default_rng(0).permutation(len(tokens))[: n_centroids * TOKENS_PER_CENTROID]
    return train_codec(tokens[np.sort(some)], bits=bits, n_centroids=n_centroids)


def _n_centroids(n_tokens: int) -> int:
    """A power of two near 16 · √tokens. Each centroid has at least four tokens of the sample."""
    wanted = min(CENTROIDS_PER_ROOT * n_tokens**0.5, n_tokens / 4, MOST_CENTROIDS)
    return 1 << max(1, int(np.log2(max(wanted, 2))))


def load_codec(folder: Path, manifest: Manifest[Any]) -> ResidualCodec:
    """The codec of an index, its bytes checked.

    Raises:
        CorpusDamagedError: It is missing or changed.
    """
    part = manifest.parts.get(CODEC)
    if part is None:
        raise CorpusDamagedError(f"{folder} names no codec: {INDEX.again}")
    path = below(folder, part.file)
    if not arrow_files.is_intact(path, part.sha256):
        raise damaged(folder, part, INDEX.again)
    return ResidualCodec.load(path)
