"""Layout of a token index on disk.

It has compressed token vectors per row, a codec, and what decides them.

Shards hold, beside their rows, ``codes`` (centroid numbers, two bytes per token) and ``remainders`` (one byte for every ``8 / bits``
coordinates), each the bytes of all tokens of a row. The part ``codec`` holds centroids and points, made from the first rows.
"""

from typing import Any

import numpy as np

from medembed.checkpoints.registry import stored_name
from medembed.colbert.model import MedColBERT
from medembed.colbert.residual import CODE_BYTES, Bits
from medembed.storage import arrow_files
from medembed.storage.manifest import Encoding, Kind, Manifest

CODEC = "codec"


class TokenEncoding(Encoding):
    """Settings that decide the token vectors of an index.

    Attributes:
        pool_factor: Token pooling on top of the model's own.
        bits: Bits that a dimension's remainder takes.
    """

    pool_factor: float
    bits: Bits


def _count(table: Any) -> int:
    return int(np.diff(arrow_files.to_bytes(table.column("codes"))[1]).sum()) // CODE_BYTES


INDEX = Kind(
    "token index",
    "`medembed index FILES -o {path} --late-interaction MODEL` or TokenIndex.build(path, rows, model)",
    "build the index again with the same rows: what is intact is kept",
    TokenEncoding,
    _count,
)
TokenManifest = Manifest[TokenEncoding]


def encoding_of(model: MedColBERT, bits: Bits, pool_factor: float) -> TokenEncoding:
    """The encoding of this model's token vectors."""
    return TokenEncoding(
        model=stored_name(model.name, model.revision),
        revision=model.revision,
        weights=model.revision,  # a commit or a hash of the files, late interaction included
        dimension=model.dimension,
        max_seq_length=model.document_length,
        overlong=model.overlong,
        pool_factor=pool_factor,
        bits=bits,
    )
