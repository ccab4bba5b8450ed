"""What LlamaIndex's core checks of its embeddings; batching, async, callbacks, copies and bad input."""

import asyncio
import copy
import inspect
import pickle
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from llama_index.core import Settings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.storage.kvstore import SimpleKVStore
from pydantic import ValidationError

from llama_index.embeddings.medembed import MedEmbedEmbedding
from medembed import FakeEngine, MedEmbed, errors
from medembed.extras import install_command

TEXT = "acute myocardial infarction"
WRONG_ITEMS = [None, 7, b"bytes", ["nested"], float("nan")]


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


@pytest.fixture(scope="module")
def fake() -> MedEmbedEmbedding:
    return MedEmbedEmbedding(engine=FakeEngine(), threads=1)


def test_it_is_an_embedding_of_llama_index() -> None:
    assert BaseEmbedding.__name__ in [base.__name__ for base in MedEmbedEmbedding.__mro__]
    assert MedEmbedEmbedding.class_name() == "MedEmbedEmbedding"


def test_it_can_be_the_default_of_settings(fake: MedEmbedEmbedding) -> None:
    Settings.embed_model = fake
    assert Settings.embed_model is fake


def test_every_medembed_option_is_a_field_with_its_type_and_default() -> None:
    options = dict(inspect.signature(MedEmbed).parameters)
    fields = MedEmbedEmbedding.model_fields
    assert fields["model_name"].default == options.pop("model").default
    assert set(fields) - set(BaseEmbedding.model_fields) == set(options)
    hints = get_type_hints(MedEmbed.__init__)
    for name, option in options.items():
        assert fields[name].default == option.default, name
    for name in ("precision", "overlong", "max_seq_length", "truncate_dim", "threads", "revision", "local_files_only"):
        assert fields[name].annotation == hints[name], name


def test_settings_reach_the_model() -> None:
    made = MedEmbedEmbedding(model="mini", threads=1, precision="fp32", max_seq_length=32, truncate_dim=64)
    assert (made.client.dimension, made.client.max_seq_length, made.client.precision) == (64, 32, "fp32")
    assert len(made.get_query_embedding(TEXT)) == 64


async def test_every_method_gives_lists_of_python_floats(fake: MedEmbedEmbedding) -> None:
    rows = [
        fake.get_query_embedding(TEXT),
        await fake.aget_query_embedding(TEXT),
        fake.get_text_embedding(TEXT),
        await fake.aget_text_embedding(TEXT),
        *fake.get_text_embedding_batch([TEXT, "b"]),
        *await fake.aget_text_embedding_batch([TEXT, "b"]),
        fake.get_agg_embedding_from_queries([TEXT, "b"]),
    ]
    assert {type(row) for row in rows} == {list}
    assert {type(x) for row in rows for x in row} == {float}


async def test_prompts_are_applied_by_themselves(prompted_folder: Path) -> None:
    made, plain = MedEmbedEmbedding(model_name=str(prompted_folder), threads=1), MedEmbed(threads=1)
    query, passage = plain.encode(TEXT, prompt="query: "), plain.encode(TEXT, prompt="passage: ")
    assert not np.allclose(query, passage, atol=1e-2)
    for found, expected in [
        (made.get_query_embedding(TEXT), query),
        (await made.aget_query_embedding(TEXT), query),
        (made.get_text_embedding(TEXT), passage),
        (await made.aget_text_embedding(TEXT), passage),
        (made.get_text_embedding_batch([TEXT, TEXT])[1], passage),
        ((await made.aget_text_embedding_batch([TEXT, TEXT]))[1], passage),
    ]:
        np.testing.assert_allclose(found, expected, atol=2e-3)


# -------------------------------------------------------------------------------- batching, callbacks


@pytest.mark.parametrize(("size", "batches"), [(1024, [50]), (20, [20, 20, 10])], ids=["default", "embed_batch_size"])
@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
async def test_passages_are_computed_in_batches(size: int, batches: list[int], awaited: bool) -> None:
    engine = CountingEngine()
    made = MedEmbedEmbedding(engine=engine, threads=1, embed_batch_size=size)
    texts = [f"passage {i}" for i in range(50)]
    found = await made.aget_text_embedding_batch(texts) if awaited else made.get_text_embedding_batch(texts)
    assert sorted(engine.rows) == sorted(batches)
    np.testing.assert_allclose(found[7], made.get_text_embedding("passage 7"), atol=1e-6)


def test_callbacks_tell_each_batch() -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    made = MedEmbedEmbedding(
        engine=FakeEngine(), threads=1, embed_batch_size=2, callback_manager=CallbackManager([debug])
    )
    made.get_text_embedding_batch(["a", "b", "c"])
    ends = [pair[1] for pair in debug.get_event_pairs(CBEventType.EMBEDDING)]
    assert [len((end.payload or {})[EventPayload.EMBEDDINGS]) for end in ends] == [2, 1]


async def test_lists_of_one_share_batches_when_there_is_a_cache() -> None:
    engine = CountingEngine()
    made = MedEmbedEmbedding(engine=engine, threads=1, embeddings_cache=SimpleKVStore())
    texts = [f"passage {i}" for i in range(100)]
    first = await made.aget_text_embedding_batch(texts)
    assert sum(engine.rows) == 100
    assert len(engine.rows) <= 5
    engine.rows.clear()
    assert await made.aget_text_embedding_batch(texts) == first
    assert engine.rows == []


async def test_queries_awaited_together_share_batches() -> None:
    engine = CountingEngine()
    made = MedEmbedEmbedding(engine=engine, threads=1)
    alone = made.get_query_embedding("query 17")
    engine.rows.clear()
    found = await asyncio.gather(*(made.aget_query_embedding(f"query {i}") for i in range(200)))
    assert sum(engine.rows) == 200
    assert len(engine.rows) <= 10
    np.testing.assert_allclose(found[17], alone, atol=1e-6)


async def test_the_event_loop_stays_free() -> None:
    engine = CountingEngine()
    made = MedEmbedEmbedding(engine=engine, threads=1)
    await asyncio.gather(
        made.aget_query_embedding(TEXT), made.aget_text_embedding(TEXT), made.aget_text_embedding_batch([TEXT] * 50)
    )
    assert threading.get_ident() not in engine.threads


@pytest.mark.parametrize("method", ["aget_query_embedding", "aget_text_embedding_batch"])
async def test_cancelling_leaves_the_model_usable(method: str) -> None:
    made = MedEmbedEmbedding(engine=CountingEngine(), threads=1)
    neighbor = asyncio.create_task(made.aget_query_embedding("neighbor"))
    doomed = asyncio.create_task(getattr(made, method)(TEXT if method == "aget_query_embedding" else [TEXT] * 50))
    await asyncio.sleep(0.01)
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    expected = made.get_query_embedding("neighbor")
    np.testing.assert_allclose(await neighbor, expected, atol=1e-6)
    assert len(await made.aget_query_embedding(TEXT)) == 384


# ---------------------------------------------------------------------------------------------- copies


def test_to_dict_and_from_dict_carry_the_settings() -> None:
    made = MedEmbedEmbedding(threads=1, truncate_dim=100, overlong="chunk", embed_batch_size=7)
    settings = made.to_dict()
    assert settings["class_name"] == "MedEmbedEmbedding"
    again = MedEmbedEmbedding.from_dict(settings)
    assert again.to_dict() == settings
    assert again.get_query_embedding(TEXT) == made.get_query_embedding(TEXT)
    assert MedEmbedEmbedding.from_json(made.to_json()).to_dict() == settings


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("engine", [None, FakeEngine(384)], ids=["real", "fake"])
def test_copies_embed_alike(copier: Any, engine: FakeEngine | None) -> None:
    made = MedEmbedEmbedding(threads=1, truncate_dim=100, engine=engine)
    again = copier(made)
    assert again.to_dict() == made.to_dict()
    expected = made.get_query_embedding(TEXT)
    made.client.close()
    assert again.get_query_embedding(TEXT) == expected


def test_a_pickle_holds_settings_not_weights() -> None:
    assert len(pickle.dumps(MedEmbedEmbedding(threads=1))) < 5000


def test_a_copy_whose_model_is_gone_says_so(tmp_path: Path, prompted_folder: Path) -> None:
    folder = shutil.copytree(prompted_folder, tmp_path / "model")
    pickled = pickle.dumps(MedEmbedEmbedding(model_name=str(folder), threads=1))
    shutil.rmtree(folder)
    with pytest.raises(errors.MedEmbedError, match="model"):
        pickle.loads(pickled)


# ------------------------------------------------------------------------------------------- bad input


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ValidationError, match=r"normalize\s+Extra inputs are not permitted"):
        MedEmbedEmbedding(normalize=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [("precision", "fp8"), ("overlong", "cut"), ("threads", "many"), ("engine", object()), ("embed_batch_size", 0)],
)
def test_a_field_of_the_wrong_type_is_named(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        MedEmbedEmbedding(**{field: value})


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"model_name": "minni"}, errors.UnknownModelError, "mini"),
        ({"truncate_dim": 9999}, errors.SettingError, "truncate_dim=9999"),
        ({"threads": 0}, errors.SettingError, "threads=0"),
        ({"device": "tpu"}, errors.DeviceError, "tpu"),
        ({"revision": "sha256-000000000000"}, errors.ModelChangedError, "sha256-000000000000 was asked for"),
    ],
    ids=["model_name", "truncate_dim", "threads", "device", "revision"],
)
def test_errors_of_medembed_keep_their_class(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        MedEmbedEmbedding(**settings)


def test_a_missing_extra_surfaces_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # as if it were not installed
    with pytest.raises(errors.MissingExtraError, match=re.escape(install_command("torch"))):
        MedEmbedEmbedding(device="cuda")


@pytest.mark.parametrize("item", WRONG_ITEMS, ids=repr)
async def test_a_text_that_is_no_text_is_refused(fake: MedEmbedEmbedding, item: Any) -> None:
    with pytest.raises(errors.InputTypeError, match="text 1 is a"):
        fake._get_text_embeddings(["fine", item])
    with pytest.raises(errors.InputTypeError, match="text 1 is a"):
        await fake._aget_text_embeddings(["fine", item])
    for method in (fake._get_query_embedding, fake._get_text_embedding):
        with pytest.raises(errors.InputTypeError, match="a text must be a str"):
            method(item)
    for awaited in (fake._aget_query_embedding, fake._aget_text_embedding):
        with pytest.raises(errors.InputTypeError, match="a text must be a str"):
            await awaited(item)


async def test_no_texts_give_no_vectors(fake: MedEmbedEmbedding) -> None:
    assert fake.get_text_embedding_batch([]) == await fake.aget_text_embedding_batch([]) == []
    assert fake._get_text_embeddings([]) == await fake._aget_text_embeddings([]) == []


@pytest.mark.parametrize(
    "text",
    ["", "   \n", "\ud800 lone surrogate", "🫀\x00", "pain " * 1000],
    ids=["empty", "blank", "surrogate", "nul", "long"],
)
def test_odd_texts_give_unit_vectors(embed_model: MedEmbedEmbedding, text: str) -> None:
    found = [embed_model.get_query_embedding(text), *embed_model.get_text_embedding_batch([text, "next to it"])]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
