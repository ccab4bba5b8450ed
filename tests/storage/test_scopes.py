"""Scopes: where a store is divided by patient, every public way to a row names whose, and finds nobody else's."""

import asyncio
import importlib.util
import inspect
import json
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from medembed import EmbeddedCorpus, TokenIndex
from medembed.cli import app
from medembed.clinical.split import Splitting
from medembed.corpus.hybrid import Hybrid
from medembed.errors import CorpusDamagedError, CorpusError, CorpusScopeError, SettingError
from medembed.rows.read import Columns
from medembed.storage import scopes
from medembed.storage.tables import Hit, Store
from tests.storage.conftest import Kind

pytestmark = pytest.mark.filterwarnings("ignore::medembed.TruncationWarning")

COLUMNS = Columns(kept={"year": "int"}, scope="patient")
# the words of each patient's notes stand in nobody else's
WORDS = {"17": "amoxicillin", "18": "quinquagesima", "19": "zolpidem"}


def notes(count: int = 24) -> list[dict[str, Any]]:
    found = []
    for number in range(count):
        patient = list(WORDS)[number % 3]
        text = f"fever and {WORDS[patient]} in note {number}"
        found.append({"id": f"{patient}-{number}", "text": text, "patient": patient, "year": 2000 + number % 4})
    return found


@pytest.fixture
def divided(kind: Kind, tmp_path: Path) -> Iterator[Any]:
    with kind.build(tmp_path / "s", notes(), columns=COLUMNS) as store:
        yield store


def shown(found: Any) -> str:
    """Everything that a result says, as text."""
    if isinstance(found, tuple | list):
        return " ".join(map(shown, found))
    if isinstance(found, Hit):
        return f"{found.id} {found.text} {found.kept}"
    if inspect.isgenerator(found):
        return " ".join(map(shown, list(found)))
    return str(found.to_pylist()) if hasattr(found, "to_pylist") else repr(found)


def foreign(found: Any, patient: str = "17") -> list[str]:
    """Words and ids of other patients that a result says."""
    told = shown(found)
    return [word for other in WORDS if other != patient for word in (WORDS[other], f"{other}-") if word in told]


# Every public member that reaches rows, with a call of it. What a call gives is checked where it can be shown.
Call = Callable[..., Any]


def beside(store: Any, **scope: Any) -> Any:
    """Passages around everybody's, as far as a scope lets through; rows that are no passages have none."""
    hits = store.search("fever", 50, scope="all")
    try:
        return store.around(hits, **scope)
    except CorpusScopeError:
        raise
    except CorpusError:
        return []


def written(method: Callable[..., None], path: Path, **scope: Any) -> str:
    """What an export writes. Vectors cannot be told apart, their number can."""
    method(path, **scope)
    if path.suffix == ".parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table(path)
        return str(table.drop_columns([table.column_names[-1]]).to_pylist())
    ids = path.with_suffix(".ids.json").read_text()
    assert len(np.load(path)) == len(json.loads(ids))
    return ids


BOTH: dict[str, Call] = {
    "around": lambda store, path, **scope: beside(store, **scope),
    "search, group_by": lambda store, path, **scope: store.search("fever", 50, group_by="patient", **scope),
    "search": lambda store, path, **scope: store.search("fever quinquagesima", 50, **scope),
    "asearch": lambda store, path, **scope: store.asearch("fever quinquagesima", 50, **scope),
    "ids_in": lambda store, path, **scope: store.ids_in(*scope.values()),
    "count": lambda store, path, **scope: store.count(*scope.values()),
    "to_npy": lambda store, path, **scope: written(store.to_npy, path / "v.npy", **scope),
    "to_parquet": lambda store, path, **scope: written(store.to_parquet, path / "v.parquet", **scope),
}
REACHES: dict[type[Any], dict[str, Call]] = {
    EmbeddedCorpus: {
        **BOTH,
        "search, hybrid": lambda store, path, **scope: store.search("quinquagesima", 50, hybrid=Hybrid(), **scope),
        "search, binary": lambda store, path, **scope: store.search("zolpidem", 50, scan="binary", **scope),
        "search, filter": lambda store, path, **scope: store.search("fever", 50, filter={"patient": "18"}, **scope),
        "choose_weight": lambda store, path, **scope: store.choose_weight(["fever"], [{"17-0": 1}], **scope),
        "vectors": lambda store, path, **scope: store.vectors(**scope).shape,
        "index": lambda store, path, **scope: np.flatnonzero(store.index(**scope).allowed) % 3,
        "groups": lambda store, path, **scope: [rows for rows, _ in store.groups(*scope.values())],
        "to_faiss": lambda store, path, **scope: store.to_faiss(**scope)[1],
        "to_lancedb": lambda store, path, **scope: store.to_lancedb(str(path / "l"), **scope).to_arrow(),
        "to_qdrant": lambda store, path, **scope: _in_qdrant(store, **scope),
    },
    TokenIndex: {
        **BOTH,
        "search, filter": lambda store, path, **scope: store.search("fever", 50, filter={"patient": "18"}, **scope),
        "search_vectors": lambda store, path, **scope: store.search_vectors([store.model.encode_query("fever")], 50, **scope),
    },
}  # fmt: skip
# Libraries that a call needs and that a plain installation does not have; the table of members holds without them.
NEEDS = {"to_faiss": "faiss", "to_lancedb": "lancedb", "to_qdrant": "qdrant_client"}
# What names no scope and is refused on a divided store; the error says what to use.
REFUSED = {"ids"}
# What reaches no row: it tells of the store, changes it, or makes it. None of its results may hold a word or an id of a row.
WITHOUT: dict[str, Call | None] = {
    "KIND": lambda store: store.KIND,
    "store": lambda store: store.store,  # reads no row without a scope of its own
    "newest": lambda store: store.newest(),
    "path": lambda store: store.path,
    "manifest": lambda store: store.manifest,
    "dimension": lambda store: store.dimension,
    "model": lambda store: store.model,
    "model_settings": lambda store: store.model_settings,
    "revision_setting": lambda store: store.revision_setting,
    "bytes_a_token": lambda store: store.bytes_a_token,
    "to_float": lambda store: store.to_float(np.zeros((1, store.dimension), dtype=np.float32)),
    "verify": lambda store: store.verify(),
    "append": lambda store: store.append([{**notes()[0], "id": "new"}]),
    "upsert": lambda store: store.upsert(notes()),
    "sync": lambda store: store.sync(notes(), limit=1.0),
    "delete": lambda store: store.delete(["18-1"]),
    "delete_scope": lambda store: store.delete_scope({"patient": "19"}),
    "compact": lambda store: store.compact(),
    "use": None,  # takes a model, gives nothing
    "build": None,  # makes a store
    "open": None,  # gives the store itself
    "close": None,  # gives nothing
}


def _in_qdrant(store: Any, **scope: Any) -> Any:
    client = importlib.import_module("qdrant_client").QdrantClient(":memory:")
    store.to_qdrant(client, "c", **scope)
    return [point.payload for point in client.scroll("c", limit=99)[0]]


def members(cls: type[Any]) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize("cls", REACHES, ids=lambda cls: cls.__name__)
def test_every_public_member_is_in_one_of_the_tables(cls: type[Any]) -> None:
    reaching = {name.partition(",")[0] for name in REACHES[cls]}
    unknown = members(cls) - reaching - REFUSED - set(WITHOUT)
    assert unknown == set(), "a new member: does it reach rows? Then it takes a scope, and stands in REACHES"
    assert reaching <= members(cls)
    for name in reaching:
        assert "scope" in inspect.signature(getattr(cls, name)).parameters, name


def reaching(store: Any) -> Iterator[tuple[str, Call]]:
    """The calls that can be tried here."""
    for name, call in REACHES[type(store)].items():
        if name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None:
            yield name, call


async def _awaited(found: Awaitable[Any]) -> Any:
    return await found


def called(call: Call, *given: Any, **scope: Any) -> Any:
    found = call(*given, **scope)
    if inspect.isawaitable(found):
        return asyncio.run(_awaited(found))
    assert not isinstance(found, AsyncIterator)
    return found


def test_no_way_to_a_row_without_a_scope(divided: Any, tmp_path: Path) -> None:
    for name, call in reaching(divided):
        with pytest.raises(CorpusScopeError, match=r"--scope patient=VALUE or --scope all"):
            shown(called(call, divided, tmp_path))
        with pytest.raises(CorpusScopeError):
            shown(called(call, divided, tmp_path, scope={"year": 2001}))
        assert not list(tmp_path.glob("v.*")), name
    for name in REFUSED:
        with pytest.raises(CorpusScopeError):
            getattr(divided, name)


def test_no_way_to_a_row_of_another_patient(divided: Any, tmp_path: Path) -> None:
    for name, call in reaching(divided):
        found = called(call, divided, tmp_path, scope={"patient": "17"})
        assert foreign(found) == [], name
        nobody = called(call, divided, tmp_path, scope={"patient": "nobody"}) if "lance" not in name else []
        assert [word for word in (*WORDS.values(), "17-") if word in shown(nobody)] == [], name
        everyone = called(call, divided, tmp_path, scope="all")
        if "17-" in shown(found) and name != "search, filter":
            assert foreign(everyone), name  # the check can fail
    own = {"patient": "17"}
    assert (divided.count(own), divided.count("all"), divided.count({"patient": "nobody"})) == (8, 24, 0)
    assert len(divided.search("fever", 50, scope=own)) == 8
    assert divided.search("fever", 50, filter={"patient": "18"}, scope=own) == []
    assert [len(hits) for hits in divided.search(["fever", "zolpidem"], 50, scope=own)] == [8, 8]


def test_no_way_to_a_row_of_a_third_patient(divided: Any, tmp_path: Path) -> None:
    for name, call in reaching(divided):
        found = called(call, divided, tmp_path, scope={"patient": ["17", "19"]})
        assert not any(word in shown(found) for word in (WORDS["18"], "18-")), name
    assert {hit.kept["patient"] for hit in divided.search("fever", 50, scope={"patient": ("19", "17")})} == {"17", "19"}
    assert [divided.count({"patient": some}) for some in (["17", "19"], ["17", "17"], ["17", "nobody"])] == [16, 8, 8]
    alone = divided.search("fever", 5, scope={"patient": "17"})
    assert divided.search("fever", 5, scope={"patient": ["17"]}) == alone


def test_passages_around_a_hit_are_those_of_the_scope(kind: Kind, tmp_path: Path) -> None:
    long = [{**note, "text": " ".join(f"{note['text']}, line {line}." for line in range(40))} for note in notes(3)]
    with kind.build(tmp_path / "s", long, columns=COLUMNS, splitting=Splitting(max_tokens=30)) as store:
        hits = store.search("fever", 50, scope="all")
        assert foreign(store.around(hits, scope="all"))
        own = store.around(hits, scope={"patient": "17"})
        assert foreign(own) == []
        assert "17-" in shown(own)
        assert foreign(store.around(hits, filter={"patient": ["17"]}, scope="all")) == []
        with pytest.raises(CorpusScopeError):
            store.around(hits)


def test_what_needs_no_scope_tells_of_no_row(divided: Any) -> None:
    for name in sorted(members(type(divided)) & set(WITHOUT), key=lambda name: name in ("delete", "delete_scope")):
        if (call := WITHOUT[name]) is not None:
            assert foreign(call(divided), patient="nobody") == [], name


def test_scopes_are_kept_by_changes_copies_and_another_opening(divided: Any, kind: Kind, tmp_path: Path) -> None:
    divided.append([{"id": "18-new", "text": "quinquagesima again", "patient": "18", "year": 2001}])
    divided.delete(["17-0"])
    divided.compact()
    for store in (divided, kind.open(tmp_path / "s")):
        with pytest.raises(CorpusScopeError):
            store.search("fever")
        assert foreign(store.search("fever", 50, scope={"patient": "17"})) == []
        assert (store.count({"patient": "17"}), store.count({"patient": "18"})) == (7, 9)
    undivided = Columns(kept={"year": "int", "patient": "string"})
    for mode, says in (("upsert", "scope column patient"), ("overwrite", "say --scope-column patient again")):
        with pytest.raises(CorpusError, match=says):
            kind.build(tmp_path / "s", notes(), columns=undivided, mode=mode)


def test_a_patient_is_deleted_with_all_rows_and_bytes(divided: Any, tmp_path: Path) -> None:
    assert divided.delete_scope({"patient": "18"}) == 8
    assert divided.delete_scope({"patient": "18"}) == 0
    assert divided.search("quinquagesima", 50, scope={"patient": "18"}) == []
    assert "quinquagesima" not in shown(divided.search("quinquagesima", 50, scope="all"))
    divided.compact()
    assert [path for path in tmp_path.glob("s/**/*") if path.is_file() and b"quinquagesima" in path.read_bytes()] == []
    with pytest.raises(CorpusScopeError, match="all is no scope to delete"):
        divided.delete_scope("all")
    with pytest.raises(CorpusScopeError, match="has one value"):
        divided.delete_scope({"patient": ["17", "19"]})
    assert divided.count("all") == 16


@pytest.mark.parametrize(
    "scope",
    ["17", "ALL", "", {}, {"patient": None}, {"patient": ""}, {"patient": []}, {"patient": ["17", None]},
     {"patient": [""]}, {"patient": [["17"]]}, {"patient": {"17"}}, {"patient": [17]}, {"patient": 17},
     {"patient": "17", "year": 2001}, {"year": 2001}, {"patient": {"$ne": "x"}}, ["patient"], 17, True],
    ids=repr,
)  # fmt: skip
def test_what_is_no_scope_is_refused_without_its_value(divided: Any, scope: Any) -> None:
    with pytest.raises(CorpusScopeError, match=r"expected scope=|a scope has (one|at least one) value") as caught:
        divided.search("fever", scope=scope)
    assert "17" not in str(caught.value)
    with pytest.raises(CorpusScopeError):
        divided.ids_in(scope)


def test_a_scope_of_an_undivided_store_is_refused(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", notes(), columns=Columns(kept={"patient": "string"})) as store:
        with pytest.raises(CorpusScopeError, match="no scope column"):
            store.search("fever", scope={"patient": "17"})
        assert len(store.search("fever", 50, scope="all")) == len(store.search("fever", 50)) == 24


def test_scopes_of_other_types_are_read_by_the_columns_type(kind: Kind, tmp_path: Path) -> None:
    columns = Columns(kept={"year": "int", "patient": "string"}, scope="year")
    with kind.build(tmp_path / "s", notes(), columns=columns) as store:
        assert store.ids_in({"year": 2001}) == store.ids_in({"year": "2001"}) != []
        with pytest.raises(CorpusScopeError, match="of type int"):
            store.search("fever", scope={"year": "two"})


def test_a_row_without_a_patient_is_nobodys(kind: Kind, tmp_path: Path) -> None:
    rows = [*notes(3), {"id": "lost", "text": "fever of nobody", "patient": None, "year": 2001}]
    with kind.build(tmp_path / "s", rows, columns=COLUMNS) as store:
        for patient in WORDS:
            assert "lost" not in store.ids_in({"patient": patient})
        assert "lost" in store.ids_in("all")


def test_an_opened_store_reads_no_shard_without_a_scope(divided: Any) -> None:
    files: Store[Any] = divided._store
    for read in (lambda: files.table(0), lambda: list(files.tables()), files.ids, files.live, lambda: files.derived,
                 lambda: files.rows(np.array([0])), lambda: files.numbers(["17-0"]), lambda: files.allowed(None)):  # fmt: skip
        with pytest.raises(CorpusScopeError):
            read()
    inside = files.within({"patient": "17"})
    with pytest.raises(CorpusScopeError, match="outside of the scope"):
        inside.hits([np.array([1])], [np.ones(1, dtype=np.float32)])
    assert files.within({"patient": "17"}) is inside


def test_a_scope_column_that_is_not_kept_makes_a_manifest_unreadable(divided: Any, kind: Kind, tmp_path: Path) -> None:
    manifest = tmp_path / "s" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"scope": "patient"', '"scope": "ward"'))
    with pytest.raises(CorpusDamagedError):
        kind.open(tmp_path / "s")
    assert divided.count("all") == 24


def test_a_scope_is_plain_data() -> None:
    assert scopes.parse("all") == "all"
    assert scopes.parse("patient=1=7") == {"patient": "1=7"}
    for given in ("", "patient", "=17", "patient=", "All"):
        with pytest.raises(SettingError, match="--scope: expected NAME=VALUE"):
            scopes.parse(given)
    assert pickle.loads(pickle.dumps(COLUMNS)) == COLUMNS


# ------------------------------------------------------------------------------------------- commands


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(item) for item in arguments])


def test_commands_name_a_scope(kind: Kind, tmp_path: Path, tiny_folder: Path, token_model: Any) -> None:
    use = ["--model", tiny_folder] if kind.name == "embedded corpus" else ["--late-interaction", token_model.name]
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps(note) + "\n" for note in notes()))
    made = run("index", path, "-o", tmp_path / "s", "--scope-column", "patient", *use, "--threads", "1")
    assert made.exit_code == 0, made.output
    again = run("index", path, "-o", tmp_path / "s", "--upsert", *use, "--threads", "1")
    assert (again.exit_code, "24 kept" in again.output) == (0, True)
    dropped = run("index", path, "-o", tmp_path / "s", *use, "--overwrite", "--keep", "patient", "--threads", "1")
    assert isinstance(dropped.exception, CorpusScopeError)
    for command in (
        ["search", tmp_path / "s", "fever"],
        ["corpus", "export", tmp_path / "s", "-o", tmp_path / "v.npy"],
    ):
        assert isinstance(run(*command).exception, CorpusScopeError)
        assert run(*command, "--scope", "all").exit_code == 0
    found = run(
        "search", tmp_path / "s", "quinquagesima", "-k", "50", "--json", "--scope", "patient=17", "--threads", "1"
    )
    assert {hit["kept"]["patient"] for hit in json.loads(found.output)["hits"]} == {"17"}
    nobody = run("search", tmp_path / "s", "fever", "--json", "--scope", "patient=nobody", "--threads", "1")
    assert (nobody.exit_code, "no rows in this scope" in nobody.output, "17-" in nobody.output) == (0, True, False)
    assert "scope:        patient" in run("corpus", "info", tmp_path / "s").output
    assert "8 rows deleted" in run("corpus", "delete", tmp_path / "s", "--scope", "patient=17").output
    assert isinstance(run("corpus", "delete", tmp_path / "s", "--scope", "all").exception, CorpusScopeError)
    assert isinstance(run("corpus", "delete", tmp_path / "s", "18-1", "--scope", "patient=18").exception, SettingError)
