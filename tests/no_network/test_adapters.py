"""The adapters with the vector stores they are for: nothing is sent, nothing is left. Run with `make test-adapters`."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.no_network import tracing
from tests.no_network.unasked import assert_nothing

pytest.importorskip("langchain_medembed", reason="the adapters have an environment of their own: make test-adapters")
pytest.importorskip("chromadb")

pytestmark = pytest.mark.skipif(tracing.missing() is not None, reason=tracing.missing() or "")

LANGCHAIN = {
    "chroma": "from langchain_chroma import Chroma as S; s = S.from_texts(T, E, persist_directory='chroma')",
    "faiss": "from langchain_community.vectorstores import FAISS as S; s = S.from_texts(T, E); s.save_local('faiss')",
    "qdrant": "from langchain_qdrant import QdrantVectorStore as S; s = S.from_texts(T, E, path='qdrant', collection_name='notes')",
    "lancedb": "from langchain_community.vectorstores import LanceDB as S; s = S.from_texts(T, E, uri='lance')",
}
LLAMA_INDEX = {
    "chroma": "import chromadb; from llama_index.vector_stores.chroma import ChromaVectorStore as S;"
    " s = S(chroma_collection=chromadb.PersistentClient(path='chroma').create_collection('notes'))",
    "lancedb": "from llama_index.vector_stores.lancedb import LanceDBVectorStore as S; s = S(uri='lance')",
}
WITH_LANGCHAIN = """
import warnings; warnings.simplefilter("ignore")
from langchain_medembed import MedEmbedEmbeddings
T, E = ["chest pain", "sore throat"], MedEmbedEmbeddings()
STORE
assert s.similarity_search("angina", k=1)[0].page_content == "chest pain"
"""
WITH_LLAMA_INDEX = """
import warnings; warnings.simplefilter("ignore")
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.medembed import MedEmbedEmbedding
STORE
nodes = [TextNode(text="chest pain"), TextNode(text="sore throat")]
index = VectorStoreIndex(nodes, StorageContext.from_defaults(vector_store=s), embed_model=MedEmbedEmbedding())
assert index.as_retriever(similarity_top_k=1).retrieve("angina")[0].node.text == "chest pain"
"""
WITH_CHROMA = """
import chromadb
from chroma_medembed import MedEmbedEmbeddingFunction
client = chromadb.PersistentClient("chroma")
notes = client.create_collection("notes", embedding_function=MedEmbedEmbeddingFunction())
notes.add(ids=["a", "b"], documents=["chest pain", "sore throat"])
assert client.get_collection("notes").query(query_texts=["angina"], n_results=1)["ids"] == [["a"]]
"""
# Haystack reports what a pipeline is made of, unless told not to: the privacy guide says so
WITH_HAYSTACK = """
import os; os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
from haystack import Document, Pipeline
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.medembed import MedEmbedDocumentEmbedder
from haystack_integrations.components.rankers.medembed import MedColBERTRanker
store, indexing = InMemoryDocumentStore(), Pipeline()
indexing.add_component("embedder", MedEmbedDocumentEmbedder())
indexing.add_component("ranker", MedColBERTRanker())
indexing.add_component("writer", DocumentWriter(store))
indexing.connect("embedder", "ranker.documents")
indexing.connect("ranker", "writer")
notes = [Document(content="chest pain"), Document(content="sore throat")]
assert indexing.run({"embedder": {"documents": notes}, "ranker": {"query": "angina"}})["writer"]["documents_written"] == 2
"""
# Daft reports its imports, unless told not to: the privacy guide says so
WITH_DAFT = """
import os; os.environ["DO_NOT_TRACK"] = "true"
import daft
from daft.functions import embed_text
from daft_medembed import MedEmbedProvider
daft.attach_provider(MedEmbedProvider())
notes = daft.from_pydict({"note": ["chest pain", "sore throat"]})
assert len(notes.select(embed_text(notes["note"], provider="medembed").alias("v")).to_pydict()["v"][0]) == 384
"""
SCRIPTS = {
    **{f"langchain-{name}": WITH_LANGCHAIN.replace("STORE", store) for name, store in LANGCHAIN.items()},
    **{f"llama-index-{name}": WITH_LLAMA_INDEX.replace("STORE", store) for name, store in LLAMA_INDEX.items()},
    "chroma": WITH_CHROMA,
    "haystack": WITH_HAYSTACK,
    "daft": WITH_DAFT,
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A place of its own for each store."""
    with tempfile.TemporaryDirectory(prefix="medembed-traced-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_store_sends_nothing_and_leaves_nothing(script: str, place: Path) -> None:
    assert_nothing(tracing.observe([sys.executable, "-c", script], place), place, opens_sockets=True)
