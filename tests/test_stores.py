"""Stamps in vector stores of others: the real FAISS, LanceDB and Qdrant here, Chroma and PostgreSQL with `make test-adapters`."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medembed import MODELS, FakeEngine, MedEmbed, stores
from medembed.errors import SettingError, StoreModelError, VectorError
from medembed.runtime import identity
from medembed.stores import Guard
from medembed.vectors import VectorKind
from tests import tiny_bert

Opened = contextlib.AbstractContextManager[Guard]
ROWS = np.eye(4, dtype=np.float32)
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@contextlib.contextmanager
def _faiss(place: Path) -> Iterator[Guard]:
    faiss = pytest.importorskip("faiss")
    if not (place / "notes.faiss").exists():
        index = faiss.IndexFlatIP(4)
        index.add(ROWS)
        faiss.write_index(index, str(place / "notes.faiss"))
    yield stores.faiss(place / "notes.faiss")


@contextlib.contextmanager
def _lancedb(place: Path) -> Iterator[Guard]:
    database = pytest.importorskip("lancedb").connect(str(place))
    if not (place / "notes.lance").exists():
        database.create_table("notes", [{"id": "a", "vector": ROWS[0].tolist()}])
    table = database.open_table("notes")
    table.add([{"id": "b", "vector": ROWS[1].tolist()}])  # a stamp outlives what is added
    yield stores.lancedb(table)


@contextlib.contextmanager
def _qdrant(place: Path) -> Iterator[Guard]:
    library = pytest.importorskip("qdrant_client")
    client = library.QdrantClient(path=str(place))
    if not client.collection_exists("notes"):
        size = library.models.VectorParams(size=4, distance=library.models.Distance.COSINE)
        client.create_collection("notes", vectors_config=size, metadata={"ward": "icu"})
    assert client.get_collection("notes").config.metadata["ward"] == "icu"
    yield stores.qdrant(client, "notes")
    client.close()


@contextlib.contextmanager
def _chroma(place: Path) -> Iterator[Guard]:
    library = pytest.importorskip("chromadb", reason="Chroma is tested with make test-adapters")
    settings = library.config.Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(place))
    client = library.PersistentClient(str(place), settings)
    if not client.list_collections():
        client.create_collection("notes", metadata={"hnsw:space": "cosine", "ward": "icu"}, embedding_function=None)
    collection = client.get_collection("notes", embedding_function=None)
    assert collection.metadata["ward"] == "icu"
    assert collection.configuration_json["hnsw"]["space"] == "cosine"
    yield stores.chroma(collection)


@contextlib.contextmanager
def _pgvector(place: Path) -> Iterator[Guard]:
    server = pytest.importorskip("pgserver", reason="PostgreSQL is tested with make test-adapters").get_server(place)
    with pytest.importorskip("psycopg").connect(server.get_uri()) as connection:
        connection.execute("create extension if not exists vector")
        connection.execute('create schema if not exists "Ward 5"')
        connection.execute('create table if not exists "Ward 5"."it\'s %s" (id text, embedding vector(4))')
        yield stores.pgvector(connection, "Ward 5.it's %s")
        comment = connection.execute("select col_description('\"Ward 5\".\"it''s %s\"'::regclass, 2)").fetchone()
        assert comment is None or comment[0] is None or comment[0].count("medembed: ") == 1


STORES: dict[str, Callable[[Path], Opened]] = {
    "faiss": _faiss, "lancedb": _lancedb, "qdrant": _qdrant, "chroma": _chroma, "pgvector": _pgvector,
}  # fmt: skip


@pytest.fixture(params=STORES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Opened]:
    return lambda: STORES[request.param](tmp_path)


def test_a_stamp_is_kept_and_another_model_of_the_same_dimension_is_refused(
    opened: Callable[[], Opened], mini: MedEmbed
) -> None:
    with MedEmbed(threads=1, max_seq_length=64) as other:
        with opened() as guard, pytest.raises(StoreModelError, match=r"no stamp.*stamp\(model\)"):
            guard.check(mini)
        with opened() as guard:
            guard.stamp(mini)
        with opened() as guard:
            assert guard.check(mini).fingerprint == mini.fingerprint
            both = f"{mini.fingerprint}.*{other.fingerprint}"
            with pytest.raises(StoreModelError, match=rf"(?s){both}.*embed its texts again"):
                guard.check(other)
            with pytest.raises(StoreModelError, match=rf"(?s){both}.*replace=True"):
                guard.stamp(other)
            guard.stamp(other, replace=True)
        with opened() as guard:
            assert guard.check(other).model == "mini"


def in_memory(text: str | None = None) -> Guard:
    held = [text]
    return Guard("the store", lambda: held[0], lambda new: held.__setitem__(0, new))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="list"),
        pytest.param("{}", id="without-keys"),
        pytest.param('{"fingerprint": 1, "model": "m", "dimension": 4, "vectors": "float32"}', id="number"),
        pytest.param('{"fingerprint": "secret', id="cut"),
        pytest.param(json.dumps({"fingerprint": "secret" * 1000}), id="large"),
    ],
)
def test_a_stamp_that_cannot_be_read_is_refused_without_its_words(text: str, tiny: MedEmbed) -> None:
    with pytest.raises(StoreModelError, match=r"the stamp of the store.*replace=True") as refused:
        in_memory(text).check(tiny)
    assert "secret" not in str(refused.value)
    guard = in_memory(text)
    guard.stamp(tiny, replace=True)
    guard.check(tiny)


def test_other_metadata_of_a_chroma_collection_stays_and_settings_of_its_index_are_not_sent() -> None:
    """The rule itself, for environments without Chroma."""

    class Collection:
        name = "notes"

        def __init__(self) -> None:
            self.metadata = {"hnsw:space": "cosine", "ward": "icu"}

        def modify(self, metadata: dict[str, Any]) -> None:
            assert "hnsw:space" not in metadata  # Chroma refuses it
            self.metadata = metadata

    collection = Collection()
    stores.chroma(collection).write("x")
    assert collection.metadata == {"ward": "icu", "medembed": "x"}


KINDS: tuple[VectorKind, ...] = ("float32", "float16", "int8", "uint8", "binary", "ubinary")


def test_kinds_that_do_not_compare_have_fingerprints_of_their_own(mini: MedEmbed) -> None:
    marks = {kind: stores.stamp_of(mini, kind).fingerprint for kind in KINDS}
    assert marks["float16"] == marks["float32"] == mini.fingerprint
    assert len(set(marks.values())) == len(KINDS) - 1
    guard = in_memory()
    guard.stamp(mini, "int8")
    assert guard.check(mini, "int8").vectors == "int8"
    with pytest.raises(StoreModelError, match=r"int8, fingerprint .* float32, fingerprint"):
        guard.check(mini)


def test_kinds_that_cannot_be_are_refused(mini: MedEmbed, tiny: MedEmbed) -> None:
    with pytest.raises(SettingError, match="choose one of float32"):
        stores.stamp_of(mini, "int4")  # type: ignore[arg-type]
    with pytest.raises(VectorError, match="calibrate"):
        stores.stamp_of(tiny, "int8")


def test_a_stamp_does_not_tell_where_a_folder_lies(tiny: MedEmbed, tiny_folder: Path) -> None:
    assert stores.stamp_of(tiny).model == tiny_folder.name


# what changes a vector → how a model with the change is made; what does not is below
CHANGES: dict[str, dict[str, Any]] = {
    "length": {"max_seq_length": 32},
    "overlong": {"overlong": "chunk"},
    "dimension": {"truncate_dim": 32},
    "engine": {"engine": FakeEngine(64)},
}


@pytest.mark.parametrize("settings", CHANGES.values(), ids=CHANGES)
def test_what_decides_a_vector_changes_the_fingerprint(
    settings: dict[str, Any], tiny: MedEmbed, tiny_folder: Path
) -> None:
    with MedEmbed(tiny_folder, threads=1, **settings) as other:
        assert other.fingerprint != tiny.fingerprint


FOLDERS: dict[str, dict[str, Any]] = {
    "weights": {"config": {"num_hidden_layers": 1}},
    "pooling": {"pooling": "cls_token"},
    "prompts": {"prompts": {"query": "ask: ", "document": "passage: "}},
    "normalization": {"normalize": False},
}


@pytest.mark.parametrize("made", FOLDERS.values(), ids=FOLDERS)
def test_what_a_folder_says_of_vectors_changes_the_fingerprint(
    made: dict[str, Any], tiny: MedEmbed, tmp_path: Path
) -> None:
    settings = {"prompts": {"query": "query: ", "document": "passage: "}, **made}
    with MedEmbed(tiny_bert.make(tmp_path / "model", **settings), threads=1) as other:
        assert other.fingerprint != tiny.fingerprint


def test_the_place_of_the_same_files_and_the_threads_do_not(tiny: MedEmbed, tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "elsewhere", prompts={"query": "query: ", "document": "passage: "})
    with MedEmbed(folder, threads=1, precision="fp32", truncate_dim=64) as other:
        assert other.fingerprint == tiny.fingerprint


def test_shorter_vectors_in_other_directions_have_another_fingerprint(mini: MedEmbed) -> None:
    with MedEmbed(threads=1, truncate_dim=128) as short:
        before = short.fingerprint
        assert short._directions is not None
        short._directions = short._directions[:, ::-1].copy()
        assert len({before, short.fingerprint, mini.fingerprint}) == 3


def test_the_same_facts_always_give_the_same_fingerprint() -> None:
    """A change here refuses the stamps that users have in their stores: then it has to be meant, and VERSION raised."""
    model = SimpleNamespace(
        spec=MODELS["small"], files_hash="sha256-0123456789ab", engine_name="torch", dimension=384, max_seq_length=512,
        overlong="truncate",
    )  # fmt: skip
    mark = identity.fingerprint(model, None)
    assert (mark, identity.VERSION) == ("f72c4cbd62983700", 1)
    assert identity.of_kind(mark, "ubinary", None) == "d6ad09361bea9446"
