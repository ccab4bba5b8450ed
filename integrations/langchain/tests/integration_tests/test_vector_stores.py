"""Real vector stores: indexing, search, filter, persistence and reload, checked against an exact search."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_medembed import MedEmbedEmbeddings

sys.path.insert(0, str(Path(__file__).parent))
from stores import STORES, Store

QUESTION = "How is a kidney infection treated?"
# what these libraries warn about themselves; warnings of medembed stay errors
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own with pgvector, on a socket in a temporary folder."""
    pgserver = pytest.importorskip(
        "pgserver",
        reason="PostgreSQL was NOT tested: pgserver, which brings it with pgvector, has no wheel for this Python",
    )
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
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


@pytest.fixture(scope="module")
def exact(embeddings: MedEmbedEmbeddings, documents: list[Document]) -> list[Document]:
    """All documents in the order of an exact search."""
    rows = np.asarray(embeddings.embed_documents([document.page_content for document in documents]))
    scores = rows @ np.asarray(embeddings.embed_query(QUESTION))
    return [documents[i] for i in np.argsort(-scores, kind="stable")]


def titles(found: list[Document]) -> list[str]:
    return [document.metadata["title"] for document in found]


async def test_a_store_finds_what_an_exact_search_finds_also_after_reload(
    store: Store, place: Any, embeddings: MedEmbedEmbeddings, documents: list[Document], exact: list[Document]
) -> None:
    others = (document.metadata["source"] for document in exact[5:])
    source = Counter(s for s in others if s != exact[0].metadata["source"]).most_common(1)[0][0]
    expected = titles(exact[:5])
    of_source = titles([document for document in exact if document.metadata["source"] == source][:3])

    async def check(opened: VectorStore) -> None:
        assert titles(opened.similarity_search(QUESTION, k=5)) == expected
        if store.awaits:
            assert titles(await opened.asimilarity_search(QUESTION, k=5)) == expected
        assert titles(opened.similarity_search(QUESTION, k=3, **store.only(source))) == of_source

    with store.build(embeddings, documents, place) as opened:
        await check(opened)
    with store.reopen(embeddings, place) as opened:
        await check(opened)
