"""What both kinds of store keep to: adding, replacing, deleting, compacting, checking, and readers beside writers."""

import datetime as dt
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import EmbeddedCorpus
from medembed.corpus.hybrid import Hybrid
from medembed.errors import (
    CorpusDamagedError,
    CorpusError,
    CorpusModelError,
    InputFileError,
    InputTypeError,
    MedEmbedError,
)
from medembed.storage import manifest
from medembed.storage.manifest import writing
from medembed.storage.places import is_store, store_around
from tests.storage.conftest import SIGNS, Kind, everything, holding, row, rows

pytestmark = pytest.mark.filterwarnings("ignore::medembed.TruncationWarning")


def derive(store: Any) -> None:
    """Have everything made that a kind derives."""
    store.search("fever", 3)
    if isinstance(store, EmbeddedCorpus):
        store.search("fever", 3, scan="binary", hybrid=Hybrid())


# ------------------------------------------------------------------------------------------- reading


def test_hits_carry_what_the_row_had(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        [hit] = store.search("fever", 1, filter={"id": "n7"})
        assert (hit.id, hit.text, hit.source, hit.line) == ("n7", row(7)["text"], "rows from Python", 7)
        assert hit.kept == {"year": 2007, "ward": None, "seen": dt.date(2026, 1, 8), "icu": True}
        assert (len(store), store.ids) == (20, [f"n{i}" for i in range(20)])
        assert store.manifest.kind == kind.name


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"year": 2004}, {4, 14}),
        ({"year": [2004, 2005], "icu": True}, {5, 15}),
        ({"ward": None}, {i for i in range(20) if i % 3}),
        ({"ward": ["er", None]}, set(range(20))),
        ({"icu": False}, {i for i in range(20) if not i % 2}),
        ({"seen": dt.date(2026, 1, 3)}, {2}),
        ({"seen": "2026-01-03"}, {2}),
        ({"id": ["n3", "nobody"]}, {3}),
        ({"year": []}, set()),
    ],
    ids=["one", "several", "no value", "a value or none", "bool", "date", "date as text", "ids", "nothing"],
)
def test_a_filter_lets_through_what_it_says(
    kind: Kind, tmp_path: Path, chosen: dict[str, Any], expected: set[int]
) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        assert {hit.id for hit in store.search("fever", 20, filter=chosen)} == {f"n{i}" for i in expected}


@pytest.mark.parametrize(
    "chosen",
    [{"clinic": "x"}, {"year": "two thousand"}, {"icu": "yes"}, {"seen": "soon"}, {"ward": 3}, {"year": 2004.5}],
    ids=str,
)
def test_a_filter_that_does_not_fit_names_the_columns(kind: Kind, tmp_path: Path, chosen: dict[str, Any]) -> None:
    with (
        kind.build(tmp_path / "s", rows(4)) as store,
        pytest.raises(CorpusError, match=r"does not fit .*its columns are id, source, line, year, ward, seen, icu"),
    ):
        store.search("fever", filter=chosen)


# ------------------------------------------------------------------------------------------- adding and replacing


def test_append_refuses_a_known_id_by_name_and_adds_nothing(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        before = everything(store)
        with pytest.raises(CorpusError, match=r"row 1 cannot be used: its id is in the store already"):
            store.append([row(50), row(3, "another text")])
        assert everything(kind.open(tmp_path / "s")) == before
        assert store.append([row(50, "quinquagesima zygodactyl")]).n_rows == 21
        assert kind.words(store, "quinquagesima zygodactyl", 1) == ["n50"]


def test_upsert_keeps_replaces_and_adds(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        given = [*rows(18), row(18, "quinquagesima zygodactyl"), row(19, year=1999), row(20)]
        summary = store.upsert(given)
        assert (summary.kept, summary.replaced, summary.new, summary.n_rows) == (18, 2, 1, 21)
        assert summary.embedded == 3
        assert kind.words(store, "quinquagesima zygodactyl", 1) == ["n18"]
        assert {hit.id for hit in store.search("fever", 30, filter={"year": 1999})} == {"n19"}
        assert {hit.text for hit in store.search(row(18)["text"], 30)}.isdisjoint({row(18)["text"]})
        again = store.upsert(given)
        assert (again.kept, again.replaced, again.new, again.embedded) == (21, 0, 0, 0)
        assert store.verify() == []


def test_an_upsert_makes_what_a_fresh_build_of_the_same_rows_makes(text_model: Any, kind: Kind, tmp_path: Path) -> None:
    if kind.cls is not EmbeddedCorpus:
        pytest.skip("an index keeps the centroids of its first rows")
    final = [*rows(10), row(10, "changed"), *rows(5, start=30)]
    with kind.build(tmp_path / "s", rows(20)) as store, kind.build(tmp_path / "fresh", final) as fresh:
        store.upsert(final)
        store.delete([f"n{i}" for i in range(11, 20)])
        without_line = [tuple(value for place, value in enumerate(item) if place != 3) for item in everything(store)]
        assert without_line == [tuple(v for place, v in enumerate(item) if place != 3) for item in everything(fresh)]


def test_a_deleted_row_may_come_again(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        store.delete(["n3"])
        assert store.upsert([row(3, "quinquagesima")]).new == 1
        assert kind.words(store, "quinquagesima", 1) == ["n3"]
        assert len(store) == 20


def test_rows_are_added_with_the_settings_of_the_store(kind: Kind, tmp_path: Path) -> None:
    kind.build(tmp_path / "s", rows(20), store_text=False).close()
    with kind.open(tmp_path / "s") as store:
        assert store.upsert([*rows(20), row(30)]).kept == 20
        assert store.search(row(30)["text"], 1)[0].text is None
    assert holding(tmp_path / "s", *SIGNS) == []


# ------------------------------------------------------------------------------------------- deleting


@pytest.mark.parametrize("ids", ["n3", "n", ""], ids=["an id", "a letter", "empty"])
def test_one_string_is_no_list_of_ids(kind: Kind, tmp_path: Path, ids: str) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        with pytest.raises(InputTypeError, match="wrap it in a list"):
            store.delete(ids)
        assert len(store) == 20


def test_nothing_is_deleted_where_an_id_is_unknown(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        with pytest.raises(
            CorpusError, match=r"1 of 2 ids are not in .*; the first of these is number 1 of those given"
        ):
            store.delete(["n3", "nobody"])
        assert (len(store), store.delete([])) == (20, 0)


def test_ids_are_looked_up_in_the_store_as_it_is_now(kind: Kind, tmp_path: Path) -> None:
    """A reader that opened earlier must not delete by the row numbers of then."""
    old = kind.build(tmp_path / "s", rows(20))
    kind.build(tmp_path / "s", list(reversed(rows(25))), mode="overwrite").close()
    assert old.delete(["n3"]) == 1
    assert set(kind.open(tmp_path / "s").ids) == {f"n{i}" for i in range(25)} - {"n3"}
    assert set(old.ids) == {f"n{i}" for i in range(25)} - {"n3"}


def test_compacting_leaves_no_byte_of_deleted_text(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    secret = [row(3, "Quinquagesima zygodactyl", ward="oubliette"), *rows(20, start=40)]
    with kind.build(path, secret) as store:
        derive(store)
        store.upsert([row(45, "sesquipedalian")])
        derive(store)
        store.upsert([row(45, "plain again")])
        store.delete(["n3"])
        derive(store)
        words = ("quinquagesima", "zygodactyl", "oubliette", "sesquipedalian")
        assert holding(path, *words)
        store.compact()
        assert holding(path, *words) == []
        derive(store)
        assert holding(path, *words) == []
        assert store.verify() == []
        assert len(store) == 20
        assert [shard.n_rows for shard in store.manifest.shards] == [8, 8, 4]


def test_a_reader_of_before_does_not_bring_deleted_text_back(kind: Kind, tmp_path: Path) -> None:
    kind.build(tmp_path / "s", [row(3, "Quinquagesima zygodactyl"), *rows(20, start=40)]).close()
    reader = kind.open(tmp_path / "s")
    list(reader.store.tables())
    with kind.open(tmp_path / "s") as writer:
        writer.delete(["n3"])
        writer.compact()
    derive(reader)
    assert holding(tmp_path / "s", "quinquagesima", "zygodactyl") == []


def test_overwriting_leaves_no_byte_of_the_old_texts(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", [row(3, "quinquagesima zygodactyl"), *rows(20)[4:]]) as store:
        derive(store)
    kind.build(tmp_path / "s", rows(10), mode="overwrite").close()
    assert holding(tmp_path / "s", "quinquagesima", "zygodactyl") == []


def test_what_is_derived_does_not_grow_with_every_change(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        derive(store)
        names = len(list((tmp_path / "s" / "derived").iterdir()))
        for number in range(30, 36):
            store.append([row(number)])
            derive(store)
        assert len(list((tmp_path / "s" / "derived").iterdir())) == names


def test_full_shards_without_deletions_are_not_written_again(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(24)) as store:
        store.append([row(30)])
        store.append([row(31)])
        before = [shard.file for shard in store.manifest.shards]
        store.delete(["n20"])
        store.compact()
        after = [shard.file for shard in store.manifest.shards]
        assert after[:2] == before[:2]
        assert [shard.n_rows for shard in store.manifest.shards] == [8, 8, 8, 1]


# ------------------------------------------------------------------------------------------- readers beside writers


def test_a_reader_that_finds_files_gone_opens_once_more(kind: Kind, tmp_path: Path) -> None:
    kind.build(tmp_path / "s", rows(20)).close()
    reader = kind.open(tmp_path / "s")
    with kind.open(tmp_path / "s") as writer:
        writer.delete(["n0"])
        writer.compact()
    assert len(reader.search("fever", 30)) == 19
    assert reader.ids == [f"n{i}" for i in range(1, 20)]
    for read in (lambda opened: opened.ids, lambda opened: [hit.id for hit in opened.search("fever", 30)]):
        reader = kind.open(tmp_path / "s")
        with kind.open(tmp_path / "s") as writer:
            gone = writer.ids[0]
            writer.delete([gone])
            writer.compact(len(writer))
        assert gone not in read(reader)


def test_a_file_that_is_really_missing_is_an_error(kind: Kind, tmp_path: Path) -> None:
    kind.build(tmp_path / "s", rows(20)).close()
    reader = kind.open(tmp_path / "s")
    next((tmp_path / "s" / "shards").iterdir()).unlink()
    with pytest.raises(CorpusDamagedError, match="is missing, or its bytes are not those"):
        reader.search("fever")


def test_one_writer_at_a_time(kind: Kind, tmp_path: Path) -> None:
    store = kind.build(tmp_path / "s", rows(20))
    changes: list[Callable[[], Any]] = [
        lambda: store.append([row(30)]), lambda: store.upsert([row(30)]), lambda: store.delete(["n3"]), store.compact,
    ]  # fmt: skip
    with writing(tmp_path / "s", kind.cls.KIND):
        for change in changes:
            with pytest.raises(CorpusError, match="is in use by process"):
                change()
    assert len(store.search("fever", 30)) == 20


class KilledError(Exception):
    """Stands for a process that ends."""


@pytest.mark.parametrize("change", ["upsert", "delete", "compact"])
def test_a_change_that_dies_before_the_manifest_leaves_the_old_state(
    kind: Kind, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        store.delete(["n5"])
        before = everything(store)

        def die(*_: object) -> None:
            raise KilledError

        monkeypatch.setattr(manifest, "write_manifest", die)
        arguments: dict[str, tuple[Any, ...]] = {"upsert": ([row(3, "new")],), "delete": (["n3"],), "compact": ()}
        with pytest.raises(KilledError):
            getattr(store, change)(*arguments[change])
        monkeypatch.undo()
        again = kind.open(tmp_path / "s")
        assert everything(again) == before
        assert again.verify() != []  # what was left belongs to no row
        again.compact()
        assert again.verify() == []


# ------------------------------------------------------------------------------------------- damage


def test_no_flipped_bit_gives_other_hits(kind: Kind, tmp_path: Path) -> None:
    """Every file, many places: an error of ours or the same answers, never other ones."""
    with kind.build(tmp_path / "s", rows(40)) as store:
        store.delete(["n5", "n11"])
        derive(store)
        expected = store.search("fever", 10), everything(store)
    files = [
        path for path in (tmp_path / "s").glob("**/*") if path.is_file() and path.name not in (".lock", "holder.txt")
    ]
    chance = random.Random(3)
    refused = 0
    for number in range(80):
        path = files[number % len(files)]
        good = path.read_bytes()
        if not good:
            continue
        bad = bytearray(good)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        try:
            with kind.open(tmp_path / "s") as opened:
                hits, all_rows = opened.search("fever", 10), everything(opened)
            if path.name != "manifest.json":  # a letter of a file's name or of the version is no answer
                assert (hits, all_rows) == expected, path
        except MedEmbedError:
            refused += 1
        if path.exists() and path.parent.parent.name != "derived":
            path.write_bytes(good)
        else:
            path.parent.mkdir(exist_ok=True)
    assert refused >= 20


def test_a_lost_list_of_deletions_does_not_bring_rows_back(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        store.delete(["n3"])
    next((tmp_path / "s").glob("deleted.*")).unlink()
    with pytest.raises(CorpusDamagedError, match="it says which rows were deleted"):
        kind.open(tmp_path / "s").search("fever")


def test_what_killed_runs_have_left_is_named_and_swept(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        left = [
            "shards/000099.abc.def.arrow",
            "codec.ab.cd.safetensors",
            "deleted.0.arrow",
            "shards/000001.ab.cd.parquet",
        ]
        for name in left:
            (tmp_path / "s" / name).write_bytes(b"left")
        own = ["readme.txt", "shards/thesis.docx", "derived/thesis.docx"]
        for name in own:
            (tmp_path / "s" / name).write_text("of the user")
        assert sorted(store.verify()) == sorted(left)
        store.append([row(30)])
        assert store.verify() == []
        assert all((tmp_path / "s" / name).exists() for name in own)


# ------------------------------------------------------------------------------------------- links and names


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "search": derive,
    "append": lambda store: store.append([row(30)]),
    "upsert": lambda store: store.upsert([row(3, "x")]),
    "delete": lambda store: store.delete(["n3"]),
    "compact": lambda store: store.compact(),
    "verify": lambda store: store.verify(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "name", ["shards", "derived", "manifest.json", "holder.txt", ".lock", "rejects.jsonl", "shard"]
)
def test_links_never_lead_outside(kind: Kind, tmp_path: Path, name: str, operation: str) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        store.delete(["n5"])
        derive(store)
    outside = tmp_path / "outside"
    target = tmp_path / "s" / name if name != "shard" else min((tmp_path / "s" / "shards").iterdir())
    if target.exists():
        target.rename(outside)
    else:
        outside.write_text("thesis")
    if outside.is_dir():
        (outside / "000099.abc.def.arrow").write_text("precious")
        (outside / "thesis.aside").write_text("precious")
    before = {
        path: path.read_bytes() for path in (outside.glob("**/*") if outside.is_dir() else [outside]) if path.is_file()
    }
    target.symlink_to(outside)
    said = ""
    try:
        OPERATIONS[operation](kind.open(tmp_path / "s"))
    except MedEmbedError as error:
        said = str(error)
    assert not said or "is a link, and" in said
    assert {path: path.read_bytes() for path in before} == before
    assert target.is_symlink()


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/hostname", "shards/../../outside", "shards\\..\\outside", "", "C:x"]
)
def test_names_in_a_manifest_never_lead_outside(kind: Kind, tmp_path: Path, name: str) -> None:
    kind.build(tmp_path / "s", rows(20)).close()
    (tmp_path / "outside").write_text("precious")
    file = tmp_path / "s" / "manifest.json"
    content = json.loads(file.read_text())
    content["shards"][0]["file"] = name
    file.write_text(json.dumps(content))
    for operation in OPERATIONS.values():
        with pytest.raises(CorpusDamagedError, match="cannot be read as the manifest"):
            operation(kind.open(tmp_path / "s"))
    assert (tmp_path / "outside").read_text() == "precious"


# ------------------------------------------------------------------------------------------- stores are no input


def test_a_store_is_never_taken_for_input(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows(20)))
    (tmp_path / "more").mkdir()
    kind.build(tmp_path / "more" / "old", rows(3)).close()
    assert kind.index(["."], Path("s")).n_rows == 20
    again = kind.index(["."], Path("s"), "overwrite")
    assert (again.n_rows, dict(again.rejected)) == (20, {})
    for named in ("s", "s/manifest.json", "more/old/shards", "more"):
        with pytest.raises(InputFileError, match=r"store|medembed|no file"):
            kind.index([named], Path("t"))
    assert not (tmp_path / "t").exists()


def test_an_unfinished_store_is_known_as_one(kind: Kind, tmp_path: Path) -> None:
    def dying() -> Any:
        yield from rows(12)
        raise KilledError

    with pytest.raises(KilledError):
        kind.build(tmp_path / "s", dying())
    assert is_store(tmp_path / "s")
    assert store_around(tmp_path / "s" / "shards" / "x.arrow") == tmp_path / "s"
    assert not is_store(tmp_path)


# ------------------------------------------------------------------------------------------- models


def test_device_and_threads_reach_the_model(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind.build(tmp_path / "s", rows(4)).close()
    loaded: dict[str, Any] = {}

    class Lent:
        """The model, which other tests use too."""

        def close(self) -> None:
            loaded["closed"] = True

        def __getattr__(self, name: str) -> Any:
            return getattr(kind.model, name)

    def load(store: Any, device: str, threads: int | None) -> Any:
        loaded.update(device=device, threads=threads)
        return Lent()

    monkeypatch.setattr(kind.cls, "_load", load)
    with kind.cls.open(tmp_path / "s", device="cuda:1", threads=3) as store:
        assert loaded == {}
        store.search("fever", 1)
    assert loaded == {"device": "cuda:1", "threads": 3, "closed": True}


def test_a_missing_model_folder_is_named_and_the_hub_is_not_asked(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.build(tmp_path / "s", rows(4)).close()
    file = tmp_path / "s" / "manifest.json"
    content = json.loads(file.read_text())
    content["encoding"]["model"] = str(tmp_path / "models" / "mine")
    file.write_text(json.dumps(content))
    monkeypatch.setattr(kind.cls, "_load", lambda *_: pytest.fail("a model was looked for"))
    with (
        kind.cls.open(tmp_path / "s") as store,
        pytest.raises(CorpusModelError, match=r"models/mine, which is not there.*--model"),
    ):
        store.search("fever")


def test_vectors_of_another_length_are_named(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(4)) as store:
        search = store.search_vectors if hasattr(store, "search_vectors") else store.search
        queries = np.ones((1, 7), np.float32) if kind.cls is EmbeddedCorpus else [np.ones((2, 7), np.float32)]
        with pytest.raises(CorpusModelError, match="but the query has 7"):
            search(queries)
