"""`medembed corpus …`, `index` and `search` on both kinds of store, and on folders that an earlier medembed made."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from medembed import EmbeddedCorpus, TokenIndex
from medembed.cli import app
from medembed.cli.stores import open_store
from medembed.errors import CorpusDamagedError, CorpusError, CorpusModelError, CorpusVersionError, SettingError
from medembed.storage.filters import Condition, parse
from tests.colbert import folders
from tests.storage.conftest import Kind, everything, holding, row, rows

pytestmark = pytest.mark.filterwarnings("ignore::medembed.TruncationWarning")
FORMAT1 = Path(__file__).parents[1] / "data" / "format1"
KNOWN = json.loads((FORMAT1 / "hits.json").read_text())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(item) for item in arguments])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


# ------------------------------------------------------------------------------------------- both kinds


def test_looking_checking_deleting_compacting_exporting(kind: Kind, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "s"
    kind.build(path, [row(3, "quinquagesima"), *rows(20, start=40)]).close()
    told = done("corpus", "info", path)
    assert kind.name in told
    assert "21 in 3 shards, 0 deleted" in told
    assert "year:int, ward:string, seen:date, icu:bool" in told
    assert "1 rows deleted" in done("corpus", "delete", path, "n3")
    assert "the bytes of 1 deleted rows are still there" in done("corpus", "verify", path)
    done("corpus", "compact", path)
    assert holding(path, "quinquagesima") == []
    assert done("corpus", "verify", path) == ""
    done("corpus", "export", path, "-o", tmp_path / "rows.parquet")
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert table.column("id").to_pylist() == [f"n{i}" for i in range(40, 60)]
    assert table.column("year").to_pylist()[:2] == [2000, 2001]
    done("corpus", "export", path, "-o", tmp_path / "v.npy")
    vectors, ids = np.load(tmp_path / "v.npy"), json.loads((tmp_path / "v.ids.json").read_text())
    assert (len(vectors), set(ids)) == (len(ids), {f"n{i}" for i in range(40, 60)})
    first = table.column(table.column_names[-1])[0].as_py()
    np.testing.assert_allclose(np.atleast_2d(np.array(first)), vectors[[name == "n40" for name in ids]], atol=1e-6)
    (tmp_path / "ids.txt").write_text("\ufeffn41\nn42\n")
    assert "2 rows deleted" in done("corpus", "delete", path, "--ids-from", tmp_path / "ids.txt")
    shard = next((path / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    broken = run("corpus", "verify", path)
    assert (broken.exit_code, shard.name in broken.output) == (1, True)


@pytest.mark.parametrize("name", ["v.csv", "s/v.npy"], ids=["ending", "inside the store"])
def test_exports_that_cannot_be(kind: Kind, tmp_path: Path, name: str) -> None:
    kind.build(tmp_path / "s", rows(3)).close()
    with pytest.raises((CorpusError, SettingError), match=r"expected a path that ends in .npy|a store of medembed"):
        CliRunner().invoke(
            app, ["corpus", "export", str(tmp_path / "s"), "-o", str(tmp_path / name)], catch_exceptions=False
        )


@pytest.fixture
def models(tmp_path: Path, tiny_folder: Path, token_model: Any) -> dict[str, list[str]]:
    return {"embedded corpus": ["--model", str(tiny_folder)], "token index": ["--late-interaction", token_model.name]}


def notes(path: Path, *numbers: int, **changes: Any) -> Path:
    path.write_text("".join(json.dumps(row(number, **changes)) + "\n" for number in numbers))
    return path


def test_a_nightly_export_is_one_command(kind: Kind, tmp_path: Path, models: dict[str, list[str]]) -> None:
    use = [*models[kind.name], "--threads", "1"]
    done("index", notes(tmp_path / "a.jsonl", 1, 2, 3), "-o", tmp_path / "s", "--keep", "year:int", *use)
    done("index", notes(tmp_path / "b.jsonl", 4), "-o", tmp_path / "s", "--append", *use)
    known = run("index", notes(tmp_path / "c.jsonl", 4, 5), "-o", tmp_path / "s", "--append", *use)
    assert (known.exit_code, "1 × its id is in the store already" in known.output) == (3, True)
    assert "s: 5 rows" in known.output
    export = tmp_path / "d.jsonl"
    notes(export, 1, 2, 3, 4)
    export.write_text(export.read_text() + json.dumps(row(5, year=1900)) + "\n" + json.dumps(row(6)) + "\n")
    assert "4 kept, 1 replaced, 1 new" in done("index", export, "-o", tmp_path / "s", "--upsert", *use)
    assert "6 kept, 0 replaced, 0 new" in done("index", export, "-o", tmp_path / "s", "--upsert", *use)
    found = done("search", tmp_path / "s", "fever", "--where", "year<1950", "--json", "--threads", "1")
    assert [hit["id"] for hit in json.loads(found)["hits"]] == ["n5"]


def test_search_takes_the_model_where_it_is_now(
    kind: Kind, tmp_path: Path, tiny_folder: Path, token_model: Any, models: dict[str, list[str]]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    original = Path(models[kind.name][1])
    shutil.copytree(original, here)
    done("index", notes(tmp_path / "a.jsonl", 1, 2), "-o", tmp_path / "s", models[kind.name][0], here, "--threads", "1")
    here.rename(there)
    missing = run("search", tmp_path / "s", "fever")
    assert isinstance(missing.exception, CorpusModelError)
    assert f"the model in the folder {here}, which is not there" in str(missing.exception)
    found = json.loads(done("search", tmp_path / "s", "fever", "--model", there, "--json", "--threads", "1"))
    assert len(found["hits"]) == 2
    other = {"embedded corpus": tiny_folder, "token index": folders.pylate(tmp_path / "other")}[kind.name]
    if kind.name == "token index":
        with pytest.raises(CorpusModelError, match=r"was encoded with .* but this is"):
            open_store(tmp_path / "s", str(other))


def test_token_index_is_another_name_for_index_with_late_interaction(tmp_path: Path, token_model: Any) -> None:
    source = notes(tmp_path / "a.jsonl", *range(12))
    done("index", source, "-o", tmp_path / "a", "--late-interaction", token_model.name, "--bits", "4", "--threads", "1")
    done("token-index", source, "-o", tmp_path / "b", "--model", token_model.name, "--bits", "4", "--threads", "1")
    a, b = TokenIndex.open(tmp_path / "a"), TokenIndex.open(tmp_path / "b")
    assert a.manifest == b.manifest


@pytest.mark.parametrize(
    "options",
    [["--bits", "4"], ["--pool-factor", "2"], ["--late-interaction", "mini", "--vectors", "int8"],
     ["--late-interaction", "mini", "--ray", "local"], ["--append", "--upsert"], ["--upsert", "--overwrite"]],
    ids=" ".join,
)  # fmt: skip
def test_options_that_mean_nothing_together_are_refused(tmp_path: Path, options: list[str]) -> None:
    result = run("index", notes(tmp_path / "a.jsonl", 1), "-o", tmp_path / "s", *options)
    assert isinstance(result.exception, SettingError)
    assert not (tmp_path / "s").exists()


def test_kept_columns_are_shown_and_codes_that_move_the_cursor_are_not(
    kind: Kind, tmp_path: Path, models: dict[str, list[str]]
) -> None:
    source = notes(tmp_path / "a.jsonl", 1, text="fever \x1b[2J\x07 end", ward="er")
    done(
        "index",
        source,
        "-o",
        tmp_path / "s",
        *models[kind.name],
        "--keep",
        "ward",
        "--keep",
        "seen:date",
        "--threads",
        "1",
    )
    shown = done("search", tmp_path / "s", "fever", "--threads", "1")
    assert "ward" in shown
    assert "2026-01-02" in shown
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    assert "no rows match --where" in run("search", tmp_path / "s", "x", "--where", "ward=icu", "--threads", "1").output


# ------------------------------------------------------------------------------------------- conditions in words


COLUMNS = {"year": "int", "adm": "bool", "date": "date", "share": "float", "ward": "string"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("year=2020", Condition("year", "=", 2020)),
        ("year == 2020", Condition("year", "=", 2020)),
        ("adm=TRUE", Condition("adm", "=", True)),
        ("adm=0", Condition("adm", "=", False)),
        ("share>=0.5", Condition("share", ">=", 0.5)),
        ("ward!=a=b", Condition("ward", "!=", "a=b")),
        ("ward=", Condition("ward", "=", None)),
        ("line<3", Condition("line", "<", 3)),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_conditions_are_read_by_the_type_of_their_column(given: str, expected: Condition) -> None:
    assert parse([given], COLUMNS) == [expected]


@pytest.mark.parametrize(
    "given",
    ["adm=yes", "adm=2", "year=2020.5", "year=1_000", "year=many", "date=soon", "date=20260101", "share=nan", "share=inf",
     "ward<", "nobody=3", "year", "=3", "yearly=3"],
)  # fmt: skip
def test_conditions_that_do_not_fit_are_refused_without_their_value(given: str) -> None:
    with pytest.raises(SettingError, match="--where: ") as caught:
        parse([given], COLUMNS)
    value = given.partition("=")[2]
    assert len(value) < 4 or value not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["year=2004", "year=2005"], {4, 5, 14, 15}),
        (["year=2004", "icu=true"], set()),
        (["year>=2003", "year<2005"], {3, 4, 13, 14}),
        (["seen>=2026-01-18"], {17, 18, 19}),
        (["ward="], {i for i in range(20) if i % 3}),
        (["ward!="], {i for i in range(20) if not i % 3}),
        (["icu=0", "year!=2004"], {i for i in range(0, 20, 2) if i % 10 != 4}),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_conditions_add_up(kind: Kind, tmp_path: Path, where: list[str], expected: set[int]) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        found = store.search("fever", 20, filter=parse(where, store.manifest.kept))
        assert {hit.id for hit in found} == {f"n{i}" for i in expected}


# ------------------------------------------------------------------------------------------- the layout of before


@pytest.mark.parametrize("vectors", ["float32", "float16", "binary"])
def test_a_corpus_of_before_gives_the_same_hits(vectors: str, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in FORMAT1.glob("**/*") if path.is_file()}
    assert "59 rows taken over" in done("corpus", "import", FORMAT1 / f"corpus-{vectors}", "-o", tmp_path / "s")
    told = KNOWN[vectors]
    with EmbeddedCorpus.open(tmp_path / "s") as corpus:
        queries = np.array(told["queries"], dtype=np.float32)
        hits = [[(h.id, h.text, h.source, h.line, h.kept) for h in found] for found in corpus.search(queries, 5)]
        assert hits == [
            [(i, text, source, line, kept) for i, _, text, source, line, kept in found] for found in told["hits"]
        ]
        scores = [[h.score for h in found] for found in corpus.search(queries, 5)]
        np.testing.assert_allclose(scores, [[item[1] for item in found] for found in told["hits"]], atol=1e-6)
        filtered = corpus.search(queries, 5, filter={"year": [2004, 2026]})
        assert [[h.id for h in found] for found in filtered] == [
            [item[0] for item in found] for found in told["filtered"]
        ]
        assert corpus.ids == told["ids"]
        assert corpus.verify() == []
        corpus.compact()
    assert {path: path.read_bytes() for path in before} == before


def test_a_token_index_of_before_gives_the_same_hits(tmp_path: Path) -> None:
    done("corpus", "import", FORMAT1 / "tokens", "-o", tmp_path / "s")
    told = KNOWN["tokens"]
    with TokenIndex.open(tmp_path / "s") as index:
        found = index.search_vectors([np.array(query, dtype=np.float32) for query in told["queries"]], 5)
        assert [[(hit.id, hit.text) for hit in hits] for hits in found] == [
            [(i, text) for i, _, text in hits] for hits in told["hits"]
        ]
        np.testing.assert_allclose(
            [[h.score for h in hits] for hits in found],
            [[item[1] for item in hits] for hits in told["hits"]],
            rtol=1e-6,
        )
        assert index.verify() == []


@pytest.mark.parametrize("name", ["corpus-float32", "tokens"])
def test_folders_of_before_are_named_with_the_command_that_takes_them_over(name: str) -> None:
    with pytest.raises(CorpusVersionError, match=r"an earlier medembed in format 1.*medembed corpus import"):
        open_store(FORMAT1 / name)


@pytest.mark.parametrize("name", ["corpus-float32", "tokens"])
def test_damage_of_a_folder_of_before_is_an_error_and_nothing_is_made(name: str, tmp_path: Path) -> None:
    shutil.copytree(FORMAT1 / name, tmp_path / "old")
    shard = max((tmp_path / "old" / "shards").iterdir())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert isinstance(run("corpus", "import", tmp_path / "old", "-o", tmp_path / "s").exception, CorpusDamagedError)
    assert not (tmp_path / "s" / "manifest.json").exists()


@pytest.mark.parametrize("key", ["embedding", "encoding", "shard_rows", "dimension", "model", "revision"])
@pytest.mark.parametrize("name", ["corpus-float32", "tokens"])
def test_a_damaged_manifest_of_before_is_an_error(name: str, key: str, tmp_path: Path) -> None:
    shutil.copytree(FORMAT1 / name, tmp_path / "old")
    manifest = tmp_path / "old" / "manifest.json"
    told = manifest.read_text()
    if f'"{key}"' not in told:
        pytest.skip("the other kind has it")
    manifest.write_text(told.replace(f'"{key}"', f'"{key}d"'))
    assert isinstance(run("corpus", "import", tmp_path / "old", "-o", tmp_path / "s").exception, CorpusError)
    assert not (tmp_path / "s" / "manifest.json").exists()


def test_what_is_no_store_of_before_is_refused(kind: Kind, tmp_path: Path) -> None:
    kind.build(tmp_path / "s", rows(3)).close()
    for source in (tmp_path / "s", tmp_path, tmp_path / "nowhere"):
        assert "is not a finished corpus or token index" in str(
            run("corpus", "import", source, "-o", tmp_path.with_name(f"{tmp_path.name}-t")).exception
        )
    assert "holds a store already" in str(run("corpus", "import", FORMAT1 / "tokens", "-o", tmp_path / "s").exception)
    assert len(everything(kind.open(tmp_path / "s"))) == 3


def test_an_upsert_of_a_corpus_speaks_of_rows_and_not_of_token_vectors(tmp_path: Path) -> None:
    notes = tmp_path / "n.jsonl"
    for text in ("fever", "no fever"):
        notes.write_text(json.dumps({"id": "1", "text": text}) + "\n")
        told = done("index", notes, "-o", tmp_path / "c", *(["--upsert"] if (tmp_path / "c").exists() else []))
    assert "1 replaced" in told
    assert "token vectors" not in told
