"""What a token index looks like on disk: the rules of an embedded corpus, with compressed token vectors in its shards.

index/
├── manifest.json                              written last: what is not in it does not exist
├── codec.<content>.<sha256>.safetensors       centroids and points, made from the first rows
├── shards/000012.<content>.<sha256>.arrow     id, text, centroid numbers, remainders; read through memory maps
└── lists.<sha256>.arrow                       documents of each centroid
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from medembed import __version__
from medembed.colbert.model import MedColBERT
from medembed.colbert.residual import Bits
from medembed.errors import CorpusDamagedError, CorpusModelError
from medembed.storage import shard_folders
from medembed.storage.shard_folders import MANIFEST, FileName, Kind

FORMAT = 1
# hexadecimal digits of a hash in a file's name
SHORT = 12
AGAIN = "build the index again with the same rows: what is intact is kept"
INDEX = Kind(
    "token index",
    "`medembed token-index FILES -o {path}` or TokenIndex.build(path, rows, model)",
    AGAIN,
    FORMAT,
)


class Encoding(BaseModel):
    """What decides the token vectors of an index, and so which queries may be compared with them.

    Attributes:
        model: Hub id or folder the model was asked for by.
        revision: Commit of a hub model, hash of a local one.
        dimension: Length of a token's vector.
        document_length: Tokens read of each document.
        overlong: What was done with longer ones.
        pool_factor: Token pooling on top of the model's own.
        bits: Bits a dimension's remainder takes.
        text_stored: Whether shards hold the texts.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    revision: str
    dimension: int
    document_length: int
    overlong: str
    pool_factor: float
    bits: Bits
    text_stored: bool


class Row(NamedTuple):
    """A document."""

    id: str
    text: str


class Part(BaseModel):
    """A file of an index: its name below the folder, the hash of its bytes, and of what it was made of."""

    file: FileName
    sha256: str
    content: str = ""


class TokenShard(Part):
    """A file of documents."""

    n_rows: int
    n_tokens: int


class TokenManifest(BaseModel):
    """What makes a token index exist.

    Attributes:
        format: Version of this layout.
        medembed: Version that wrote it.
        encoding: What decided the token vectors.
        shard_rows: Documents of a full shard.
        codec: The file of centroids and of what bytes stand for.
        shards: In the order of their documents.
        lists: The file of documents by centroid.
        deleted: Numbers of deleted documents, ascending.
        edited: Whether documents were appended or deleted since it was built.
    """

    format: int = FORMAT
    medembed: str = __version__
    encoding: Encoding
    shard_rows: int
    codec: Part
    shards: list[TokenShard] = []
    lists: Part
    deleted: list[int] = []
    edited: bool = False

    @property
    def n_rows(self) -> int:
        """Documents in the shards, deleted ones included."""
        return sum(shard.n_rows for shard in self.shards)

    @property
    def n_tokens(self) -> int:
        """Token vectors in the shards."""
        return sum(shard.n_tokens for shard in self.shards)


def encoding_of(model: MedColBERT, bits: Bits, pool_factor: float, *, text_stored: bool) -> Encoding:
    """What token vectors of this model will be."""
    return Encoding(
        model=model.name,
        revision=model.revision,
        dimension=model.dimension,
        document_length=model.document_length,
        overlong=model.overlong,
        pool_factor=pool_factor,
        bits=bits,
        text_stored=text_stored,
    )


def check_model(told: Encoding, model: MedColBERT, path: Path) -> None:
    """See that a model's queries may be compared with an index.

    Raises:
        CorpusModelError: Another model, revision or dimension; the message says both.
    """
    if (model.revision, model.dimension) != (told.revision, told.dimension):
        raise CorpusModelError(
            f"{path} holds token vectors of {told.model!r} at {told.revision} ({told.dimension} dimensions), but this is {model.name!r} at "
            f"{model.revision} ({model.dimension} dimensions): open it with its own model, or build it again with yours"
        )


def read_manifest(path: Path) -> TokenManifest:
    """The manifest of a finished index; errors as :func:`medembed.storage.shard_folders.read_manifest` raises them."""
    return shard_folders.read_manifest(path, INDEX, TokenManifest)


def is_index(path: Path) -> bool:
    """Whether a folder holds a finished token index and not, say, an embedded corpus."""
    try:
        return shard_folders.kind_of(json.loads((path / MANIFEST).read_text(encoding="utf-8"))) == INDEX.name
    except (OSError, ValueError, TypeError):
        return False


def damaged(folder: Path, part: Part) -> CorpusDamagedError:
    """The error for a file that is missing or changed."""
    return CorpusDamagedError(f"{folder / part.file} is missing, or its bytes are not those that were written: {AGAIN}")


def content_hash(*parts: Iterable[str]) -> str:
    """Hash of several runs of strings, each with its length, so that no two of them read alike."""
    digest = hashlib.sha256()
    for part in parts:
        for item in (*part, "\0"):
            raw = item.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
    return digest.hexdigest()[:SHORT]


def flat(column: Any, dtype: Any) -> NDArray[Any]:
    """The values of a list column in one chunk, as they lie in the map; nothing is copied."""
    chunk = column.chunk(0)
    values: NDArray[Any] = chunk.values.to_numpy(zero_copy_only=True)
    return values.view(dtype) if len(values) else np.empty(0, dtype=dtype)
