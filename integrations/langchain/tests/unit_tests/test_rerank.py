"""Order, scores, copies and bad input of MedColBERTRerank, on a real late-interaction model."""

import copy
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

from langchain_medembed import MedColBERTRerank, MedEmbedEmbeddings
from medembed import FakeEngine, MedColBERT, errors


@pytest.fixture(scope="module")
def rerank() -> Iterator[MedColBERTRerank]:
    made = MedColBERTRerank(threads=1, top_n=2)
    yield made
    made.client.close()


@pytest.fixture
def documents() -> list[Document]:
    texts = ["A stye is an infected gland.", "Pyelonephritis is a kidney infection, treated with antibiotics.", "Gout."]
    return [Document(id=str(place), page_content=text, metadata={"n": place}) for place, text in enumerate(texts)]


def test_every_option_of_the_model_is_a_field_with_its_default() -> None:
    options, fields = inspect.signature(MedColBERT).parameters, MedColBERTRerank.model_fields
    assert set(fields) - set(options) == {"top_n", "assertion"}
    for name, option in options.items():
        if name != "model":
            assert fields[name].get_default(call_default_factory=True) == option.default, name


def test_the_best_come_first_as_copies_with_their_score(rerank: MedColBERTRerank, documents: list[Document]) -> None:
    kept = rerank.compress_documents(documents, "how is a kidney infection treated")
    assert len(kept) == 2
    assert kept[0].id == "1"
    assert kept[0].metadata["n"] == 1
    assert kept[0].metadata["relevance_score"] > kept[1].metadata["relevance_score"]
    assert all("relevance_score" not in document.metadata for document in documents)
    assert rerank.compress_documents([], "kidney") == []


def test_what_a_document_denies_falls_back(rerank: MedColBERTRerank) -> None:
    texts = ["She denies chest pain.", "She reports chest pain."]
    documents = [Document(page_content=text) for text in texts]
    for asked, first in (("patient with chest pain", 1), ("patient without chest pain", 0)):
        assert rerank.compress_documents(documents, asked)[0].page_content == texts[first]
    strict = MedColBERTRerank(threads=1, assertion="negated")
    assert strict.compress_documents(documents, "chest pain")[0].page_content == texts[0]
    strict.client.close()


def test_a_retriever_in_front(rerank: MedColBERTRerank, documents: list[Document]) -> None:
    store = InMemoryVectorStore.from_documents(documents, MedEmbedEmbeddings(threads=1))
    query = "infection of the kidney"
    kept = rerank.compress_documents(store.as_retriever(search_kwargs={"k": 3}).invoke(query), query)
    assert kept[0].id == "1"


async def test_without_blocking_the_loop(rerank: MedColBERTRerank, documents: list[Document]) -> None:
    assert await rerank.acompress_documents(documents, "gout") == rerank.compress_documents(documents, "gout")


def test_copies_load_the_model_themselves(rerank: MedColBERTRerank, documents: list[Document]) -> None:
    for other in (copy.deepcopy(rerank), pickle.loads(pickle.dumps(rerank))):
        assert other.client is not rerank.client
        assert other.compress_documents(documents, "gout") == rerank.compress_documents(documents, "gout")


def test_bad_input(prompted_folder: Path, rerank: MedColBERTRerank, documents: list[Document]) -> None:
    with pytest.raises(ValidationError, match="top_n"):
        MedColBERTRerank(top_n=0)
    with pytest.raises(ValidationError, match="max_seq_length"):
        MedColBERTRerank(max_seq_length=9)
    with pytest.raises(errors.ModelChangedError, match="sha256-000000000000 was asked for"):
        MedColBERTRerank(revision="sha256-000000000000")
    with pytest.raises(errors.UnsupportedModelError, match="is a dense model"):
        MedColBERTRerank(model=str(prompted_folder), engine=FakeEngine())
    with pytest.raises(errors.InputTypeError, match="takes one query"):
        rerank.compress_documents(documents, None)  # type: ignore[arg-type]
