"""`medembed index`, `search` and `corpus`, run in this process with a tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medembed.cli import app
from medembed.errors import CorpusError, InputFileError, SettingError

RUN = CliRunner()


@pytest.fixture
def corpus(tmp_path: Path, tiny_folder: Path) -> Path:
    source = tmp_path / "notes.csv"
    source.write_text("id,text,year\na,chest pain,2020\nb,itchy skin,2021\nb,again,2021\n")
    ran = RUN.invoke(
        app, ["index", str(source), "-o", str(tmp_path / "c"), "--model", str(tiny_folder), "--keep", "year:int"]
    )
    assert ran.exit_code == 3, ran.output
    assert "c: 2 rows (2 embedded now" in ran.output
    assert "left out: 1 × duplicate id; see" in ran.output
    assert "nothing was indexed" not in ran.output
    return tmp_path / "c"


def test_rows_of_other_columns_are_told_which_options_name_them(tmp_path: Path, tiny_folder: Path) -> None:
    source = tmp_path / "notes.jsonl"
    source.write_text('{"note": "chest pain"}\n{"note": "itchy skin"}\n')
    ran = RUN.invoke(app, ["index", str(source), "-o", str(tmp_path / "c"), "--model", str(tiny_folder)])
    assert isinstance(ran.exception, InputFileError)
    assert (
        "none of its first 2 rows has a field 'text', but the columns 'note': name the column with --text-column"
        in str(ran.exception)
    )


def test_answers_as_json(corpus: Path) -> None:
    ran = RUN.invoke(app, ["search", str(corpus), "chest pain", "skin", "-k", "1", "--json"])
    answers = [json.loads(line) for line in ran.output.splitlines()]
    assert [answer["query"] for answer in answers] == ["chest pain", "skin"]
    assert answers[0]["hits"][0]["id"] == "a"
    assert answers[0]["hits"][0]["kept"] == {"year": 2020}


def test_filters_queries_from_standard_input_and_fusion(corpus: Path) -> None:
    ran = RUN.invoke(
        app, ["search", str(corpus), "-", "--where", "year=2021", "--json", "--hybrid"], input="pain\n\nskin\n"
    )
    answers = [json.loads(line) for line in ran.output.splitlines()]
    assert [[hit["id"] for hit in answer["hits"]] for answer in answers] == [["b"], ["b"]]


def test_a_weight_of_words_is_heeded_or_refused(corpus: Path, tmp_path: Path, tiny_folder: Path) -> None:
    def scores(*options: str) -> list[float]:
        found = RUN.invoke(app, ["search", str(corpus), "chest pain", "--json", *options], catch_exceptions=False)
        return [hit["score"] for hit in json.loads(found.output)["hits"]]

    assert scores("--weight", "0") == scores("--dense") != scores("--weight", "2") != scores()
    bare = tmp_path / "bare"
    made = ["index", str(tmp_path / "notes.csv"), "-o", str(bare), "--model", str(tiny_folder), "--no-store-text"]
    assert RUN.invoke(app, made).exit_code == 3
    for asked in ([str(corpus), "pain", "--dense"], [str(bare), "pain"]):
        ran = RUN.invoke(app, ["search", *asked, "--weight", "0.2"])
        assert isinstance(ran.exception, SettingError)
        assert "--weight is of BM25, and this search takes vectors alone" in str(ran.exception)


def test_a_table_for_people(corpus: Path) -> None:
    ran = RUN.invoke(app, ["search", str(corpus), "chest pain"])
    assert ran.exit_code == 0
    assert "itchy skin" in ran.output


def test_looking_checking_deleting_exporting(corpus: Path, tmp_path: Path) -> None:
    told = RUN.invoke(app, ["corpus", "info", str(corpus)]).output
    assert "2 in 1 shards, 0 deleted" in told
    assert "year:int" in told
    assert RUN.invoke(app, ["corpus", "verify", str(corpus)]).exit_code == 0
    (tmp_path / "ids.txt").write_text("b\n")
    assert (
        "1 rows deleted"
        in RUN.invoke(app, ["corpus", "delete", str(corpus), "--ids-from", str(tmp_path / "ids.txt")]).output
    )
    missing = RUN.invoke(app, ["corpus", "delete", str(corpus), "--ids-from", "nowhere.txt"])
    assert (missing.exit_code, isinstance(missing.exception, SystemExit)) == (2, True)
    assert RUN.invoke(app, ["corpus", "compact", str(corpus)]).exit_code == 0
    assert RUN.invoke(app, ["corpus", "export", str(corpus), "-o", str(tmp_path / "v.npy")]).exit_code == 0
    assert np.load(tmp_path / "v.npy").shape == (1, 64)
    shard = next((corpus / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    broken = RUN.invoke(app, ["corpus", "verify", str(corpus)])
    assert broken.exit_code == 1
    assert shard.name in broken.output


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["index", "nowhere.csv", "-o", "x"], InputFileError, "there is no file nowhere.csv"),
        (["index", "x.csv", "-o", "x", "--append", "--overwrite"], SettingError, "exclude each other"),
        (["search", "nowhere", "x"], CorpusError, "is not an embedded corpus"),
        (["search", "CORPUS", " "], SettingError, "a query is blank"),
        (["corpus", "delete", "CORPUS"], SettingError, "which rows? Give ids"),
        (["search", "CORPUS", "x", "--where", "ward=icu"], SettingError, "with a name of id, source, line, year"),
        (["search", "CORPUS", "x", "--where", "year=many"], SettingError, "year is of type int"),
    ],
    ids=["no file", "both modes", "no corpus", "blank", "no ids", "no column", "wrong type"],
)
def test_mistakes_are_named(arguments: list[str], error: type[Exception], says: str, corpus: Path) -> None:
    ran = RUN.invoke(app, [str(corpus) if word == "CORPUS" else word for word in arguments])
    assert isinstance(ran.exception, error)
    assert says in str(ran.exception)
