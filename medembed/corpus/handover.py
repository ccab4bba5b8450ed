"""Corpora handed to engines for approximate search, and to plain arrays."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from numpy.typing import NDArray

from medembed.errors import CorpusError
from medembed.extras import require
from medembed.storage import arrays, arrow_files
from medembed.storage.manifest import Manifest
from medembed.storage.scopes import Scope


class Vectors(Protocol):
    """A corpus, with all that is handed over of it."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def manifest(self) -> Manifest[Any]:
        """Its manifest, which says what it was made with."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def ids_in(self, scope: Scope | None) -> list[str]:
        """Ids of live rows in a scope."""

    def count(self, scope: Scope | None) -> int:
        """Number of live rows in a scope."""

    def groups(self, scope: Scope | None) -> Iterator[tuple[Any, NDArray[Any]]]:
        """Live rows of each shard in a scope, and their stored vectors."""

    def to_float(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Stored vectors as float32."""

    def vectors(self, *, scope: Scope | None) -> NDArray[np.float32]:
        """All vectors of a scope as float32."""


# rows handed over at a time: 6 MB of float32 of 384 dimensions
ROWS_AT_A_TIME = 4096


def batches(corpus: Vectors, scope: Scope | None = None) -> Iterator[tuple[Any, NDArray[np.float32]]]:
    """Live rows with their vectors as float32, some thousands at a time.

    Yields:
        Arrow table of all columns but the vector, and vectors, *Shape:* ``(n, dimension)``.
    """
    for table, matrix in corpus.groups(scope):
        for start in range(0, len(matrix), ROWS_AT_A_TIME):
            yield table.slice(start, ROWS_AT_A_TIME), corpus.to_float(matrix[start : start + ROWS_AT_A_TIME])


def to_npy(corpus: Vectors, path: Path, scope: Scope | None = None) -> None:
    """Write vectors as ``.npy``, float32, and ids as ``.ids.json``. The ids are beside it, rows in the same order.

    Args:
        corpus: The corpus.
        path: Where, ending in ``.npy``; *shape* of the array: ``(len(corpus), dimension)``.
        scope: As for :meth:`EmbeddedCorpus.search`.

    Raises:
        CorpusError: The path does not end in ``.npy``, or nothing can be written there.
    """
    ids = corpus.ids_in(scope)
    arrays.write(path, (len(ids), corpus.dimension), (matrix for _, matrix in batches(corpus, scope)), ids)


def to_parquet(corpus: Vectors, path: Path, scope: Scope | None = None) -> None:
    """Write rows as Parquet.

    The columns are id, text, source, line, kept columns and ``vector``, a list of float32.

    Args:
        corpus: The corpus.
        path: Where, ending in ``.parquet``.
        scope: As for :meth:`EmbeddedCorpus.search`.

    Raises:
        CorpusError: The path does not end in ``.parquet``, or nothing can be written there.
    """
    kind = require("pyarrow").list_(require("pyarrow").float32(), corpus.dimension)
    corpus.count(scope)  # a missing scope is told before a file is begun
    schema = arrays.schema(corpus.manifest.kept, "vector", kind)
    tables = (
        rows.append_column(schema.field("vector"), arrow_files.to_column(matrix, kind))
        for rows, matrix in batches(corpus, scope)
    )
    arrays.write_parquet(path, schema, tables)


def to_faiss(corpus: Vectors, factory: str = "Flat", scope: Scope | None = None) -> tuple[Any, list[str]]:
    """A faiss index over the corpus.

    Args:
        corpus: The corpus.
        factory: As ``faiss.index_factory`` takes it: ``"Flat"``, ``"HNSW32"``, ``"IVF4096,PQ48"`` ...; by inner product.
        scope: As for :meth:`EmbeddedCorpus.search`.

    Returns:
        The index and the ids; what the index calls ``n`` is ``ids[n]``.

    Raises:
        MissingExtraError: faiss is not installed.
        CorpusError: Too few rows to train such an index.
    """
    ids = corpus.ids_in(scope)
    faiss = require("faiss")
    index = faiss.index_factory(corpus.dimension, factory, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        try:
            index.train(corpus.vectors(scope=scope))
        except RuntimeError as error:
            raise CorpusError(
                f"faiss cannot train {factory!r} on {len(ids)} rows: use fewer lists or 'Flat'"
            ) from error
    for _, matrix in batches(corpus, scope):
        index.add(matrix)
    return index, ids


def to_lancedb(corpus: Vectors, uri: str, table: str = "corpus", scope: Scope | None = None) -> Any:
    """A LanceDB table with the corpus's columns and vectors. The column ``vector`` holds float32.

    Args:
        corpus: The corpus.
        uri: Folder or address of the database.
        table: Name of the table; replaced where it exists.
        scope: As for :meth:`EmbeddedCorpus.search`.

    Returns:
        The LanceDB table; make its index with ``.create_index(metric="dot")``.

    Raises:
        CorpusError: The corpus holds no row.
        MissingExtraError: lancedb is not installed.
    """
    corpus.count(scope)
    arrow = require("pyarrow")
    database = require("lancedb").connect(uri)
    made = None
    for rows, matrix in batches(corpus, scope):
        kind = arrow.list_(arrow.float32(), corpus.dimension)
        column = arrow.FixedSizeListArray.from_arrays(arrow.array(matrix.reshape(-1)), type=kind)
        whole = rows.append_column(arrow.field("vector", kind), column)
        if made is None:
            made = database.create_table(table, whole, mode="overwrite")
        else:
            made.add(whole)
    if made is None:
        raise CorpusError(f"{corpus.path} holds no row to hand over")
    return made


def to_qdrant(corpus: Vectors, client: Any, collection: str, scope: Scope | None = None) -> None:
    """A Qdrant collection with one point per row.

    Ids are kept in the payload, since Qdrant takes numbers and UUIDs only.

    Args:
        corpus: The corpus.
        client: A ``qdrant_client.QdrantClient``.
        collection: Name of the collection; made where it does not exist.
        scope: As for :meth:`EmbeddedCorpus.search`.

    Raises:
        MissingExtraError: qdrant-client is not installed.
    """
    corpus.count(scope)
    models = require("qdrant_client.models")
    if not client.collection_exists(collection):
        # dot is the cosine for unit vectors, and right for models that do not normalize
        size = models.VectorParams(size=corpus.dimension, distance=models.Distance.DOT)
        client.create_collection(collection, vectors_config=size)
    for rows, matrix in batches(corpus, scope):
        payloads: list[Mapping[str, Any]] = rows.to_pylist()
        points = [
            models.PointStruct(
                id=str(uuid5(NAMESPACE_URL, payload["id"])), vector=vector.tolist(), payload=dict(payload)
            )
            for payload, vector in zip(payloads, matrix, strict=True)
        ]
        client.upsert(collection, points=points)
