"""Real vector stores: indexing, search, filter, persistence and reload, checked against an exact search."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores import ExactMatchFilter, MetadataFilters

from llama_index.embeddings.medembed import MedEmbedEmbedding

sys.path.insert(0, str(Path(__file__).parent))
from stores import STORES, Store

QUESTION = "How is a kidney infection treated?"
# what these libraries warn about themselves; warnings of medembed stay errors
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own with pgvector, on a socket in a temporary folder."""
    pgserver = pytest.importorskip(
        "pgserver",
        reason="PostgreSQL was NOT tested: pgserver, which brings it with pgvector, has no wheel for this Python",
    )
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Where the store keeps its data."""
    if request.node.callspec.params["store"] == "pgvector":
        return request.getfixturevalue("postgres")
    return tmp_path / "store"


@pytest.fixture
def exact(embed_model: MedEmbedEmbedding, nodes: list[TextNode]) -> list[TextNode]:
    """All nodes in the order of an exact search."""
    rows = np.asarray(embed_model.get_text_embedding_batch([node.text for node in nodes]))
    scores = rows @ np.asarray(embed_model.get_query_embedding(QUESTION))
    return [nodes[i] for i in np.argsort(-scores, kind="stable")]


def titles(found: list[Any]) -> list[str]:
    nodes = (item.node if isinstance(item, NodeWithScore) else item for item in found)
    return [node.metadata["title"] for node in nodes]


async def test_a_store_finds_what_an_exact_search_finds_also_after_reload(
    store: Store, place: Any, embed_model: MedEmbedEmbedding, nodes: list[TextNode], exact: list[TextNode]
) -> None:
    others = (node.metadata["source"] for node in exact[5:])
    source = Counter(s for s in others if s != exact[0].metadata["source"]).most_common(1)[0][0]
    only = MetadataFilters(filters=[ExactMatchFilter(key="source", value=source)])
    of_source = titles([node for node in exact if node.metadata["source"] == source][:3])

    async def check(index: VectorStoreIndex) -> None:
        retriever = index.as_retriever(similarity_top_k=5)
        assert titles(retriever.retrieve(QUESTION)) == titles(exact[:5])
        if store.awaits:
            assert titles(await retriever.aretrieve(QUESTION)) == titles(exact[:5])
        if store.filters:
            assert titles(index.as_retriever(similarity_top_k=3, filters=only).retrieve(QUESTION)) == of_source

    with store.open(place) as opened:
        context = StorageContext.from_defaults(vector_store=opened)
        index = VectorStoreIndex(nodes, storage_context=context, embed_model=embed_model)
        await check(index)
        if not store.keeps_texts:
            context.persist(str(place))
    with store.open(place) as opened:
        if store.keeps_texts:
            index = VectorStoreIndex.from_vector_store(opened, embed_model=embed_model)
        else:
            context = StorageContext.from_defaults(vector_store=opened, persist_dir=str(place))
            loaded = load_index_from_storage(context, embed_model=embed_model)
            assert isinstance(loaded, VectorStoreIndex)
            index = loaded
        await check(index)
