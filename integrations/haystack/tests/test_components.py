"""Settings, prompts, results, copies in JSON and bad input of the three components, each run by itself."""

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from haystack import Document

from haystack_integrations.components.embedders.medembed import MedEmbedDocumentEmbedder, MedEmbedTextEmbedder
from haystack_integrations.components.rankers.medembed import MedColBERTRanker
from medembed import MedColBERT, MedEmbed, errors

TEXT = "acute myocardial infarction"
OF_FRAMEWORK = {"meta_fields_to_embed", "embedding_separator", "progress_bar", "top_k", "first_share", "assertion"}
Made = Callable[..., Any]
COMPONENTS: dict[str, tuple[Made, type, Callable[[Any], Any]]] = {
    "text": (MedEmbedTextEmbedder, MedEmbed, lambda made: made.run(TEXT)["embedding"]),
    "documents": (MedEmbedDocumentEmbedder, MedEmbed, lambda made: made.run(two())["documents"]),
    "ranker": (MedColBERTRanker, MedColBERT, lambda made: made.run("gland", two())["documents"]),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "text": {"truncate_dim": 100, "overlong": "chunk"},
    "documents": {"max_seq_length": 32, "meta_fields_to_embed": ["title"], "embedding_separator": " | "},
    "ranker": {"top_k": 1, "document_length": 64, "assertion": "any", "meta_fields_to_embed": ["title"]},
}


def two() -> list[Document]:
    return [
        Document(id="0", content="Gout is a kind of arthritis.", meta={"title": "Gout"}),
        Document(id="1", content="A stye is an infected gland.", meta={"title": "Stye"}),
    ]


@pytest.fixture(params=COMPONENTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_option_of_the_model_is_an_argument_with_its_default(kind: str) -> None:
    """An engine of one's own is none: a pipeline in a file could not have it."""
    # of __init__: a component's class has a metaclass, which hides its signature
    options, arguments = (inspect.signature(each.__init__).parameters for each in COMPONENTS[kind][:2][::-1])
    assert set(options) - set(arguments) == {"engine"}
    assert set(arguments) - set(options) <= OF_FRAMEWORK
    for name in set(options) & set(arguments) - {"self", "model"}:
        assert arguments[name].default == options[name].default, name


def test_the_model_is_loaded_by_warm_up_once_and_again_after_close(kind: str) -> None:
    made, _, run = COMPONENTS[kind]
    component = made(threads=1)
    assert component._client is None
    component.warm_up()
    first = component.client
    component.warm_up()
    before = run(component)
    assert component.client is first
    component.close()
    component.close()
    with pytest.raises(errors.ClosedModelError):
        first.encode_query(TEXT)
    assert run(component) == before
    component.close()


def test_a_component_from_a_file_does_the_same(kind: str) -> None:
    made, _, run = COMPONENTS[kind]
    component = made(threads=1, **SETTINGS[kind])
    told = json.loads(json.dumps(component.to_dict()))
    again = made.from_dict(told)  # type: ignore[attr-defined]
    assert again.to_dict() == told
    assert {name: told["init_parameters"][name] for name in SETTINGS[kind]} == SETTINGS[kind]
    assert run(again) == run(component)


async def test_awaited_it_does_the_same(kind: str) -> None:
    made, _, run = COMPONENTS[kind]
    component = made(threads=1)
    given = {"text": (TEXT,), "documents": (two(),), "ranker": ("gland", two())}[kind]
    found, expected = (await component.run_async(*given)), run(component)
    if kind == "text":
        np.testing.assert_allclose(found["embedding"], expected, atol=1e-4)
    else:
        assert [document.id for document in found["documents"]] == [document.id for document in expected]


async def test_queries_awaited_together_are_those_asked_one_by_one() -> None:
    embedder = MedEmbedTextEmbedder(threads=1)
    texts = [f"{TEXT} {number}" for number in range(20)]
    found = await asyncio.gather(*(embedder.run_async(text) for text in texts))
    alone = [embedder.run(text)["embedding"] for text in texts]
    np.testing.assert_allclose([each["embedding"] for each in found], alone, atol=1e-3)


def test_prompts_are_applied_by_themselves(prompted: str) -> None:
    plain = MedEmbed(threads=1)
    query, passage = plain.encode(TEXT, prompt="query: "), plain.encode(TEXT, prompt="passage: ")
    assert not np.allclose(query, passage, atol=1e-2)
    np.testing.assert_allclose(MedEmbedTextEmbedder(prompted, threads=1).run(TEXT)["embedding"], query, atol=2e-3)
    done: Any = MedEmbedDocumentEmbedder(prompted, threads=1).run([Document(content=TEXT)])["documents"]
    np.testing.assert_allclose(done[0].embedding, passage, atol=2e-3)


READ: dict[str, tuple[dict[str, Any], Document, str]] = {
    "text": ({}, Document(content="Rest.", meta={"title": "Gout"}), "Rest."),
    "title": ({"meta_fields_to_embed": ["title"]}, Document(content="Rest.", meta={"title": "Gout"}), "Gout\nRest."),
    "order": (
        {"meta_fields_to_embed": ["year", "title"], "embedding_separator": " - "},
        Document(content="Rest.", meta={"title": "Gout", "year": 2020}),
        "2020 - Gout - Rest.",
    ),
    "missing": ({"meta_fields_to_embed": ["title", "no"]}, Document(content="Rest.", meta={"title": None}), "Rest."),
    "empty": ({"meta_fields_to_embed": ["title"]}, Document(content=None, meta={"title": "Gout"}), "Gout\n"),
}


@pytest.mark.parametrize(("settings", "document", "text"), READ.values(), ids=READ)
def test_metadata_are_read_as_said(settings: dict[str, Any], document: Document, text: str) -> None:
    embedder = MedEmbedDocumentEmbedder(threads=1, **settings)
    done: Any = embedder.run([document])["documents"]
    np.testing.assert_array_equal(np.float32(done[0].embedding), embedder.client.encode_document([text])[0])
    ranker = MedColBERTRanker(threads=1, **settings)
    (ranked,) = ranker.run("gout", [document])["documents"]
    assert ranked.score == pytest.approx(ranker.client.rerank("gout", [text])[0].score, abs=1e-5)


def test_documents_come_back_as_copies_in_their_order() -> None:
    given = two()
    done: Any = MedEmbedDocumentEmbedder(threads=1).run(given)["documents"]
    assert [(document.id, document.meta) for document in done] == [(document.id, document.meta) for document in given]
    assert {type(number) for number in done[0].embedding} == {float}
    assert all(document.embedding is None for document in given)
    assert MedEmbedDocumentEmbedder(threads=1).run([]) == {"documents": []}


def test_the_best_come_first_once_each_and_not_more_than_asked_for() -> None:
    ranker = MedColBERTRanker(threads=1)
    given = two()
    found: Any = ranker.run("infected gland", [*given, *two()])["documents"]
    assert [document.id for document in found] == ["1", "0"]
    assert found[0].score > found[1].score
    assert given[0].score is None
    assert len(ranker.run("infected gland", given, top_k=1)["documents"]) == 1
    assert ranker.run("infected gland", []) == {"documents": []}


def test_scores_of_the_retriever_count_where_wished() -> None:
    first = [Document(id="0", content="Gout.", score=9.0), Document(id="1", content="An infected gland.", score=1.0)]
    worse = Document(id="0", content="Gout.", score=0.0)  # a second retriever's
    for share, best in ((0.0, "1"), (1.0, "0")):
        ranker = MedColBERTRanker(threads=1, first_share=share)
        assert ranker.run("infected gland", [worse, *first])["documents"][0].id == best
    with pytest.raises(errors.SettingError, match="2 of 2 documents have none"):
        ranker.run("infected gland", two())


def test_what_a_document_denies_falls_back() -> None:
    texts = ["She denies chest pain.", "She reports chest pain."]
    documents = [Document(content=text) for text in texts]
    ranker = MedColBERTRanker(threads=1)
    for asked, first in (("patient with chest pain", 1), ("patient without chest pain", 0)):
        assert ranker.run(asked, documents)["documents"][0].content == texts[first]


# ------------------------------------------------------------------------------------------- bad input

BAD_SETTINGS: dict[str, tuple[Made, dict[str, Any], type[Exception], str]] = {
    "model": (MedEmbedTextEmbedder, {"model": "minni"}, errors.UnknownModelError, "mini"),
    "dimension": (MedEmbedDocumentEmbedder, {"truncate_dim": 9999}, errors.SettingError, "truncate_dim=9999"),
    "device": (MedColBERTRanker, {"device": "tpu"}, errors.DeviceError, "tpu"),
    "top_k": (MedColBERTRanker, {"top_k": 0}, errors.SettingError, "top_k=0"),
    **{
        f"revision-{name}": (
            made,
            {"revision": "sha256-000000000000"},
            errors.ModelChangedError,
            "sha256-000000000000 was asked for",
        )
        for name, (made, _, _) in COMPONENTS.items()
    },
}


@pytest.mark.parametrize(("made", "settings", "error", "says"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_settings_that_do_not_fit_are_refused_before_a_run(
    made: Made, settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        made(**settings).warm_up()


BAD_INPUT: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "list-as-query": ("text", ([TEXT],), "takes a str, not list: for documents use MedEmbedDocumentEmbedder"),
    "none-as-query": ("text", (None,), "takes a str, not NoneType"),
    "text-as-documents": ("documents", (TEXT,), "takes a list of haystack.Document, not str"),
    "texts-as-documents": ("documents", ([Document(content=TEXT), TEXT],), "item 1 is a str"),
    "texts-to-rank": ("ranker", ("gland", [TEXT]), "item 0 is a str"),
    "list-to-rank-by": ("ranker", (["gland"], [Document(content=TEXT)]), "takes one query"),
}


@pytest.mark.parametrize(("kind", "given", "says"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_input_that_does_not_fit_is_refused_without_its_words(kind: str, given: tuple[Any, ...], says: str) -> None:
    with pytest.raises(errors.InputTypeError, match=says) as refused:
        COMPONENTS[kind][0](threads=1).run(*given)
    assert TEXT not in str(refused.value)
