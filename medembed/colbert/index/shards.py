"""The files of a token index: compressed documents in Arrow shards read through memory maps, and documents by centroid."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.colbert.index import layout
from medembed.colbert.index.layout import SHORT, Encoding, Part, Row, TokenManifest, TokenShard
from medembed.colbert.index.lists import CentroidLists, make_lists
from medembed.colbert.residual import ResidualCodec
from medembed.extras import require
from medembed.storage.durable import write_hashed
from medembed.storage.shard_folders import SHARDS, intact_files

Floats = NDArray[np.float32]


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


def find_shard(folder: Path, number: int, content: str) -> TokenShard | None:
    """A shard of this content that an earlier run has left, if its bytes are intact."""
    for path, digest in intact_files(folder / SHARDS, f"{number:06d}.{content}.*.arrow"):
        return _shard(folder, path, digest, content)
    return None


def table_of(group: Sequence[Row], tokens: Sequence[Floats], codec: ResidualCodec, told: Encoding) -> Any:
    """Documents with their token vectors, compressed, as a shard's Arrow table."""
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


def write_shard(folder: Path, number: int, content: str, table: Any) -> TokenShard:
    """Write a shard; its name holds its number, the hash of its rows and that of its bytes."""
    stem = f"{number:06d}.{content}"
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


def write_lists(folder: Path, codec: Part, shards: Sequence[TokenShard]) -> Part:
    """Write the documents of each centroid."""
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
