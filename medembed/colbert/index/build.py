"""Documents → a token index: cut into shards, those already there kept, the rest encoded, the manifest last."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.colbert.index import layout, shards
from medembed.colbert.index.layout import INDEX, SHORT, Encoding, Part, Row, TokenManifest, TokenShard
from medembed.colbert.model import MedColBERT
from medembed.colbert.residual import MOST_CENTROIDS, Bits, ResidualCodec, train_codec
from medembed.colbert.token_pooling import check_factor
from medembed.errors import CorpusError, IndexingStoppedError, SettingError
from medembed.storage.durable import write_hashed
from medembed.storage.shard_folders import (
    MANIFEST,
    intact_files,
    is_intact,
    sweep,
    write_manifest,
    writing,
)

Floats = NDArray[np.float32]

# documents encoded at a time, and lost at most when the process is killed: 1,024 of 200 tokens are 100 MB
SHARD_ROWS = 1_024
# documents at the beginning that centroids are made from
SAMPLE_ROWS = 2_048
# ColBERTv2 takes 16 · √tokens centroids; k-means sees 32 tokens of each
CENTROIDS_A_ROOT, TOKENS_A_CENTROID = 16, 32


@dataclass(frozen=True)
class TokenSettings:
    """How a token index is made.

    Attributes:
        bits: Bits a dimension's remainder takes: 2, 4 or 8.
        pool_factor: Merge alike tokens of a document until about ``1 / pool_factor`` are left; 1 keeps all.
        shard_rows: Documents encoded at a time, and lost at most when the process is killed.
        store_text: Whether hits bring their texts.
    """

    bits: Bits = 2
    pool_factor: float = 1.0
    shard_rows: int = SHARD_ROWS
    store_text: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        check_factor(self.pool_factor)
        if self.shard_rows < 1:
            raise SettingError(f"shard_rows={self.shard_rows}: give at least 1")


@dataclass(frozen=True)
class Draft:
    """Documents in whole shards; :func:`finish` makes an index of them.

    Attributes:
        told: How they are encoded.
        shard_rows: Documents of a full shard.
        codec: The file of centroids and of what bytes stand for.
        shards: In the order of their documents.
        encoded: Documents that this run encoded; the others were there.
        deleted: Numbers of deleted documents, ascending.
        edited: Whether documents were appended or deleted since the index was built.
    """

    told: Encoding
    shard_rows: int
    codec: Part
    shards: list[TokenShard]
    encoded: int
    deleted: Sequence[int] = ()
    edited: bool = False


def never() -> bool:
    """Nobody asks a run to stop."""
    return False


def build(folder: Path, rows: Iterable[Mapping[str, Any]], model: MedColBERT, settings: TokenSettings) -> None:
    """Make a token index; run again with the same rows after a crash, it goes on where it was.

    Raises:
        CorpusError: A row cannot be used, there are none, another index is there, or another process writes to it.
    """
    with writing(folder, INDEX):
        finish(folder, new_shards(folder, _checked(rows, set()), model, settings))


def append(folder: Path, rows: Iterable[Mapping[str, Any]], model: MedColBERT) -> None:
    """Add documents to an index, compressed with its centroids.

    Raises:
        CorpusError: A row cannot be used, its id is there already, or another process writes to it.
    """
    with writing(folder, INDEX):
        manifest = layout.read_manifest(folder)
        finish(folder, more_shards(folder, manifest, _checked(rows, set(live_ids(folder, manifest))), model))


def new_shards(
    folder: Path,
    rows: Iterator[Row],
    model: MedColBERT,
    settings: TokenSettings,
    *,
    overwrite: bool = False,
    stop: Callable[[], bool] = never,
) -> Draft:
    """Shards of an index that begins here; those of an earlier run are kept. For a folder that is held by :func:`writing`.

    Args:
        folder: The index.
        rows: Its documents, each id once.
        model: What encodes.
        settings: Bits, pooling, shards.
        overwrite: Whether a finished index that is there may be another.
        stop: Asked between two shards.

    Raises:
        CorpusError: There are no rows, or another index is there.
        IndexingStoppedError: ``stop`` said so.
    """
    told = layout.encoding_of(model, settings.bits, settings.pool_factor, text_stored=settings.store_text)
    if not overwrite and (folder / MANIFEST).is_file():
        _check_same(layout.read_manifest(folder), told, settings, folder)
    first = list(islice(rows, SAMPLE_ROWS))
    if not first:
        raise CorpusError("there are no rows to index: give at least one with an id and a text")
    codec_part, codec, ready = _codec(folder, first, model, told)
    run = _Run(folder, model, told, settings.shard_rows, codec, codec_part, stop, deque(ready))
    made = list(run.shards(chain(first, rows)))
    return Draft(told, settings.shard_rows, codec_part, made, run.encoded)


def more_shards(
    folder: Path,
    manifest: TokenManifest,
    rows: Iterator[Row],
    model: MedColBERT,
    stop: Callable[[], bool] = never,
) -> Draft:
    """The shards of an index, and further ones. For a folder that is held by :func:`writing`.

    Raises:
        CorpusModelError: ``model`` is another.
        CorpusDamagedError: The index's codec is not what was written.
        IndexingStoppedError: ``stop`` said so.
    """
    told = manifest.encoding
    layout.check_model(told, model, folder)
    if not is_intact(folder, manifest.codec.file, manifest.codec.sha256):
        raise layout.damaged(folder, manifest.codec)
    codec = ResidualCodec.load(folder / manifest.codec.file)
    run = _Run(folder, model, told, manifest.shard_rows, codec, manifest.codec, stop)
    made = [*manifest.shards, *run.shards(rows, len(manifest.shards))]
    return Draft(told, manifest.shard_rows, manifest.codec, made, run.encoded, manifest.deleted, edited=True)


def live_ids(folder: Path, manifest: TokenManifest) -> Iterator[str]:
    """Ids of documents that are not deleted."""
    gone = set(manifest.deleted)
    ids = (name for shard in manifest.shards for name in shards.read_shard(folder, shard).column("id").to_pylist())
    return (name for number, name in enumerate(ids) if number not in gone)


def delete(folder: Path, numbers: Iterable[int]) -> None:
    """Note documents as deleted; their bytes go when the index is built again."""
    with writing(folder, INDEX):
        manifest = layout.read_manifest(folder)
        deleted = sorted({*manifest.deleted, *numbers})
        write_manifest(folder, manifest.model_copy(update={"deleted": deleted, "edited": True}))


def _check_same(there: TokenManifest, told: Encoding, settings: TokenSettings, folder: Path) -> None:
    if there.edited or (there.encoding, there.shard_rows) != (told, settings.shard_rows):
        why = (
            "and documents were appended or deleted since"
            if there.edited
            else "of another model or with other settings"
        )
        raise CorpusError(
            f"{folder} holds a finished token index, {why}: append to it, delete it, or choose another folder"
        )


def _checked(rows: Iterable[Mapping[str, Any]], seen: set[str]) -> Iterator[Row]:
    """Rows with their ids, each once."""
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise CorpusError(f"row {number} is a {type(row).__name__}; expected a mapping with an id and a text")
        name, text = row.get("id"), row.get("text")
        if not isinstance(text, str) or not isinstance(name, str | int) or isinstance(name, bool):
            raise CorpusError(
                f"row {number} has an id of type {type(name).__name__} and a text of type {type(text).__name__}: both must be strings"
            )
        if str(name) in seen:
            raise CorpusError(f"row {number} cannot be used: its id came before")
        seen.add(str(name))
        yield Row(str(name), text)


def _codec(
    folder: Path, first: list[Row], model: MedColBERT, told: Encoding
) -> tuple[Part, ResidualCodec, list[Floats]]:
    """The codec of the first rows, the one that is there or a new one, and what was encoded to make it."""
    content = layout.content_hash([told.model_dump_json(exclude={"model"})], *first)
    for path, digest in intact_files(folder, f"codec.{content}.*.safetensors"):
        return Part(file=path.name, sha256=digest, content=content), ResidualCodec.load(path), []
    encoded = model.encode_document([row.text for row in first], pool_factor=told.pool_factor, show_progress=False)
    tokens = np.concatenate(encoded)
    n_centroids = _n_centroids(len(tokens))
    some = np.random.default_rng(0).permutation(len(tokens))[: n_centroids * TOKENS_A_CENTROID]
    codec = train_codec(tokens[np.sort(some)], bits=told.bits, n_centroids=n_centroids)
    path, digest = write_hashed(folder, lambda sha: f"codec.{content}.{sha[:SHORT]}.safetensors", codec.save)
    return Part(file=path.name, sha256=digest, content=content), codec, encoded


def _n_centroids(n_tokens: int) -> int:
    """A power of two near 16 · √tokens, with at least four tokens of the sample to each."""
    wanted = min(CENTROIDS_A_ROOT * n_tokens**0.5, n_tokens / 4, MOST_CENTROIDS)
    return 1 << max(1, int(np.log2(max(wanted, 2))))


@dataclass
class _Run:
    """What encodes documents into shards.

    Attributes:
        folder: The index.
        model: What encodes.
        told: How.
        shard_rows: Documents a shard.
        codec: What compresses.
        codec_part: Its file.
        stop: Asked between two shards.
        ready: Token vectors of the first documents, where they are encoded already.
        encoded: Documents of shards that were made and not found.
    """

    folder: Path
    model: MedColBERT
    told: Encoding
    shard_rows: int
    codec: ResidualCodec
    codec_part: Part
    stop: Callable[[], bool]
    ready: deque[Floats] = field(default_factory=deque)
    encoded: int = 0

    def shards(self, rows: Iterator[Row], start: int = 0) -> Iterator[TokenShard]:
        """Shards of documents, those that are there already as they are."""
        for number in count(start):
            if self.stop():
                raise IndexingStoppedError(
                    f"stopped with {number - start} shards of this run in {self.folder}: run the same command again to go on"
                )
            group = list(islice(rows, self.shard_rows))
            if not group:
                return
            held = [self.ready.popleft() for _ in range(min(len(group), len(self.ready)))]
            content = layout.content_hash([self.codec_part.sha256], *group)
            yield shards.find_shard(self.folder, number, content) or self._made(number, content, group, held)

    def _made(self, number: int, content: str, group: list[Row], held: list[Floats]) -> TokenShard:
        texts = [row.text for row in group[len(held) :]]
        tokens = held + self.model.encode_document(texts, pool_factor=self.told.pool_factor, show_progress=False)
        self.encoded += len(group)
        return shards.write_shard(self.folder, number, content, shards.table_of(group, tokens, self.codec, self.told))


def finish(folder: Path, draft: Draft) -> TokenManifest:
    """Sort the documents by centroid, write the manifest, and remove what it does not name."""
    manifest = TokenManifest(
        encoding=draft.told,
        shard_rows=draft.shard_rows,
        codec=draft.codec,
        shards=draft.shards,
        lists=shards.write_lists(folder, draft.codec, draft.shards),
        deleted=list(draft.deleted),
        edited=draft.edited,
    )
    write_manifest(folder, manifest)
    named = {part.file for part in (*manifest.shards, manifest.codec, manifest.lists)}
    sweep(folder, named, ["codec.*", "lists.*"])
    return manifest
