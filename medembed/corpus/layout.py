"""Layout of an embedded corpus on disk. It has one vector per row, and what decides the vectors."""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints.registry import stored_name
from medembed.errors import CorpusError, VectorError
from medembed.extras import require
from medembed.model import MedEmbed
from medembed.runtime.identity import FAITHFUL_ENGINES
from medembed.storage.manifest import Encoding, Kind, Manifest

Stored = Literal["float32", "float16", "int8", "binary"]
"""A kind of vectors that a corpus keeps: a :data:`medembed.vectors.VectorKind` that Arrow readers understand."""


class Embedding(Encoding):
    """Settings that decide the vectors of a corpus.

    Attributes:
        prompt_kind: Which of the model's prompts was put before each text.
        prompt: That prompt.
        vectors: How vectors are stored.
        ranges: Quantization ranges of the model, lowest and highest per dimension; None where it has none.
    """

    prompt_kind: str
    prompt: str
    vectors: Stored
    ranges: list[list[float]] | None

    def ranges_array(self) -> NDArray[np.float32] | None:
        """The ranges as :mod:`medembed.vectors` takes them. *Shape:* ``(2, dimension)``."""
        return None if self.ranges is None else np.asarray(self.ranges, dtype=np.float32)


def _count(table: Any) -> int:
    return int(table.num_rows)


CORPUS = Kind(
    "embedded corpus",
    "`medembed index FILES -o {path}`",
    "run the same `medembed index` command again: what is intact is kept",
    Embedding,
    _count,
)
CorpusManifest = Manifest[Embedding]


def embedding_of(model: MedEmbed, stored: Stored) -> Embedding:
    """The encoding of this model's vectors for documents.

    Raises:
        CorpusError: ``stored`` is unknown.
        VectorError: int8 vectors of a model that has no ranges, or bits of a dimension that is not a multiple of 8.
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
        model=stored_name(model.name, model.revision),
        revision=model.revision if engine in FAITHFUL_ENGINES else f"{model.revision}+{engine}",
        weights=model.files_hash,
        dimension=model.dimension,
        max_seq_length=model.max_seq_length,
        overlong=model.settings["overlong"],
        prompt_kind="document",
        prompt=model.spec.prompts["document"],
        vectors=stored,
        ranges=ranges,
    )


def vector_type(embedding: Embedding, stored: Stored | None = None) -> Any:
    """Arrow type of a vector, a list of fixed length. For ``binary`` it is a list of bytes of packed bits."""
    arrow = require("pyarrow")
    kind = stored or embedding.vectors
    item = {"float32": arrow.float32(), "float16": arrow.float16(), "int8": arrow.int8(), "binary": arrow.int8()}[kind]
    return arrow.list_(item, embedding.dimension // 8 if kind == "binary" else embedding.dimension)


def model_settings(manifest: Manifest[Embedding], revision: str | None) -> dict[str, Any]:
    """Arguments that make :class:`MedEmbed` the model of a corpus."""
    told = manifest.encoding
    return {
        "model": told.model,
        "revision": revision,
        "truncate_dim": told.dimension,
        "max_seq_length": told.max_seq_length,
        "overlong": told.overlong,
    }
