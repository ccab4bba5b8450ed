"""Order, scores, copies and bad input of MedColBERTRerank, on a real late-interaction model."""

import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import ValidationError

from llama_index.postprocessor.medembed import MedColBERTRerank
from medembed import FakeEngine, MedColBERT, errors

TEXTS = ["A stye is an infected gland.", "Pyelonephritis is a kidney infection, treated with antibiotics.", "Gout."]


@pytest.fixture(scope="module")
def rerank() -> Iterator[MedColBERTRerank]:
    made = MedColBERTRerank(threads=1, top_n=2)
    yield made
    made.client.close()


@pytest.fixture
def nodes() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(id_=str(place), text=text), score=0.5) for place, text in enumerate(TEXTS)]


def test_every_option_of_the_model_is_a_field_with_its_default() -> None:
    options, fields = inspect.signature(MedColBERT).parameters, MedColBERTRerank.model_fields
    assert set(fields) - set(options) == {"top_n", "first_share", "assertion", "callback_manager"}
    for name, option in options.items():
        if name != "model":
            assert fields[name].get_default(call_default_factory=True) == option.default, name


def test_the_best_come_first_with_their_score(rerank: MedColBERTRerank, nodes: list[NodeWithScore]) -> None:
    kept = rerank.postprocess_nodes(nodes, query_str="how is a kidney infection treated")
    assert kept[0].node_id == "1"
    assert len(kept) == 2
    assert kept[0].get_score() > kept[1].get_score()
    assert [node.score for node in nodes] == [0.5, 0.5, 0.5]
    assert rerank.postprocess_nodes([], query_str="kidney") == []


def test_what_a_node_denies_falls_back(rerank: MedColBERTRerank) -> None:
    texts = ["She denies chest pain.", "She reports chest pain."]
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in texts]
    for asked, first in (("patient with chest pain", 1), ("patient without chest pain", 0)):
        assert rerank.postprocess_nodes(nodes, query_str=asked)[0].node.get_content() == texts[first]
    strict = MedColBERTRerank(threads=1, assertion="negated")
    assert strict.postprocess_nodes(nodes, query_str="chest pain")[0].node.get_content() == texts[0]
    strict.client.close()


def test_the_retrievers_scores_keep_their_share(rerank: MedColBERTRerank) -> None:
    scores = [0.9, 0.1, 0.2]
    nodes = [NodeWithScore(node=TextNode(text=text), score=score) for text, score in zip(TEXTS, scores, strict=True)]
    with_share = MedColBERTRerank(threads=1, top_n=3, first_share=0.6)
    kept = with_share.postprocess_nodes(nodes, query_str="how is a kidney infection treated")
    expected = rerank.client.rerank("how is a kidney infection treated", TEXTS, first_scores=scores, share=0.6)
    assert [node.text for node in kept] == [TEXTS[item.index] for item in expected] != [TEXTS[1], TEXTS[0], TEXTS[2]]
    with pytest.raises(errors.SettingError, match=r"first_share=0\.6 counts the retriever's scores, and 1 of 1 nodes"):
        with_share.postprocess_nodes([NodeWithScore(node=TextNode(text="gout"))], query_str="gout")
    with_share.client.close()


def test_metadata_count_as_they_do_when_nodes_are_embedded(rerank: MedColBERTRerank) -> None:
    titled = TextNode(id_="titled", text="It hurts.", metadata={"title": "kidney infection"})
    hidden = TextNode(
        id_="hidden", text="It hurts.", metadata={"title": "kidney infection"}, excluded_embed_metadata_keys=["title"]
    )
    kept = rerank.postprocess_nodes([NodeWithScore(node=n) for n in (hidden, titled)], query_str="kidney infection")
    assert kept[0].node_id == "titled"


def test_in_a_query_engine(rerank: MedColBERTRerank) -> None:
    index = VectorStoreIndex([TextNode(text=text) for text in TEXTS], embed_model=MockEmbedding(8))
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=3, node_postprocessors=[rerank])
    sources = engine.query("infection of the kidney").source_nodes
    assert sources[0].text == TEXTS[1]
    assert len(sources) == 2


async def test_without_blocking_the_loop(rerank: MedColBERTRerank, nodes: list[NodeWithScore]) -> None:
    kept = await rerank.apostprocess_nodes(nodes, query_str="gout")
    assert kept == rerank.postprocess_nodes(nodes, query_str="gout")


def test_copies_load_the_model_themselves(rerank: MedColBERTRerank, nodes: list[NodeWithScore]) -> None:
    other = pickle.loads(pickle.dumps(rerank))
    assert other.client is not rerank.client
    assert other.postprocess_nodes(nodes, query_str="gout") == rerank.postprocess_nodes(nodes, query_str="gout")


def test_bad_input(prompted_folder: Path, rerank: MedColBERTRerank, nodes: list[NodeWithScore]) -> None:
    with pytest.raises(ValidationError, match="top_n"):
        MedColBERTRerank(top_n=0)
    with pytest.raises(ValidationError, match="max_seq_length"):
        MedColBERTRerank(max_seq_length=9)
    with pytest.raises(errors.ModelChangedError, match="sha256-000000000000 was asked for"):
        MedColBERTRerank(revision="sha256-000000000000")
    with pytest.raises(errors.UnsupportedModelError, match="is a dense model"):
        MedColBERTRerank(model=str(prompted_folder), engine=FakeEngine())
    with pytest.raises(errors.InputTypeError, match="needs the query: pass query_str"):
        rerank.postprocess_nodes(nodes)
