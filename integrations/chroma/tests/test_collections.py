"""A real database in files: collections filled, opened by name in a new process, and checked against an exact search."""

import subprocess
import sys
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.api import ClientAPI

from chroma_medembed import MedEmbedEmbeddingFunction
from medembed import demo, errors

QUESTION = "How is a kidney infection treated?"
NEW_PROCESS = f"""
import sys
import chromadb
import chroma_medembed
collection = chromadb.PersistentClient(sys.argv[1]).get_collection("notes")
collection.add(ids=["new"], documents=["Gout is a kind of arthritis."])
print(*collection.query(query_texts=[{QUESTION!r}, "gout"], n_results=5)["ids"], sep="\\n")
"""


def test_a_collection_is_opened_by_its_name_in_a_new_process(
    client: ClientAPI, function: MedEmbedEmbeddingFunction, tmp_path: Path
) -> None:
    passages = demo.passages()[140:200]
    texts, ids = [passage.text for passage in passages], [passage.id for passage in passages]
    collection = client.create_collection("notes", embedding_function=function)
    collection.add(ids=ids, documents=texts)
    assert collection.configuration_json["hnsw"]["space"] == "cosine"
    scores = function.client.similarity(function.client.encode_query(QUESTION), function.client.encode_document(texts))[
        0
    ]
    exact = [ids[place] for place in np.argsort(-scores, kind="stable")[:5]]
    assert collection.query(query_texts=[QUESTION], n_results=5)["ids"] == [exact]

    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", NEW_PROCESS, str(tmp_path / "chroma")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    kidneys, gout = found.stdout.splitlines()
    assert kidneys == str(exact)
    assert gout.startswith("['new'")


def test_a_collection_is_opened_again_with_the_models_own_settings(client: ClientAPI, tmp_path: Path) -> None:
    function = MedEmbedEmbeddingFunction(threads=1, truncate_dim=64)
    client.create_collection("short", embedding_function=function).add(ids=["a"], documents=["chest pain"])
    again = chromadb.PersistentClient(str(tmp_path / "chroma")).get_collection("short")
    found = again.query(query_texts=["angina"], include=["embeddings"])["embeddings"]
    assert found is not None
    np.testing.assert_allclose(found[0], function(["chest pain"]), atol=1e-3)


def test_another_model_is_refused_for_vectors_that_are_there(client: ClientAPI) -> None:
    collection = client.create_collection("notes", embedding_function=MedEmbedEmbeddingFunction(threads=1))
    shorter = MedEmbedEmbeddingFunction(threads=1, max_seq_length=64)
    with pytest.raises(errors.StoreModelError, match="max_seq_length None, now 64"):
        collection.modify(configuration={"embedding_function": shorter})


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    exec(readme.partition("```python\n")[2].partition("```")[0], {})
    assert "Pyelonephritis" in capsys.readouterr().out
