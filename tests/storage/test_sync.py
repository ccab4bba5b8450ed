"""A nightly export: what is new, changed or gone, the share that may be deleted, and exports that are broken."""

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from medembed import EmbeddedCorpus, FakeEngine, MedEmbed, Settings
from medembed.cli import app
from medembed.clinical.split import Splitting
from medembed.corpus.hybrid import Hybrid
from medembed.errors import (
    CorpusBusyError,
    CorpusDamagedError,
    CorpusError,
    InputFileError,
    SettingError,
    SyncLimitError,
)
from medembed.storage.known import KnownRows
from medembed.storage.manifest import writing
from tests.storage.conftest import Kind, everything, row, rows

pytestmark = pytest.mark.filterwarnings("ignore::medembed.TruncationWarning")


def written(path: Path, given: Sequence[dict[str, Any]], tail: str = "") -> str:
    path.write_text("".join(json.dumps(item) + "\n" for item in given) + tail)
    return str(path)


def test_a_sync_makes_the_store_that_a_fresh_build_makes(kind: Kind, tmp_path: Path) -> None:
    if kind.name == "token index":
        pytest.skip("an index keeps the centroids of its first rows")
    tonight = [*rows(2, start=1), row(3, "another text"), *rows(14, start=4), row(40), row(41)]
    with kind.build(tmp_path / "s", rows(20)) as store, kind.build(tmp_path / "fresh", tonight) as fresh:
        summary = store.sync(tonight)
        assert (summary.kept, summary.replaced, summary.new, summary.deleted, summary.embedded) == (16, 1, 2, 3, 3)
        assert [item[:2] for item in everything(store)] == [item[:2] for item in everything(fresh)]
        assert [item[-1] for item in everything(store)] == [item[-1] for item in everything(fresh)]
        again = store.sync(tonight)
        assert (again.kept, again.replaced, again.new, again.deleted, again.embedded) == (19, 0, 0, 0, 0)


def test_looking_up_an_id_copies_nothing(tmp_path: Path) -> None:
    """A copy of all ids at every row makes a sync of a hundred thousand rows take minutes."""
    with MedEmbed(engine=FakeEngine(dimension=2)) as model:
        given = [{"id": f"n{number}", "text": "fever"} for number in range(4000)]
        corpus = EmbeddedCorpus.build(tmp_path / "c", given, model, Settings(repeated_text="once"))
        known = KnownRows(corpus.store)
        tracemalloc.start()
        try:
            assert [known.number(name) for name in ("n17", "n3999", "none")] == [17, 3999, None]
            assert tracemalloc.get_traced_memory()[1] < 4000
        finally:
            tracemalloc.stop()


def test_changed_values_alone_replace_the_row(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(10)) as store:
        summary = store.sync([row(0, year=1999), *rows(9, start=1)])
        assert (summary.kept, summary.replaced, summary.new, summary.deleted) == (9, 1, 0, 0)
        assert store.search("fever", 1, filter={"id": "n0"})[0].kept["year"] == 1999


@pytest.mark.parametrize(
    ("there", "limit", "says"),
    [
        (rows(9), None, None),
        (rows(8), 0.2, None),
        (rows(7), None, r"3 of the 10 rows .*30.0%.*20% at most: nothing was changed.*--sync-limit 0.3"),
        (rows(7), 0.3, None),
        (rows(9), 0, r"1 of the 10 rows .*--sync-limit 0.1"),
        (rows(10, start=50), 0.99, r"10 of the 10 rows .*--sync-limit 1"),
        (rows(10, start=50), 1, None),
        ([], None, r"nothing in these inputs can be used, and .* holds 10 rows"),
        ([], 1.0, r"nothing in these inputs can be used, and .* holds 10 rows"),
    ],
    ids=["a tenth", "the limit", "above", "allowed", "none", "all", "all allowed", "empty", "empty never"],
)
def test_only_a_share_of_the_rows_may_go(
    kind: Kind, tmp_path: Path, there: list[dict[str, Any]], limit: float | None, says: str | None
) -> None:
    with kind.build(tmp_path / "s", rows(10)) as store:
        before = everything(store)
        given = {} if limit is None else {"limit": limit}
        if says is None:
            store.sync(there, **given)
            assert sorted(store.ids) == sorted(item["id"] for item in there)
        else:
            with pytest.raises(SyncLimitError, match=says):
                store.sync(there, **given)
            with kind.open(tmp_path / "s") as opened:
                assert everything(opened) == before


@pytest.mark.parametrize("limit", [-0.1, 1.5, True, "0.2"], ids=repr)
def test_a_limit_is_a_share(kind: Kind, tmp_path: Path, limit: Any) -> None:
    with kind.build(tmp_path / "s", rows(3)) as store, pytest.raises(SettingError, match="a share of the rows"):
        store.sync(rows(3), limit=limit)


def test_a_row_that_cannot_be_read_is_not_a_row_that_is_gone(kind: Kind, tmp_path: Path) -> None:
    old = [{"id": f"n{i}", "text": f"fever in note {i}"} for i in range(10)]
    kind.index([written(tmp_path / "a.jsonl", old)], tmp_path / "s")
    broken: list[dict[str, Any]] = [
        *old[:7],
        {"id": "n7", "text": ""},
        {"id": "n8", "text": 8},
        {"id": "n6", "text": "again"},
    ]
    summary = kind.index([written(tmp_path / "b.jsonl", broken)], tmp_path / "s", "sync", )  # fmt: skip
    assert (summary.kept, summary.deleted, sum(summary.rejected.values())) == (7, 1, 3)
    with kind.open(tmp_path / "s") as store:
        assert store.ids == [f"n{i}" for i in range(9)]
        assert store.search("fever", 1, filter={"id": "n7"})[0].text == "fever in note 7"


def cut(path: Path) -> str:
    whole = gzip.compress(path.read_bytes())
    other = path.with_suffix(".jsonl.gz")
    other.write_bytes(whole[: len(whole) // 2])
    return str(other)


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (lambda path: written(path, []), SyncLimitError),
        (lambda path: written(path, [], "<html>502 Bad Gateway</html>\n"), SyncLimitError),
        (lambda path: written(path, [{"id": f"n{i}", "text": ""} for i in range(10)]), SyncLimitError),
        (lambda path: written(path, [{"id": f"n{i}", "text": f"fever in note {i}"} for i in range(5)]), SyncLimitError),
        (lambda path: written(path, [{"id": f"m{i}", "text": f"fever in note {i}"} for i in range(10)]), SyncLimitError),
        (lambda path: written(path, [{"note": "x", "id": "n0"}]), InputFileError),
        (lambda path: cut(Path(written(path, [{"id": f"n{i}", "text": os.urandom(400).hex()} for i in range(10)]))), InputFileError),
        (str, InputFileError),
    ],
    ids=["empty", "an error page", "blank texts", "half", "other ids", "other columns", "cut short", "missing"],
)  # fmt: skip
def test_a_broken_export_never_empties_a_corpus(
    kind: Kind, tmp_path: Path, broken: Callable[[Path], str], error: type[Exception]
) -> None:
    old = [{"id": f"n{i}", "text": f"fever in note {i}"} for i in range(10)]
    kind.index([written(tmp_path / "a.jsonl", old)], tmp_path / "s")
    with kind.open(tmp_path / "s") as store:
        before = everything(store)
    with pytest.raises(error) as caught:
        kind.index([broken(tmp_path / "b.jsonl")], tmp_path / "s", "sync")
    assert "fever" not in str(caught.value)
    with kind.open(tmp_path / "s") as store:
        assert everything(store) == before


def test_clocks_do_not_matter(kind: Kind, tmp_path: Path) -> None:
    old = [{"id": f"n{i}", "text": f"fever in note {i}"} for i in range(10)]
    kind.index([written(tmp_path / "a.jsonl", old)], tmp_path / "s")
    path = written(tmp_path / "a.jsonl", [*old[:9], {"id": "n9", "text": "fever in mote 9"}])
    os.utime(path, (0, 0))  # same name and size as before, and written before everything
    for part in (tmp_path / "s").glob("**/*"):
        os.utime(part, (2**31, 2**31))
    assert Path(path).stat().st_size == sum(len(json.dumps(item)) + 1 for item in old)
    summary = kind.index([path], tmp_path / "s", "sync")
    assert (summary.kept, summary.replaced) == (9, 1)


def test_the_first_sync_makes_the_store_and_readers_keep_what_they_opened(kind: Kind, tmp_path: Path) -> None:
    old = [{"id": f"n{i}", "text": f"fever in note {i}"} for i in range(10)]
    assert kind.index([written(tmp_path / "a.jsonl", old)], tmp_path / "s", "sync").new == 10
    with kind.open(tmp_path / "s") as reader:
        reader.search("fever")
        kind.index([written(tmp_path / "a.jsonl", old[1:])], tmp_path / "s", "sync")
        assert len(reader.search("fever", 50)) == 10
        with kind.open(tmp_path / "s") as newer:
            assert (len(newer), newer.manifest.inputs) == (9, [str(tmp_path / "a.jsonl")])
    with writing(tmp_path / "s", kind.cls.KIND), pytest.raises(CorpusBusyError), kind.open(tmp_path / "s") as other:
        other.sync(rows(9))


def test_a_thread_that_is_late_leaves_nothing_of_the_night_before(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows stand at other places each night: vectors of one with texts of the other would be another patient's."""
    tonight = [*rows(10, start=100), *reversed(rows(10, start=10))]
    queries = [row(number)["text"] for number in range(10, 20, 3)]
    options: list[dict[str, Any]] = [{}] if kind.name == "token index" else [{}, {"hybrid": Hybrid()}]
    with kind.build(tmp_path / "s", rows(20)) as writer, kind.open(tmp_path / "s") as shared:
        before = [shared.search(queries, 3, **some) for some in options]
        old = shared.store
        writer.sync(tonight, limit=1.0)
        writer.compact()
        shared._renew()  # by another thread
        with monkeypatch.context() as late:
            late.setattr(shared, "_within", lambda _: old)
            assert [shared.search(queries, 3, **some) for some in options] == before
        expected = [writer.search(queries, 3, **some) for some in options]
        assert [shared.search(queries, 3, **some) for some in options] == expected != before


def test_a_reader_goes_on_where_another_thread_has_opened_the_new_state(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as writer, kind.open(tmp_path / "s") as shared:
        writer.delete(["n3"])
        tries = []

        def read() -> int:
            tries.append(len(shared))
            if len(tries) == 1:
                shared._renew()
                raise CorpusDamagedError("its files are gone")
            return len(shared)

        assert (shared._read(read), tries) == (19, [20, 19])

        def broken() -> int:
            raise CorpusDamagedError("really")

        with pytest.raises(CorpusDamagedError, match="really"):
            shared._read(broken)


def test_a_sync_of_another_settings_is_refused(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(5)):
        pass
    with pytest.raises(CorpusError, match="add to it with the store's own settings"):
        kind.index([written(tmp_path / "a.jsonl", rows(5))], tmp_path / "s", "sync")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(item) for item in arguments])


def test_a_nightly_sync_is_one_command(kind: Kind, tmp_path: Path, tiny_folder: Path, token_model: Any) -> None:
    use = ["--model", tiny_folder] if kind.name == "embedded corpus" else ["--late-interaction", token_model.name]
    export = tmp_path / "export.jsonl"

    def night(given: Sequence[dict[str, Any]], *more: object) -> Result:
        written(export, given)
        return run("index", export, "-o", tmp_path / "s", "--sync", "--keep", "year:int", *use, "--threads", 1, *more)

    assert "10 rows" in night(rows(10)).output
    second = night([*rows(8), row(8, "another text"), row(20)])
    assert second.exit_code == 0, second.output
    assert "8 rows are as they were, 1 have changed, 1 are new, 1 are gone and will be deleted" in second.output
    assert "8 kept, 1 replaced, 1 new, 1 deleted" in second.output
    refused = night(rows(2))
    assert isinstance(refused.exception, SyncLimitError)
    assert "gone and will be deleted" not in refused.output
    assert night(rows(2), "--sync-limit", 1).exit_code == 0
    assert "2 in 2 shards" in run("corpus", "info", tmp_path / "s").output
    lone = run("index", export, "-o", tmp_path / "s", "--upsert", "--sync-limit", 1, *use)
    assert "only with --sync" in str(lone.exception)
    both = run("index", export, "-o", tmp_path / "s", "--upsert", "--sync", *use)
    assert "exclude each other" in str(both.exception)


def test_passages_of_notes_are_synced_with_their_notes(kind: Kind, tmp_path: Path) -> None:
    def notes(*numbers: int, lines: int = 12) -> list[dict[str, Any]]:
        return [
            {"id": f"n{n}", "text": " ".join(f"Fever in line {i} of note {n}." for i in range(lines))} for n in numbers
        ]

    def index(given: list[dict[str, Any]], mode: Any) -> Any:
        split = replace(kind, settings=replace(kind.settings, splitting=Splitting(max_tokens=20)))
        return split.index([written(tmp_path / "a.jsonl", given)], tmp_path / "s", mode)

    index(notes(*range(10)), "new")
    again = index(notes(*range(10)), "sync")
    assert (again.replaced, again.new, again.deleted) == (0, 0, 0)
    # one note is gone, one cannot be read, one is shorter
    index([*notes(*range(1, 8)), {"id": "n8", "text": ""}, *notes(9, lines=6)], "sync")
    with kind.open(tmp_path / "s") as store:
        held = [name.partition("#")[0] for name in store.ids]
        assert set(held) == {f"n{n}" for n in range(1, 10)}
        assert held.count("n8") == held.count("n1") > held.count("n9") > 0
