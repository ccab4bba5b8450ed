"""MedEmbedEmbedding as a transformation of LlamaIndex's IngestionPipeline: with cache, with workers, awaited."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode
from numpy.typing import NDArray

from llama_index.embeddings.medembed import MedEmbedEmbedding
from medembed import FakeEngine, demo


class CountingEngine(FakeEngine):
    """Counts the texts it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0

    def pooled(self, ids: Any, *, alone: bool = False) -> Any:
        self.texts += len(ids)
        return super().pooled(ids, alone=alone)


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return [Document(id_=passage.id, text=passage.text) for passage in demo.passages()[:12]]


@pytest.fixture
def splitter() -> SentenceSplitter:
    """Nodes within the 384 tokens that mini reads."""
    return SentenceSplitter(chunk_size=128, chunk_overlap=0)


def vectors_of(nodes: Sequence[BaseNode]) -> NDArray[np.float32]:
    return np.asarray([node.get_embedding() for node in nodes], dtype=np.float32)


def test_nodes_get_the_vectors_of_their_texts(
    embed_model: MedEmbedEmbedding, documents: list[Document], splitter: SentenceSplitter
) -> None:
    nodes = IngestionPipeline(transformations=[splitter, embed_model]).run(documents=documents)
    assert len(nodes) > len(documents)
    expected = embed_model.client.encode_document([node.get_content() for node in nodes])
    np.testing.assert_allclose(vectors_of(nodes), expected, atol=2e-3)


def test_the_cache_spares_a_second_computation_and_heeds_settings(
    tmp_path: Path, documents: list[Document], splitter: SentenceSplitter
) -> None:
    def run(truncate_dim: int | None = None) -> tuple[int, list[Any]]:
        engine = CountingEngine()
        made = MedEmbedEmbedding(engine=engine, threads=1, truncate_dim=truncate_dim)
        pipeline = IngestionPipeline(transformations=[splitter, made], cache=IngestionCache())
        if tmp_path.joinpath("pipeline").exists():
            pipeline.load(str(tmp_path / "pipeline"))
        nodes = pipeline.run(documents=documents)
        pipeline.persist(str(tmp_path / "pipeline"))
        return engine.texts, [node.embedding for node in nodes]

    computed, first = run()
    assert computed == len(first)
    assert run() == (0, first)  # read from the disk
    computed, shorter = run(truncate_dim=64)
    assert computed == len(first)
    assert {len(vector) for vector in shorter} == {64}


def test_workers_compute_the_same(documents: list[Document], splitter: SentenceSplitter) -> None:
    made = MedEmbedEmbedding(threads=1, precision="fp32")
    pipeline = IngestionPipeline(transformations=[splitter, made], disable_cache=True)
    alone = pipeline.run(documents=documents)
    shared = pipeline.run(documents=documents, num_workers=2)
    assert [node.get_content() for node in shared] == [node.get_content() for node in alone]
    np.testing.assert_allclose(vectors_of(shared), vectors_of(alone), atol=1e-5)


async def test_a_pipeline_can_be_awaited(
    embed_model: MedEmbedEmbedding, documents: list[Document], splitter: SentenceSplitter
) -> None:
    pipeline = IngestionPipeline(transformations=[splitter, embed_model], disable_cache=True)
    nodes = await pipeline.arun(documents=documents)
    expected = embed_model.client.encode_document([node.get_content() for node in nodes])
    np.testing.assert_allclose(vectors_of(nodes), expected, atol=2e-3)
