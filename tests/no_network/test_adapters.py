"""Both adapters with the vector stores they are for: nothing is sent, nothing is left. Run with `make test-adapters`."""

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
SCRIPTS = {
    **{f"langchain-{name}": WITH_LANGCHAIN.replace("STORE", store) for name, store in LANGCHAIN.items()},
    **{f"llama-index-{name}": WITH_LLAMA_INDEX.replace("STORE", store) for name, store in LLAMA_INDEX.items()},
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A place of its own for each store."""
    with tempfile.TemporaryDirectory(prefix="medembed-traced-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_store_sends_nothing_and_leaves_nothing(script: str, place: Path) -> None:
    assert_nothing(tracing.observe([sys.executable, "-c", script], place), place, opens_sockets=True)
