"""Documents → a token index: cut into shards, those already there kept, the rest encoded, the manifest last."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medembed.colbert.index import layout
from medembed.colbert.index.layout import INDEX, SHORT, Encoding, Part, TokenManifest, TokenShard
from medembed.colbert.index.lists import CentroidLists, make_lists
from medembed.colbert.model import MedColBERT
from medembed.colbert.residual import MOST_CENTROIDS, Bits, ResidualCodec, train_codec
from medembed.colbert.token_pooling import check_factor
from medembed.corpus.durable import write_hashed
from medembed.corpus.shard_folders import (
    MANIFEST,
    SHARDS,
    intact_files,
    is_intact,
    sweep,
    write_manifest,
    writing,
)
from medembed.errors import CorpusError, SettingError
from medembed.extras import require

Floats = NDArray[np.float32]

# documents encoded at a time, and lost at most when the process is killed: 1,024 of 200 tokens are 100 MB
SHARD_ROWS = 1_024
# documents at the beginning that centroids are made from
SAMPLE_ROWS = 2_048
# ColBERTv2 takes 16 · √tokens centroids; k-means sees 32 tokens of each
CENTROIDS_A_ROOT, TOKENS_A_CENTROID = 16, 32


class Row(NamedTuple):
    """A document."""

    id: str
    text: str


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


def build(folder: Path, rows: Iterable[Mapping[str, Any]], model: MedColBERT, settings: TokenSettings) -> None:
    """Make a token index; run again with the same rows after a crash, it goes on where it was.

    Raises:
        CorpusError: A row cannot be used, there are none, another index is there, or another process writes to it.
    """
    told = layout.encoding_of(model, settings.bits, settings.pool_factor, text_stored=settings.store_text)
    with writing(folder, INDEX):
        if (folder / MANIFEST).is_file():
            _check_same(layout.read_manifest(folder), told, settings, folder)
        stream = _checked(rows, set())
        first = list(islice(stream, SAMPLE_ROWS))
        if not first:
            raise CorpusError("there are no rows to index: give at least one mapping with an id and a text")
        codec_part, codec, ready = _codec(folder, first, model, told)
        run = _Run(folder, model, told, settings.shard_rows, codec, codec_part, deque(ready))
        shards = list(run.shards(chain(first, stream)))
        _finish(folder, told, settings.shard_rows, codec_part, shards)


def append(folder: Path, rows: Iterable[Mapping[str, Any]], model: MedColBERT) -> None:
    """Add documents to an index, compressed with its centroids.

    Raises:
        CorpusError: A row cannot be used, its id is there already, or another process writes to it.
    """
    with writing(folder, INDEX):
        manifest = layout.read_manifest(folder)
        told = manifest.encoding
        layout.check_model(told, model, folder)
        if not is_intact(folder, manifest.codec.file, manifest.codec.sha256):
            raise layout.damaged(folder, manifest.codec)
        codec = ResidualCodec.load(folder / manifest.codec.file)
        gone = set(manifest.deleted)
        ids = (name for shard in manifest.shards for name in read_shard(folder, shard).column("id").to_pylist())
        seen = {name for number, name in enumerate(ids) if number not in gone}
        run = _Run(folder, model, told, manifest.shard_rows, codec, manifest.codec)
        more = list(run.shards(_checked(rows, seen), len(manifest.shards)))
        shards = [*manifest.shards, *more]
        _finish(folder, told, manifest.shard_rows, manifest.codec, shards, deleted=manifest.deleted, edited=True)


def delete(folder: Path, numbers: Iterable[int]) -> None:
    """Note documents as deleted; their bytes go when the index is built again."""
    with writing(folder, INDEX):
        manifest = layout.read_manifest(folder)
        deleted = sorted({*manifest.deleted, *numbers})
        write_manifest(folder, manifest.model_copy(update={"deleted": deleted, "edited": True}))


def read_shard(folder: Path, shard: Part) -> Any:
    """A file of an index as a memory-mapped table.

    Raises:
        CorpusDamagedError: It is missing or cut short.
    """
    arrow = require("pyarrow")
    try:
        return arrow.ipc.open_file(arrow.memory_map(str(folder / shard.file))).read_all()
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise layout.damaged(folder, shard) from error


def read_lists(folder: Path, manifest: TokenManifest) -> CentroidLists:
    """The documents by centroid, mapped."""
    table = read_shard(folder, manifest.lists)
    starts, documents = (
        layout.flat(table.column(name), dtype) for name, dtype in (("starts", np.int64), ("documents", np.int32))
    )
    return CentroidLists(documents, starts, manifest.n_rows)


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


@dataclass(frozen=True)
class _Run:
    """What encodes documents into shards.

    Attributes:
        folder: The index.
        model: What encodes.
        told: How.
        shard_rows: Documents a shard.
        codec: What compresses.
        codec_part: Its file.
        ready: Token vectors of the first documents, where they are encoded already.
    """

    folder: Path
    model: MedColBERT
    told: Encoding
    shard_rows: int
    codec: ResidualCodec
    codec_part: Part
    ready: deque[Floats] = field(default_factory=deque)

    def shards(self, rows: Iterator[Row], start: int = 0) -> Iterator[TokenShard]:
        """Shards of documents, those that are there already as they are."""
        for number in count(start):
            group = list(islice(rows, self.shard_rows))
            if not group:
                return
            held = [self.ready.popleft() for _ in range(min(len(group), len(self.ready)))]
            content = layout.content_hash([self.codec_part.sha256], *group)
            yield _find(self.folder, number, content) or self._made(number, content, group, held)

    def _made(self, number: int, content: str, group: list[Row], held: list[Floats]) -> TokenShard:
        texts = [row.text for row in group[len(held) :]]
        tokens = held + self.model.encode_document(texts, pool_factor=self.told.pool_factor, show_progress=False)
        return _write(self.folder, f"{number:06d}.{content}", _table(group, tokens, self.codec, self.told), content)


def _find(folder: Path, number: int, content: str) -> TokenShard | None:
    """A shard of this content that an earlier run has left, if its bytes are intact."""
    for path, digest in intact_files(folder / SHARDS, f"{number:06d}.{content}.*.arrow"):
        return _shard(folder, path, digest, content)
    return None


def _table(group: list[Row], tokens: list[Floats], codec: ResidualCodec, told: Encoding) -> Any:
    arrow = require("pyarrow")
    packed = codec.compress(np.concatenate(tokens))
    ends = np.cumsum([0, *map(len, tokens)]).astype(np.int32)

    def lists(values: NDArray[Any], factor: int) -> Any:
        return arrow.ListArray.from_arrays(arrow.array(ends * factor), arrow.array(values.reshape(-1)))

    return arrow.table({
        "id": arrow.array([row.id for row in group], type=arrow.string()),
        "text": arrow.array([row.text if told.text_stored else None for row in group], type=arrow.string()),
        "codes": lists(packed.codes, 1),
        "remainders": lists(packed.remainders, packed.remainders.shape[1]),
    })  # fmt: skip


def _write(folder: Path, stem: str, table: Any, content: str) -> TokenShard:
    path, digest = write_hashed(
        folder / SHARDS, lambda sha: f"{stem}.{sha[:SHORT]}.arrow", lambda aside: _write_arrow(aside, table)
    )
    return _shard(folder, path, digest, content)


def _write_arrow(path: Path, table: Any) -> None:
    arrow = require("pyarrow")
    with arrow.OSFile(str(path), "wb") as file, arrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _shard(folder: Path, path: Path, digest: str, content: str) -> TokenShard:
    part = Part(file=f"{SHARDS}/{path.name}", sha256=digest, content=content)
    table = read_shard(folder, part)
    n_tokens = len(layout.flat(table.column("codes"), np.uint16))
    return TokenShard(**part.model_dump(), n_rows=table.num_rows, n_tokens=n_tokens)


def _finish(
    folder: Path,
    told: Encoding,
    shard_rows: int,
    codec: Part,
    shards: list[TokenShard],
    *,
    deleted: Sequence[int] = (),
    edited: bool = False,
) -> None:
    """Sort the documents by centroid, write the manifest, and remove what it does not name."""
    manifest = TokenManifest(
        encoding=told,
        shard_rows=shard_rows,
        codec=codec,
        shards=shards,
        lists=_write_lists(folder, codec, shards),
        deleted=list(deleted),
        edited=edited,
    )
    write_manifest(folder, manifest)
    named = {part.file for part in (*shards, manifest.codec, manifest.lists)}
    sweep(folder, named, ["codec.*", "lists.*"])


def _write_lists(folder: Path, codec: Part, shards: list[TokenShard]) -> Part:
    arrow = require("pyarrow")
    columns = [read_shard(folder, shard).column("codes") for shard in shards]
    codes = np.concatenate([layout.flat(column, np.uint16) for column in columns])
    counts = np.concatenate([np.diff(column.chunk(0).offsets.to_numpy()) for column in columns])
    lists = make_lists(codes, counts, len(ResidualCodec.load(folder / codec.file).centroids))
    documents = arrow.array([lists.documents], type=arrow.list_(arrow.int32()))
    table = arrow.table({"starts": [lists.starts], "documents": documents})
    path, digest = write_hashed(
        folder, lambda sha: f"lists.{sha[:SHORT]}.arrow", lambda aside: _write_arrow(aside, table)
    )
    return Part(file=path.name, sha256=digest)
