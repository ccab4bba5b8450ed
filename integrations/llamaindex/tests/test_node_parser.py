"""MedEmbedNodeParser: the passages of medembed, as nodes with exact offsets."""

import pytest
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import Document, MetadataMode, NodeRelationship, TextNode
from pydantic import ValidationError

from llama_index.embeddings.medembed import MedEmbedEmbedding
from llama_index.node_parser.medembed import MedEmbedNodeParser
from medembed import errors, split

# "Plan" stands in the midst of an earlier passage: looked up by its text it would be found there
NOTE = (
    "HPI: Chest pain. Plan\n\n"
    + "She walked and felt well. Plan: none. " * 40
    + "\n\nPlan\nrest\n\nALLERGIES: penicillin"
)


def test_passages_are_those_of_medembed(embed_model: MedEmbedEmbedding) -> None:
    parser = MedEmbedNodeParser(client=embed_model.client, max_tokens=64)
    note = Document(id_="n", text=NOTE, metadata={"patient": "p"})
    found = parser.get_nodes_from_documents([note, Document(text=" ")])
    expected = split(NOTE, embed_model.client, max_tokens=64)
    assert [node.get_content(MetadataMode.NONE) for node in found] == [passage.text for passage in expected]
    for node, passage in zip(found, expected, strict=True):
        assert isinstance(node, TextNode)
        assert (node.start_char_idx, node.end_char_idx) == (passage.start, passage.end)
        assert node.metadata == {"patient": "p", "section": passage.section, "heading": passage.heading}
        assert node.ref_doc_id == "n"
        assert "allergies" not in node.get_content(MetadataMode.EMBED)
    assert found[0].relationships[NodeRelationship.NEXT].node_id == found[1].node_id  # type: ignore[union-attr] # one node


def test_it_is_a_step_of_a_pipeline(embed_model: MedEmbedEmbedding) -> None:
    parser = MedEmbedNodeParser(client=embed_model.client, max_tokens=64)
    nodes = IngestionPipeline(transformations=[parser, embed_model]).run(documents=[Document(text=NOTE)])
    assert len(nodes) > 3
    assert all(node.embedding is not None for node in nodes)


def test_settings_that_do_not_fit_are_refused_at_once(embed_model: MedEmbedEmbedding) -> None:
    with pytest.raises(errors.SettingError, match="max_tokens=5000: the model reads"):
        MedEmbedNodeParser(client=embed_model.client, max_tokens=5000)
    with pytest.raises(ValidationError, match="window"):
        MedEmbedNodeParser(client=embed_model.client, window=3)
