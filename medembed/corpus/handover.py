"""Corpora handed to engines for approximate search, and to plain arrays."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from numpy.typing import NDArray

from medembed.corpus.store import EmbeddedCorpus
from medembed.errors import CorpusError
from medembed.extras import require
from medembed.storage.durable import write_text_whole, write_whole

# rows handed over at a time: 6 MB of float32 of 384 dimensions
ROWS_AT_A_TIME = 4096


def batches(corpus: EmbeddedCorpus) -> Iterator[tuple[Any, NDArray[np.float32]]]:
    """Live rows with their vectors as float32, some thousands at a time.

    Yields:
        Arrow table of all columns but the vector, and vectors, *Shape:* ``(n, dimension)``.
    """
    for table, matrix in corpus.files.groups():
        for start in range(0, len(matrix), ROWS_AT_A_TIME):
            yield table.slice(start, ROWS_AT_A_TIME), corpus.files.to_float(matrix[start : start + ROWS_AT_A_TIME])


def to_npy(corpus: EmbeddedCorpus, path: Path) -> None:
    """Write vectors as ``.npy``, float32, and ids beside it as ``.ids.json``, rows in the same order.

    Args:
        corpus: The corpus.
        path: Where, ending in ``.npy``; *shape* of the array: ``(len(corpus), dimension)``.

    Raises:
        CorpusError: The path does not end in ``.npy``.
    """
    if path.suffix != ".npy":
        raise CorpusError(f"{path}: expected a path that ends in .npy")

    def write(aside: Path) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(corpus), corpus.dimension)}
        # written, not mapped: on a full disk that is an error here, and would end the process there
        with aside.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _, matrix in batches(corpus):
                file.write(np.ascontiguousarray(matrix, dtype="<f4").data)

    write_whole(path, write)
    write_text_whole(path.with_suffix(".ids.json"), json.dumps(corpus.ids, ensure_ascii=False))


def to_faiss(corpus: EmbeddedCorpus, factory: str = "Flat") -> tuple[Any, list[str]]:
    """A faiss index over the corpus.

    Args:
        corpus: The corpus.
        factory: As ``faiss.index_factory`` takes it: ``"Flat"``, ``"HNSW32"``, ``"IVF4096,PQ48"`` ...; by inner product.

    Returns:
        The index and the ids; what the index calls ``n`` is ``ids[n]``.

    Raises:
        MissingExtraError: faiss is not installed.
        CorpusError: Too few rows to train such an index.
    """
    faiss = require("faiss")
    index = faiss.index_factory(corpus.dimension, factory, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        try:
            index.train(corpus.vectors())
        except RuntimeError as error:
            raise CorpusError(
                f"faiss cannot train {factory!r} on {len(corpus)} rows: use fewer lists or 'Flat'"
            ) from error
    for _, matrix in batches(corpus):
        index.add(matrix)
    return index, corpus.ids


def to_lancedb(corpus: EmbeddedCorpus, uri: str, table: str = "corpus") -> Any:
    """A LanceDB table with the corpus's columns and a ``vector`` column of float32.

    Args:
        corpus: The corpus.
        uri: Folder or address of the database.
        table: Name of the table; replaced where it exists.

    Returns:
        The LanceDB table; make its index with ``.create_index(metric="dot")``.

    Raises:
        CorpusError: The corpus holds no row.
        MissingExtraError: lancedb is not installed.
    """
    arrow = require("pyarrow")
    database = require("lancedb").connect(uri)
    made = None
    for rows, matrix in batches(corpus):
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


def to_qdrant(corpus: EmbeddedCorpus, client: Any, collection: str) -> None:
    """A Qdrant collection with a point a row; ids are kept in the payload, since Qdrant takes numbers and UUIDs only.

    Args:
        corpus: The corpus.
        client: A ``qdrant_client.QdrantClient``.
        collection: Name of the collection; made where it does not exist.

    Raises:
        MissingExtraError: qdrant-client is not installed.
    """
    models = require("qdrant_client.models")
    if not client.collection_exists(collection):
        # dot is the cosine for unit vectors, and right for models that do not normalise
        size = models.VectorParams(size=corpus.dimension, distance=models.Distance.DOT)
        client.create_collection(collection, vectors_config=size)
    for rows, matrix in batches(corpus):
        payloads: list[Mapping[str, Any]] = rows.to_pylist()
        points = [
            models.PointStruct(
                id=str(uuid5(NAMESPACE_URL, payload["id"])), vector=vector.tolist(), payload=dict(payload)
            )
            for payload, vector in zip(payloads, matrix, strict=True)
        ]
        client.upsert(collection, points=points)
