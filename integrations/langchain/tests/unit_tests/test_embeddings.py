"""Fields, prompts, types, copies and bad input of MedEmbedEmbeddings."""

import asyncio
import copy
import inspect
import pickle
import re
import threading
import time
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from pydantic import ValidationError

import langchain_medembed
from langchain_medembed import MedEmbedEmbeddings
from medembed import FakeEngine, MedEmbed, errors
from medembed.extras import install_command

TEXT = "acute myocardial infarction"
WRONG_ITEMS = [None, 7, b"bytes", ["nested"], float("nan")]


@pytest.fixture(scope="module")
def fake() -> MedEmbedEmbeddings:
    return MedEmbedEmbeddings(engine=FakeEngine(), threads=1)


class CountingEngine(FakeEngine):
    """Counts its batches, and takes long enough for other callers to queue up meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []
        self.threads: set[int] = set()

    def pooled(self, ids: Any, *, alone: bool = False) -> Any:
        self.rows.append(len(ids))
        self.threads.add(threading.get_ident())
        time.sleep(0.02)
        return super().pooled(ids, alone=alone)


def test_public_names() -> None:
    assert sorted(langchain_medembed.__all__) == [
        "MedColBERTRerank",
        "MedEmbedEmbeddings",
        "MedEmbedSplitter",
        "__version__",
    ]


def test_every_medembed_option_is_a_field_with_its_type_and_default() -> None:
    options = inspect.signature(MedEmbed).parameters
    fields = MedEmbedEmbeddings.model_fields
    assert set(fields) - set(options) == {"show_progress"}
    assert set(options) <= set(fields)
    for name, option in options.items():
        assert fields[name].get_default(call_default_factory=True) == option.default, name
    hints = get_type_hints(MedEmbed.__init__)
    for name in ("precision", "overlong", "max_seq_length", "truncate_dim", "threads", "revision", "local_files_only"):
        assert fields[name].annotation == hints[name], name


@pytest.mark.parametrize(
    ("settings", "dimension"), [({}, 384), ({"truncate_dim": 64}, 64)], ids=["default", "truncate_dim"]
)
def test_settings_reach_the_model(settings: dict[str, int], dimension: int) -> None:
    made = MedEmbedEmbeddings(threads=1, precision="fp32", max_seq_length=32, **settings)
    assert (made.client.dimension, made.client.max_seq_length, made.client.precision) == (dimension, 32, "fp32")
    assert len(made.embed_query(TEXT)) == dimension


def test_model_name_is_understood_as_in_other_packages() -> None:
    assert MedEmbedEmbeddings(model_name="mini", engine=FakeEngine()).model == "mini"


def test_vectors_are_lists_of_python_floats(fake: MedEmbedEmbeddings) -> None:
    query, passages = fake.embed_query(TEXT), fake.embed_documents([TEXT, "b"])
    assert type(query) is list
    assert type(passages) is list
    assert {type(x) for row in [query, *passages] for x in row} == {float}


async def test_prompts_are_applied_by_themselves(prompted_folder: Path) -> None:
    made, plain = MedEmbedEmbeddings(model=str(prompted_folder), threads=1), MedEmbed(threads=1)
    query, passage = plain.encode(TEXT, prompt="query: "), plain.encode(TEXT, prompt="passage: ")
    assert not np.allclose(query, passage, atol=1e-2)
    for found, expected in [
        (made.embed_query(TEXT), query),
        (await made.aembed_query(TEXT), query),
        (made.embed_documents([TEXT])[0], passage),
        ((await made.aembed_documents([TEXT]))[0], passage),
    ]:
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_documents_equal_those_of_medembed(embeddings: MedEmbedEmbeddings, documents: list[Any]) -> None:
    texts = [document.page_content for document in documents[:20]]
    expected = embeddings.client.encode_document(texts)
    np.testing.assert_array_equal(np.asarray(embeddings.embed_documents(texts), dtype=np.float32), expected)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("engine", [None, FakeEngine(384)], ids=["real", "fake"])
def test_copies_embed_alike(copier: Any, engine: FakeEngine | None) -> None:
    made = MedEmbedEmbeddings(threads=1, truncate_dim=100, engine=engine)
    again = copier(made)
    assert again.model_dump() == made.model_dump()
    assert again.embed_query(TEXT) == made.embed_query(TEXT)


def test_the_copy_outlives_a_closed_original() -> None:
    made = MedEmbedEmbeddings(threads=1)
    again = copy.deepcopy(made)
    made.client.close()
    assert len(again.embed_query(TEXT)) == 384
    with pytest.raises(errors.ClosedModelError):
        made.embed_query(TEXT)


# ------------------------------------------------------------------------------------------- bad input


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ValidationError, match=r"normalize\s+Extra inputs are not permitted"):
        MedEmbedEmbeddings(normalize=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [("precision", "fp8"), ("overlong", "cut"), ("threads", "many"), ("engine", object()), ("device", 3)],
)
def test_a_field_of_the_wrong_type_is_named(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        MedEmbedEmbeddings(**{field: value})


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"model": "minni"}, errors.UnknownModelError, "mini"),
        ({"truncate_dim": 9999}, errors.SettingError, "truncate_dim=9999"),
        ({"threads": 0}, errors.SettingError, "threads=0"),
        ({"device": "tpu"}, errors.DeviceError, "tpu"),
        ({"revision": "sha256-000000000000"}, errors.ModelChangedError, "sha256-000000000000 was asked for"),
    ],
    ids=["model", "truncate_dim", "threads", "device", "revision"],
)
def test_errors_of_medembed_keep_their_class(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        MedEmbedEmbeddings(**settings)


def test_a_missing_extra_surfaces_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # as if it were not installed
    with pytest.raises(errors.MissingExtraError, match=re.escape(install_command("torch"))):
        MedEmbedEmbeddings(device="cuda")


@pytest.mark.parametrize("item", WRONG_ITEMS, ids=repr)
async def test_a_passage_that_is_no_text_is_named_by_its_index(fake: MedEmbedEmbeddings, item: Any) -> None:
    with pytest.raises(errors.InputTypeError, match="text 1 is a"):
        fake.embed_documents(["fine", item])
    with pytest.raises(errors.InputTypeError, match="text 1 is a"):
        await fake.aembed_documents(["fine", item])


@pytest.mark.parametrize("query", [*WRONG_ITEMS, ["a list"]], ids=repr)
async def test_a_query_that_is_no_text_is_refused(fake: MedEmbedEmbeddings, query: Any) -> None:
    with pytest.raises(errors.InputTypeError, match="a query must be a str"):
        fake.embed_query(query)
    with pytest.raises(errors.InputTypeError, match="a query must be a str"):
        await fake.aembed_query(query)


def test_a_single_text_as_passages_is_refused_not_split_into_letters(fake: MedEmbedEmbeddings) -> None:
    with pytest.raises(errors.InputTypeError, match="wrap a single text in a list"):
        fake.embed_documents("one text")  # type: ignore[arg-type]


async def test_no_passages_give_no_vectors(fake: MedEmbedEmbeddings) -> None:
    assert fake.embed_documents([]) == await fake.aembed_documents([]) == []


@pytest.mark.parametrize(
    "text",
    ["", "   \n", "\ud800 lone surrogate", "🫀\x00", "pain " * 1000],
    ids=["empty", "blank", "surrogate", "nul", "long"],
)
def test_odd_texts_give_unit_vectors(embeddings: MedEmbedEmbeddings, text: str) -> None:
    for vector in (embeddings.embed_query(text), *embeddings.embed_documents([text, "next to it"])):
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


# ----------------------------------------------------------------------------------------- concurrency


async def test_queries_awaited_together_share_batches() -> None:
    engine = CountingEngine()
    made = MedEmbedEmbeddings(engine=engine, threads=1)
    alone = made.embed_query("query 17")
    engine.rows.clear()
    found = await asyncio.gather(*(made.aembed_query(f"query {i}") for i in range(200)))
    assert sum(engine.rows) == 200
    assert len(engine.rows) <= 10
    np.testing.assert_allclose(found[17], alone, atol=1e-6)


async def test_the_event_loop_stays_free() -> None:
    engine = CountingEngine()
    made = MedEmbedEmbeddings(engine=engine, threads=1)
    await asyncio.gather(made.aembed_query(TEXT), made.aembed_documents([TEXT] * 100))
    assert threading.get_ident() not in engine.threads


@pytest.mark.parametrize("method", ["aembed_query", "aembed_documents"])
async def test_cancelling_leaves_the_model_usable(method: str) -> None:
    made = MedEmbedEmbeddings(engine=CountingEngine(), threads=1)
    neighbor = asyncio.create_task(made.aembed_query("neighbor"))
    doomed = asyncio.create_task(getattr(made, method)(TEXT if method == "aembed_query" else [TEXT] * 50))
    await asyncio.sleep(0.005)
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    expected = made.embed_query("neighbor")
    np.testing.assert_allclose(await neighbor, expected, atol=1e-6)
    assert len(await made.aembed_query(TEXT)) == 384
