"""The vector stores to try, each as something that opens it at a place."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_index.core.vector_stores.types import BasePydanticVectorStore

NAME = "passages"
DIMENSION = 384


@dataclass(frozen=True)
class Store:
    """One vector store.

    Attributes:
        open: Opens it at a place, empty or as it was left there.
        filters: Whether it can filter by metadata.
        awaits: Whether it searches asynchronously here (Qdrant needs a second client, and its local folder takes one).
        keeps_texts: Whether it holds the nodes; else LlamaIndex keeps them beside it.
    """

    open: Callable[[Any], contextlib.AbstractContextManager[BasePydanticVectorStore]]
    filters: bool = True
    keeps_texts: bool = True
    awaits: bool = True


@contextlib.contextmanager
def _faiss(place: Path) -> Iterator[BasePydanticVectorStore]:
    import faiss
    from llama_index.vector_stores.faiss import FaissVectorStore

    if place.exists():
        yield FaissVectorStore.from_persist_dir(str(place))
    else:
        yield FaissVectorStore(faiss_index=faiss.IndexFlatIP(DIMENSION))


@contextlib.contextmanager
def _chroma(place: Path) -> Iterator[BasePydanticVectorStore]:
    import chromadb
    from chromadb.config import Settings
    from llama_index.vector_stores.chroma import ChromaVectorStore

    client = chromadb.PersistentClient(str(place), settings=Settings(anonymized_telemetry=False))
    yield ChromaVectorStore(chroma_collection=client.get_or_create_collection(NAME, metadata={"hnsw:space": "cosine"}))


@contextlib.contextmanager
def _qdrant(place: Path) -> Iterator[BasePydanticVectorStore]:
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    client = QdrantClient(path=str(place))
    try:
        yield QdrantVectorStore(collection_name=NAME, client=client)
    finally:
        client.close()  # the folder is locked while open


@contextlib.contextmanager
def _lancedb(place: Path) -> Iterator[BasePydanticVectorStore]:
    from llama_index.vector_stores.lancedb import LanceDBVectorStore

    yield LanceDBVectorStore(uri=str(place), table_name=NAME)


@contextlib.contextmanager
def _postgres(place: str) -> Iterator[BasePydanticVectorStore]:
    from llama_index.vector_stores.postgres import PGVectorStore
    from sqlalchemy.pool import NullPool

    store = PGVectorStore.from_params(
        connection_string=place.replace("postgresql://", "postgresql+psycopg2://"),
        async_connection_string=place.replace("postgresql://", "postgresql+asyncpg://"),
        table_name=NAME,
        embed_dim=DIMENSION,
        use_jsonb=True,
        create_engine_kwargs={"poolclass": NullPool},  # a pooled connection would outlive the test's event loop
    )
    try:
        yield store
    finally:
        store._engine.dispose()  # type: ignore[union-attr]  # made above


STORES = {
    "faiss": Store(_faiss, filters=False, keeps_texts=False),
    "chroma": Store(_chroma),
    "qdrant": Store(_qdrant, awaits=False),
    "lancedb": Store(_lancedb),
    "pgvector": Store(_postgres),
}
