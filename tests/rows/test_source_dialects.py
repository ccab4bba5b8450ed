"""The dialect of a recipe's files: the same settings, the same reader and the same strictness as `encode` and `index` have."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medembed.errors import SourceError
from medembed.recipes.execution import Execution
from medembed.recipes.source_settings import NoteSource, Source
from medembed.recipes.sources import Places, rows

Read = list[dict[str, Any]]


def read(folder: Path, content: bytes, name: str = "n.csv", **settings: Any) -> Read:
    (folder / name).write_bytes(content)
    source = NoteSource.model_validate({"format": "csv", "path": name, **settings})
    wanted = {source.text: "notes.sources.mine.text"}
    return [dict(row) for row in rows(source, "mine", Places(folder, Execution(work=folder / "w")), wanted)]


TABLE: dict[str, tuple[bytes, dict[str, Any]]] = {
    "semicolons": ("id;text\na;Ménière, left\n".encode(), {}),
    "bars that are named": ("id|text\na|Ménière, left\n".encode(), {"delimiter": "|"}),
    "a tab by name": ("id\ttext\na\tMénière, left\n".encode(), {"delimiter": "tab"}),
    "latin": ("id;text\na;Ménière, left\n".encode("cp1252"), {"encoding": "cp1252"}),
    "UTF-16": ("id;text\na;Ménière, left\n".encode("utf-16"), {"encoding": "utf-16"}),
    "another quote": ("id,text\na,'Ménière, left'\n".encode(), {"quote": "'"}),
}


@pytest.mark.parametrize(("content", "settings"), TABLE.values(), ids=TABLE.keys())
def test_a_file_of_another_dialect_is_read(content: bytes, settings: dict[str, Any], tmp_path: Path) -> None:
    assert read(tmp_path, content, **settings) == [{"id": "a", "text": "Ménière, left"}]


def test_columns_without_a_header_are_numbered(tmp_path: Path) -> None:
    assert read(tmp_path, b"a,fever\nb,cough\n", header=False, text="2") == [
        {"1": "a", "2": "fever"},
        {"1": "b", "2": "cough"},
    ]


def test_quotes_may_be_ordinary_characters(tmp_path: Path) -> None:
    assert read(tmp_path, b"id,text\na,\"5 o'clock\n", quote="none") == [{"id": "a", "text": "\"5 o'clock"}]


@pytest.mark.parametrize("name", ["n.jsonl", "n.txt"])
def test_an_encoding_holds_for_every_file_of_text(name: str, tmp_path: Path) -> None:
    content = {"n.jsonl": '{"text": "Ménière"}\n', "n.txt": "Ménière"}[name].encode("cp1252")
    kind = {"n.jsonl": "jsonl", "n.txt": "text"}[name]
    [row] = read(tmp_path, content, name, format=kind, encoding="cp1252")
    assert row["text"] == "Ménière"


ADVICE: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "an open quote": (
        b'id,text\na,"open\n',
        {},
        r'n.csv, line 2: a quote is opened and never closed: .* with quote = "none"',
    ),
    "a comma that is none": (b"id;text\na;x\n", {"delimiter": ","}, r"Its first line holds ';': delimiter = \";\""),
    "no header": (b"1,seen today in clinic\n", {}, "header = false names the columns"),
    "UTF-16": ("id,text\na,x\n".encode("utf-16"), {}, r'or say encoding = "utf-16"'),
}


@pytest.mark.parametrize(("content", "settings", "says"), ADVICE.values(), ids=ADVICE.keys())
def test_errors_name_the_settings_of_the_recipe(
    content: bytes, settings: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        read(tmp_path, content, **settings)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"delimiter": ";;"}, "delimiter: expected a single character"),
        ({"encoding": "latin-99"}, "encoding 'latin-99' is unknown"),
        ({"format": "jsonl", "header": False}, "for format 'csv', and this is 'jsonl'"),
        ({"format": "parquet", "encoding": "cp1252"}, "for files of text, and this is 'parquet'"),
    ],
)
def test_a_dialect_that_means_nothing_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        NoteSource.model_validate({"format": "csv", "path": "n.csv", **settings})


def test_a_dialect_enters_fingerprints_where_it_is_not_the_usual_one() -> None:
    usual = Source(format="csv", path="n.csv")
    assert usual.read_with(set()) == {"format": "csv", "limit": None}
    assert Source(format="csv", path="n.csv", delimiter=";").read_with(set()) == {
        "format": "csv",
        "limit": None,
        "delimiter": ";",
    }
