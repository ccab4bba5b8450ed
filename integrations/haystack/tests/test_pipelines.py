"""Real pipelines over real document stores, written to YAML, loaded again, and checked against an exact search."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

from haystack_integrations.components.embedders.medembed import MedEmbedDocumentEmbedder, MedEmbedTextEmbedder
from haystack_integrations.components.rankers.medembed import MedColBERTRanker
from medembed import MedEmbed

QUESTION = "How is a kidney infection treated?"


def in_memory(place: Path) -> tuple[Any, Any]:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    return store, InMemoryEmbeddingRetriever(store, top_k=20)


def qdrant(place: Path) -> tuple[Any, Any]:
    store = QdrantDocumentStore(path=str(place / "qdrant"), embedding_dim=384, similarity="cosine", progress_bar=False)
    return store, QdrantEmbeddingRetriever(store, top_k=20)


STORES: dict[str, Callable[[Path], tuple[Any, Any]]] = {"in-memory": in_memory, "qdrant": qdrant}


@pytest.mark.parametrize("made", STORES.values(), ids=STORES)
def test_a_store_finds_what_an_exact_search_finds(
    made: Callable[[Path], tuple[Any, Any]], tmp_path: Path, documents: list[Document]
) -> None:
    store, retriever = made(tmp_path)
    indexing = Pipeline()
    indexing.add_component("embedder", MedEmbedDocumentEmbedder(threads=1, overlong="chunk"))
    indexing.add_component("writer", DocumentWriter(store))
    indexing.connect("embedder", "writer")
    assert indexing.run({"documents": documents})["writer"]["documents_written"] == len(documents)

    asking = Pipeline()
    asking.add_component("embedder", MedEmbedTextEmbedder(threads=1))
    asking.add_component("retriever", retriever)
    asking.connect("embedder.embedding", "retriever.query_embedding")
    found = asking.run({"text": QUESTION})["retriever"]["documents"]

    with MedEmbed(threads=1, overlong="chunk") as model:
        rows = model.encode_document([str(document.content) for document in documents])
        scores = model.similarity(model.encode_query(QUESTION), rows)[0]
    best = [documents[place].meta["title"] for place in np.argsort(-scores, kind="stable")[:5]]
    assert [document.meta["title"] for document in found[:5]] == best


def asking(store: InMemoryDocumentStore) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("embedder", MedEmbedTextEmbedder(threads=1))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=20))
    pipeline.add_component("ranker", MedColBERTRanker(threads=1, top_k=3, meta_fields_to_embed=["title"]))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    pipeline.connect("retriever.documents", "ranker.documents")
    return pipeline


def filled(documents: list[Document]) -> InMemoryDocumentStore:
    store = InMemoryDocumentStore()
    store.write_documents(MedEmbedDocumentEmbedder(threads=1, overlong="chunk").run(documents)["documents"])
    return store


def ranked(found: dict[str, Any]) -> list[tuple[str, float]]:
    return [(document.meta["title"], round(document.score, 4)) for document in found["ranker"]["documents"]]


def test_a_pipeline_in_a_file_is_loaded_as_it_was(tmp_path: Path, documents: list[Document]) -> None:
    store = filled(documents)
    store.save_to_disk(str(tmp_path / "store.json"))
    question = {"embedder": {"text": QUESTION}, "ranker": {"query": QUESTION}}
    pipeline = asking(store)
    first = ranked(pipeline.run(question))
    assert len(first) == 3
    assert "kidney infection" in first[0][0].lower()

    written = pipeline.dumps()
    assert "haystack_integrations.components.rankers.medembed.ranker.MedColBERTRanker" in written
    again = Pipeline.loads(written)  # Haystack trusts the classes of integrations; nothing has to be allowed
    assert again.dumps() == written
    retriever: Any = again.get_component("retriever")
    retriever.document_store = InMemoryDocumentStore.load_from_disk(str(tmp_path / "store.json"))
    assert ranked(again.run(question)) == first
    again.close()


async def test_an_awaited_pipeline_ranks_alike(documents: list[Document]) -> None:
    store = filled(documents)
    question = {"embedder": {"text": QUESTION}, "ranker": {"query": QUESTION}}
    expected = [title for title, _ in ranked(asking(store).run(question))]
    found = await asking(store).run_async(question)
    assert [title for title, _ in ranked(found)] == expected


def test_the_readme_runs(readme: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(readme.partition("```python\n")[2].partition("```")[0], {})
    assert "Pyelonephritis" in capsys.readouterr().out
