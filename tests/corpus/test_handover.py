"""Corpora handed over: the engines find what exact search finds. Each runs where its package is installed."""

import json
from pathlib import Path

import numpy as np
import pytest

from medembed import EmbeddedCorpus, MedEmbed
from medembed.corpus.embed import Settings
from medembed.errors import CorpusError
from medembed.rows.read import Columns
from tests.corpus.conftest import text_of


@pytest.fixture
def corpus(tmp_path: Path, fake: MedEmbed) -> EmbeddedCorpus:
    rows = [{"id": f"n{i}", "text": text_of(i), "year": 2000 + i % 10} for i in range(200)]
    made = EmbeddedCorpus.build(tmp_path / "c", rows, fake, Settings(Columns(kept={"year": "int"}), shard_rows=64))
    made.delete(["n5", "n150"])
    return made


def best(corpus: EmbeddedCorpus) -> list[str]:
    return [hit.id for hit in corpus.search("chest pain and cough", k=5)]


def query(fake: MedEmbed) -> np.ndarray:
    return fake.encode_query(["chest pain and cough"])


def test_plain_arrays(corpus: EmbeddedCorpus, tmp_path: Path) -> None:
    corpus.to_npy(tmp_path / "v.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), corpus.vectors())
    ids = json.loads((tmp_path / "v.ids.json").read_text())
    assert ids == corpus.ids
    assert "n5" not in ids
    with pytest.raises(CorpusError, match=r"expected a path that ends in .npy"):
        corpus.to_npy(tmp_path / "v.csv")


def test_faiss_finds_the_same(corpus: EmbeddedCorpus, fake: MedEmbed) -> None:
    pytest.importorskip("faiss")
    for factory in ("Flat", "HNSW32"):
        index, ids = corpus.to_faiss(factory)
        assert [ids[row] for row in index.search(query(fake), 5)[1][0]] == best(corpus)
    with pytest.raises(CorpusError, match="faiss cannot train 'IVF4096,Flat' on 198 rows"):
        corpus.to_faiss("IVF4096,Flat")


def test_lancedb_finds_the_same(corpus: EmbeddedCorpus, fake: MedEmbed, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    table = corpus.to_lancedb(str(tmp_path / "lance"))
    assert table.count_rows() == 198
    found = table.search(query(fake)[0]).distance_type("dot").limit(5).to_list()
    assert [row["id"] for row in found] == best(corpus)
    assert found[0]["year"] >= 2000


def test_qdrant_finds_the_same(corpus: EmbeddedCorpus, fake: MedEmbed) -> None:
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    corpus.to_qdrant(client, "notes")
    corpus.to_qdrant(client, "notes")  # again changes nothing
    assert client.count("notes").count == 198
    found = client.query_points("notes", query=query(fake)[0].tolist(), limit=5).points
    assert [point.payload["id"] for point in found] == best(corpus)
