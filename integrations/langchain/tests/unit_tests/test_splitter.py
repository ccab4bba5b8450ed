"""MedEmbedSplitter: the passages of medembed, as documents."""

import pytest
from langchain_core.documents import Document

from langchain_medembed import MedEmbedEmbeddings, MedEmbedSplitter
from medembed import errors, split

NOTE = "HPI: Chest pain.\n\n" + "She walked and felt well. " * 40 + "\n\nALLERGIES: penicillin"


def test_passages_are_those_of_medembed(embeddings: MedEmbedEmbeddings) -> None:
    note = Document(id="n", page_content=NOTE, metadata={"patient": "p"})
    found = MedEmbedSplitter(embeddings.client, max_tokens=64).transform_documents([note, Document(page_content=" ")])
    expected = split(NOTE, embeddings.client, max_tokens=64)
    assert [document.page_content for document in found] == [passage.text for passage in expected]
    assert [document.id for document in found] == [f"n#{number}" for number in range(1, len(expected) + 1)]
    for document in found:
        place = document.metadata
        assert NOTE[place["start_index"] : place["end_index"]] == document.page_content
        assert place["patient"] == "p"
    assert found[-1].metadata["section"] == "allergies"


async def test_passages_are_the_same_when_awaited(embeddings: MedEmbedEmbeddings) -> None:
    splitter, notes = MedEmbedSplitter(embeddings.client, max_tokens=64, overlap=16), [Document(page_content=NOTE)]
    found = await splitter.atransform_documents(notes)
    assert found == splitter.transform_documents(notes)
    assert found[0].id is None


def test_settings_that_do_not_fit_are_refused_at_once(embeddings: MedEmbedEmbeddings) -> None:
    with pytest.raises(errors.SettingError, match="max_tokens=5000: the model reads"):
        MedEmbedSplitter(embeddings.client, max_tokens=5000)
