"""The vector stores to try, each as: build from documents, open again, and how it words a filter on the source."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

NAME = "passages"


@dataclass(frozen=True)
class Store:
    """One vector store.

    Attributes:
        build: Makes it at a place and indexes the documents.
        reopen: Opens what ``build`` has left there.
        only: A filter that lets one source through.
        awaits: Whether the same object searches asynchronously too (PGVector needs another engine for that).
    """

    build: Callable[[Embeddings, list[Document], Any], contextlib.AbstractContextManager[VectorStore]]
    reopen: Callable[[Embeddings, Any], contextlib.AbstractContextManager[VectorStore]]
    only: Callable[[str], dict[str, Any]]
    awaits: bool = True


def _ids(documents: list[Document]) -> list[str]:
    return [str(document.id) for document in documents]


@contextlib.contextmanager
def _build_faiss(embeddings: Embeddings, documents: list[Document], place: Path) -> Iterator[VectorStore]:
    from langchain_community.vectorstores import FAISS

    store = FAISS.from_documents(documents, embeddings, ids=_ids(documents))
    store.save_local(str(place))
    yield store


@contextlib.contextmanager
def _reopen_faiss(embeddings: Embeddings, place: Path) -> Iterator[VectorStore]:
    from langchain_community.vectorstores import FAISS

    # FAISS keeps its documents as a pickle; this one we wrote ourselves a moment ago
    yield FAISS.load_local(str(place), embeddings, allow_dangerous_deserialization=True)


@contextlib.contextmanager
def _reopen_chroma(embeddings: Embeddings, place: Path) -> Iterator[VectorStore]:
    from chromadb.config import Settings
    from langchain_chroma import Chroma

    yield Chroma(
        collection_name=NAME,
        embedding_function=embeddings,
        persist_directory=str(place),
        client_settings=Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(place)),
        collection_metadata={"hnsw:space": "cosine"},
    )


@contextlib.contextmanager
def _build_chroma(embeddings: Embeddings, documents: list[Document], place: Path) -> Iterator[VectorStore]:
    with _reopen_chroma(embeddings, place) as store:
        store.add_documents(documents, ids=_ids(documents))
        yield store


def _point(document: Document) -> str:
    """Qdrant takes UUIDs only."""
    return str(uuid5(NAMESPACE_URL, str(document.id)))


@contextlib.contextmanager
def _reopen_qdrant(embeddings: Embeddings, place: Path) -> Iterator[VectorStore]:
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    client = QdrantClient(path=str(place))
    try:
        yield QdrantVectorStore(client, NAME, embeddings)
    finally:
        client.close()  # the folder is locked while open


@contextlib.contextmanager
def _build_qdrant(embeddings: Embeddings, documents: list[Document], place: Path) -> Iterator[VectorStore]:
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    client = QdrantClient(path=str(place))
    size = len(embeddings.embed_query("how long is a vector?"))
    client.create_collection(NAME, vectors_config=VectorParams(size=size, distance=Distance.COSINE))
    client.close()
    with _reopen_qdrant(embeddings, place) as store:
        store.add_documents(documents, ids=[_point(document) for document in documents])
        yield store


def _only_qdrant(source: str) -> dict[str, Any]:
    from qdrant_client import models

    match = models.FieldCondition(key="metadata.source", match=models.MatchValue(value=source))
    return {"filter": models.Filter(must=[match])}


@contextlib.contextmanager
def _reopen_lancedb(embeddings: Embeddings, place: Path) -> Iterator[VectorStore]:
    from langchain_community.vectorstores import LanceDB

    yield LanceDB(uri=str(place), embedding=embeddings, table_name=NAME)


@contextlib.contextmanager
def _build_lancedb(embeddings: Embeddings, documents: list[Document], place: Path) -> Iterator[VectorStore]:
    with _reopen_lancedb(embeddings, place) as store:
        store.add_texts([d.page_content for d in documents], [d.metadata for d in documents], ids=_ids(documents))
        yield store


@contextlib.contextmanager
def _reopen_postgres(embeddings: Embeddings, place: str) -> Iterator[VectorStore]:
    from langchain_postgres import PGVector

    store = PGVector(embeddings, collection_name=NAME, connection=place, use_jsonb=True)
    try:
        yield store
    finally:
        store._engine.dispose()  # type: ignore[union-attr]  # a sync store has a sync engine


@contextlib.contextmanager
def _build_postgres(embeddings: Embeddings, documents: list[Document], place: str) -> Iterator[VectorStore]:
    with _reopen_postgres(embeddings, place) as store:
        store.add_documents(documents, ids=_ids(documents))
        yield store


STORES = {
    "faiss": Store(_build_faiss, _reopen_faiss, lambda source: {"filter": {"source": source}, "fetch_k": 10_000}),
    "chroma": Store(_build_chroma, _reopen_chroma, lambda source: {"filter": {"source": source}}),
    "qdrant": Store(_build_qdrant, _reopen_qdrant, _only_qdrant),
    "lancedb": Store(
        _build_lancedb,
        _reopen_lancedb,
        lambda source: {"filter": f"metadata.source = '{source}'", "prefilter": True},
    ),
    "pgvector": Store(
        _build_postgres, _reopen_postgres, lambda source: {"filter": {"source": {"$eq": source}}}, awaits=False
    ),
}
