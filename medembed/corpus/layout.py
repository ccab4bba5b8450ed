"""What an embedded corpus looks like on disk: its manifest, its shards and their columns.

corpus/
├── manifest.json                    written last: what is not in it does not exist
├── shards/000012.<content>.<sha256>.parquet    id, text, source, line, kept columns, vector
├── deleted.<sha256>.parquet         numbers of deleted rows, where there are any
├── rejects.jsonl                    rows that were left out by the last run, with line and reason
└── maps/                            derived from the shards for searching; may be deleted at any time
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from medembed import __version__
from medembed.checkpoints import checkpoint
from medembed.errors import CorpusDamagedError, CorpusError, CorpusModelError, VectorError
from medembed.extras import require
from medembed.model import MedEmbed
from medembed.storage import shard_folders
from medembed.storage.shard_folders import FileName, Kind

FORMAT = 1
MAPS = "maps"
AGAIN = "run the same `medembed index` command again: what is intact is kept"
CORPUS = Kind("embedded corpus", "`medembed index FILES -o {path}`", AGAIN, FORMAT)
Stored = Literal["float32", "float16", "int8", "binary"]
"""How a corpus keeps its vectors: a :data:`medembed.vectors.VectorKind` that Parquet readers understand."""
# engines that run a checkpoint's own weights; any other is part of what the vectors are
FAITHFUL_ENGINES = ("openvino", "torch")


class Embedding(BaseModel):
    """What decides the vectors of a corpus, and so whether two may stand in one.

    Attributes:
        model: Name, hub id or folder the model was asked for by.
        revision: Commit of a hub model, hash of a local one; with the engine's name where that is not a usual one.
        weights: Hash of the weights, tokenizer and configuration as they were on disk.
        prompt_kind: Which of the model's prompts was put before each text.
        prompt: That prompt.
        dimension: Length of a vector before it is packed.
        max_seq_length: Tokens read of each text.
        overlong: What was done with longer texts.
        vectors: How vectors are stored.
        ranges: Quantisation ranges of the model, lowest and highest per dimension; None where it has none.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    revision: str
    weights: str
    prompt_kind: str
    prompt: str
    dimension: int
    max_seq_length: int
    overlong: str
    vectors: Stored
    ranges: list[list[float]] | None

    def ranges_array(self) -> NDArray[np.float32] | None:
        """The ranges as :mod:`medembed.vectors` takes them. *Shape:* ``(2, dimension)``."""
        return None if self.ranges is None else np.asarray(self.ranges, dtype=np.float32)


class Shard(BaseModel):
    """One file of rows.

    Attributes:
        file: Its name below the corpus.
        sha256: Of its bytes.
        n_rows: Its rows.
        content: Hash of what it embeds, and with what.
        truncated: Texts that were longer than the model reads.
    """

    file: FileName
    sha256: str
    n_rows: int
    content: str
    truncated: int = 0


class Deleted(BaseModel):
    """The file of deleted rows' numbers."""

    file: FileName
    sha256: str
    n_rows: int


class Manifest(BaseModel):
    """What makes a corpus exist.

    Attributes:
        format: Version of this layout.
        medembed: Version that wrote it.
        embedding: What decided the vectors.
        engine: Name and precision of the engine that computed them, for the record.
        text_stored: Whether shards hold the texts, or only source and line.
        kept: Further columns and their types.
        shard_rows: Rows of a full shard.
        inputs: What was indexed, as it was named.
        edited: Whether rows were appended or deleted since, so that ``inputs`` no longer tell the content.
        n_rows: Rows in the shards, deleted ones included.
        shards: In the order of their rows.
        deleted: Which of them are gone; None where none is.
        rejected: Rows left out by the last run, by reason.
    """

    format: int = FORMAT
    medembed: str = __version__
    embedding: Embedding
    engine: str
    text_stored: bool
    kept: dict[str, str]
    shard_rows: int
    inputs: list[str]
    edited: bool = False
    n_rows: int = 0
    shards: list[Shard] = []
    deleted: Deleted | None = None
    rejected: dict[str, int] = {}


def embedding_of(model: MedEmbed, stored: Stored) -> Embedding:
    """What vectors of this model, for documents, will be.

    Raises:
        CorpusError: ``stored`` is unknown.
        VectorError: int8 vectors of a model that has no ranges, or bits of a dimension that is no multiple of 8.
    """
    if stored not in get_args(Stored):
        raise CorpusError(f"vectors={stored!r}: choose one of {', '.join(get_args(Stored))}")
    if stored == "binary" and model.dimension % 8:
        raise VectorError(
            f"binary vectors need a dimension that is a multiple of 8, not {model.dimension}: use truncate_dim"
        )
    try:
        ranges: list[list[float]] | None = model.vector_ranges.tolist()
    except VectorError:
        if stored == "int8":
            raise
        ranges = None  # needed for nothing but int8
    engine = model.engine_name
    return Embedding(
        model=model.name,
        revision=model.revision if engine in FAITHFUL_ENGINES else f"{model.revision}+{engine}",
        weights=checkpoint.fingerprint(model.folder),
        prompt_kind="document",
        prompt=model.spec.prompts["document"],
        dimension=model.dimension,
        max_seq_length=model.max_seq_length,
        overlong=model.settings["overlong"],
        vectors=stored,
        ranges=ranges,
    )


def check_model(manifest: Manifest, model: MedEmbed, path: Path) -> None:
    """See that a model's vectors may be compared with a corpus's.

    Raises:
        CorpusModelError: Another model, revision or dimension; the message says both.
    """
    mine = embedding_of(model, "float32")
    told = manifest.embedding
    if (mine.revision, mine.dimension) == (told.revision, told.dimension) and mine.weights == told.weights:
        return
    raise CorpusModelError(
        f"{path} was embedded with {_named(told)}, but this is {_named(mine)}: "
        "open it with its own model, or index the texts anew with yours"
    )


def _named(embedding: Embedding) -> str:
    return (
        f"{embedding.model!r} at {embedding.revision} (weights {embedding.weights}, {embedding.dimension} dimensions)"
    )


def read_manifest(path: Path) -> Manifest:
    """The manifest of a finished corpus; errors as :func:`medembed.storage.shard_folders.read_manifest` raises them."""
    return shard_folders.read_manifest(path, CORPUS, Manifest)


def schema(manifest: Manifest) -> Any:
    """Arrow schema of a shard."""
    arrow = require("pyarrow")
    types = {
        "string": arrow.string(),
        "int": arrow.int64(),
        "float": arrow.float64(),
        "bool": arrow.bool_(),
        "date": arrow.date32(),
    }
    return arrow.schema(
        [
            arrow.field("id", arrow.string(), nullable=False),
            arrow.field("text", arrow.string()),
            arrow.field("source", arrow.string()),
            arrow.field("line", arrow.int64()),
            *(arrow.field(name, types[kind]) for name, kind in manifest.kept.items()),
            arrow.field("vector", vector_type(manifest.embedding), nullable=False),
        ]
    )


def vector_type(embedding: Embedding, stored: Stored | None = None) -> Any:
    """Arrow type of a vector: a list of fixed length, of bytes of packed bits for ``binary``."""
    arrow = require("pyarrow")
    kind = stored or embedding.vectors
    item = {"float32": arrow.float32(), "float16": arrow.float16(), "int8": arrow.int8(), "binary": arrow.int8()}[kind]
    return arrow.list_(item, embedding.dimension // 8 if kind == "binary" else embedding.dimension)


def to_column(vectors: NDArray[Any], kind: Any) -> Any:
    """A matrix as a column of fixed-size lists. *Shape:* ``(n, columns)``."""
    arrow = require("pyarrow")
    flat = arrow.array(np.ascontiguousarray(vectors).reshape(-1), type=kind.value_type)
    return arrow.FixedSizeListArray.from_arrays(flat, type=kind)


def to_matrix(column: Any) -> NDArray[Any]:
    """A column of fixed-size lists, in one chunk, as a matrix; nothing is copied. *Shape:* ``(n, columns)``."""
    chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    matrix: NDArray[Any] = chunk.flatten().to_numpy(zero_copy_only=True)
    return matrix.reshape(len(chunk), chunk.type.list_size)


def content_hash(settings: str, rows: Any) -> str:
    """Hash of the rows of a shard and of what they are embedded with: equal where the shard would be.

    Args:
        settings: What :func:`settings_hash` gave.
        rows: Arrow table of the columns but the vector.
    """
    digest = hashlib.sha256(settings.encode())
    for name in rows.column_names:
        for value in rows.column(name).to_pylist():
            item = b"\0" if value is None else str(value).encode()
            digest.update(len(item).to_bytes(8, "little"))
            digest.update(item)
    return digest.hexdigest()[:12]


def settings_hash(manifest: Manifest) -> str:
    """Hash of everything but the rows that decides what a shard holds."""
    told = {
        "embedding": manifest.embedding.model_dump(exclude={"model"}),
        "text": manifest.text_stored,
        "kept": manifest.kept,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def shard_rows(shards: Sequence[Shard]) -> int:
    """Rows of several shards."""
    return sum(shard.n_rows for shard in shards)


def damaged_shard(folder: Path, shard: Shard) -> CorpusDamagedError:
    """The error for a shard that is missing or changed."""
    return CorpusDamagedError(
        f"{folder / shard.file} is missing, or its bytes are not those that were written: {AGAIN}"
    )


def damaged_deletions(folder: Path, file: str) -> CorpusDamagedError:
    """The error for a damaged list of deleted rows, which cannot be worked out anew."""
    return CorpusDamagedError(
        f"{folder / file} is missing, or its bytes are not those that were written, and it says which rows were deleted: bring it back "
        "from a copy, or index anew with --overwrite"
    )


def other_dimension(manifest: Manifest, dimension: int, path: Path) -> CorpusModelError:
    """The error for query vectors of another length."""
    return CorpusModelError(
        f"{path} holds vectors of {manifest.embedding.dimension} dimensions of {manifest.embedding.model!r}, but the query has {dimension}: "
        "encode it with the corpus's own model and truncate_dim"
    )
