"""Every reader in every dialect gives the same records; every way to break one gives the same error or reject."""

import bz2
import gzip
import io
import json
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medembed.errors import InputFileError, SettingError
from medembed.rows import read as rows
from medembed.rows import sources
from medembed.rows.dialect import Dialect
from medembed.rows.read import Columns, Row

TEXTS = ["chest pain; worse at night", "fièvre, 39 °C", 'said "no"\nand left', "tab\there | bar"]
ENCODINGS = ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-16-le", "utf-32"]


def table(delimiter: str, quote: str = '"', end: str = "\n", *, header: bool = True) -> str:
    def field(text: str) -> str:
        return f"{quote}{text.replace(quote, 2 * quote)}{quote}"

    lines = [delimiter.join(("id", "text"))] if header else []
    lines += [delimiter.join((f"n{number}", field(text))) for number, text in enumerate(TEXTS)]
    return end.join(lines) + end


def told(
    path: Path | str, columns: Columns | None = None, dialect: Dialect | None = None, kind: str | None = None
) -> list[Any]:
    found = sources.find([str(path)], kind, dialect=dialect)
    items = rows.read(found, columns or Columns(), lambda _: None)
    return [(item.id, item.text) if isinstance(item, Row) else (item.line, item.reason) for item in items]


EXPECTED = [(f"n{number}", text) for number, text in enumerate(TEXTS)]
SQUEEZE: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".GZ": gzip.compress}


@pytest.mark.parametrize("squeezed", SQUEEZE)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(
    ("ending", "delimiter", "told_so"),
    [(".csv", ",", None), (".csv", ";", None), (".csv", "\t", None), (".CSV", "|", None), (".tsv", "\t", None), (".csv", "~", "~"),
     (".tsv", ",", ","), (".tab", "\t", "tab")],
    ids=["csv", "semicolon", "tabs in csv", "bar", "tsv", "told", "commas in tsv", "tab"],
)  # fmt: skip
def test_a_table_in_every_dialect(
    tmp_path: Path, ending: str, delimiter: str, told_so: str | None, end: str, encoding: str, squeezed: str
) -> None:
    path = tmp_path / f"t{ending}{squeezed}"
    path.write_bytes(SQUEEZE[squeezed](table(delimiter, end=end).encode(encoding)))
    dialect = Dialect(told_so, encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    assert told(path, dialect=dialect) == EXPECTED


def test_lone_carriage_returns_as_line_ends_are_read(tmp_path: Path) -> None:
    content = {
        "t.csv": "id,text\ra,fever\rb,rash\r",
        "t.jsonl": '{"id": "a", "text": "fever"}\r{"id": "b", "text": "rash"}\r',
    }
    for name, text in content.items():
        (tmp_path / name).write_text(text, newline="")
        assert told(tmp_path / name) == [("a", "fever"), ("b", "rash")]
    (tmp_path / "t.txt").write_text("fever\rrash", newline="")
    assert [text for _, text in told(tmp_path / "t.txt", kind="lines")] == ["fever", "rash"]
    assert [text for _, text in told(tmp_path / "t.txt")] == ["fever\rrash"]


def test_without_header_columns_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,17,fever\nb,18,rash\nc,19\n")
    columns = Columns(("3",), "1", {"2": "int"})
    assert told(tmp_path / "t.csv", columns, Dialect(header=False)) == [
        ("a", "fever"), ("b", "rash"), (3, "2 fields, but the first row has 3"),
    ]  # fmt: skip
    with pytest.raises(InputFileError, match=r"no column '4', but 3 columns whose names are not shown"):
        told(tmp_path / "t.csv", Columns(("4",), "1"), Dialect(header=False))


def test_quotes_may_be_ordinary_or_other_characters(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('id\ttext\na\t5" needle\nb\t"open\nc\tx\n')
    assert told(tmp_path / "t.tsv", dialect=Dialect(quote=None)) == [("a", '5" needle'), ("b", '"open'), ("c", "x")]
    (tmp_path / "t.csv").write_text("id,text\na,'one, two'\nb,'it''s'\n")
    assert told(tmp_path / "t.csv", dialect=Dialect(quote="'")) == [("a", "one, two"), ("b", "it's")]


NEVER = r"line {}: a quote is opened and never closed: .*--quote none"
MIDST = r"line {}: a quote is opened, and closed in the midst of a field in line {}"
BROKEN_TABLES: dict[str, tuple[str, str | list[tuple[int, str]]]] = {
    "never closed": ('1,first\n2,"opened only\n3,third\n4,x\n', NEVER.format(3)),
    "never closed at the end": ('1,first\n2,"opened only', NEVER.format(3)),
    "in the first row": ('"1,first\n2,second\n', NEVER.format(2)),
    "closed by a later quote": ('1,a\n2,"opened only\n3,third\n4,"x"\n5,b\n', MIDST.format(3, 5)),
    "text behind a quote": ('1,"a"b\n2,c\n', [(2, "text behind a closing quote")]),
    "too many": ("1,a,b\n2,c\n", [(2, "3 fields, but the header has 2")]),
    "too few": ("1\n2,c\n", [(2, "1 fields, but the header has 2")]),
    "lone return": ("1,a\rb\n2,c\n", [(2, "a lone carriage return outside quotes")]),
    "lone return behind a record of two lines": ('1,"a\nb"\rc\n2,c\n', [(2, "a lone carriage return outside quotes")]),
}


@pytest.mark.parametrize(("content", "says"), BROKEN_TABLES.values(), ids=BROKEN_TABLES.keys())
@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_table_is_read_strictly(tmp_path: Path, kind: str, content: str, says: str | list[tuple[int, str]]) -> None:
    path = tmp_path / f"t.{kind}"
    whole = "id,text\n" + content
    path.write_text(whole if kind == "csv" else whole.replace(",", "\t"), newline="")
    if isinstance(says, str):
        with pytest.raises(InputFileError, match=says) as caught:
            told(path)
        assert "opened only" not in str(caught.value)
    else:
        assert told(path) == [*says, ("2", "c")]


HEADERS = {
    "missing": (
        "id;note\n1;a\n",
        r"no column 'text', but the columns 'id', 'note': name the column with --text-column$",
    ),
    "a note": (
        "1,Mr Smith has fever; seen today\n",
        r"but 2 columns whose names are not shown.*If the first row is data already, --no-header",
    ),
    "one column": (
        "id~text\n1~a\n",
        r"no column 'text', but one column whose names are not shown|but the columns 'id~text'",
    ),
    "twice": ("id,text,text\n1,a,b\n", r"the column 'text' is there 2 times"),
    "empty": ("", r"is empty: expected a first line that names the columns 'text', 'id'"),
    "broken": ('"id"x,text\n1,a\n', r"line 1: the header cannot be read: text behind a closing quote"),
}


@pytest.mark.parametrize(("content", "says"), HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_lacks_a_column_is_an_error_without_data(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputFileError, match=says) as caught:
        told(tmp_path / "t.csv")
    assert "Smith" not in str(caught.value)


def test_a_wrong_separator_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("id,text\n1,a\n")
    with pytest.raises(InputFileError, match=r"Its first line holds ',': --delimiter ','"):
        told(tmp_path / "t.tsv")
    (tmp_path / "t.csv").write_text("id;text\n1;a\n")
    with pytest.raises(InputFileError, match=r"Its first line holds ';': --delimiter ';'"):
        told(tmp_path / "t.csv", dialect=Dialect(","))


ENCODED = {
    "utf-16": "is in UTF-16, and UTF-8 was expected: save it as UTF-8 .*--encoding utf-16",
    "utf-16-le": "is in UTF-16, and UTF-8 was expected",
    "utf-32": "is in UTF-32, and UTF-8 was expected",
}


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.txt"])
@pytest.mark.parametrize(("encoding", "says"), ENCODED.items(), ids=ENCODED.keys())
def test_wide_encodings_are_named(tmp_path: Path, name: str, encoding: str, says: str) -> None:
    (tmp_path / name).write_bytes('{"id": "a", "text": "fever and cough"}\n'.encode(encoding))
    with pytest.raises(InputFileError, match=says):
        told(tmp_path / name)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.txt"])
def test_bytes_of_another_encoding_reject_their_row(tmp_path: Path, name: str) -> None:
    line = {
        "t.csv": "a,café\nb,ok\n",
        "t.jsonl": '{"id": "a", "text": "café"}\n{"id": "b", "text": "ok"}\n',
        "t.txt": "café\nok\n",
    }
    content = ("id,text\n" if name == "t.csv" else "") + line[name]
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    items = told(tmp_path / name, kind="lines" if name == "t.txt" else None)
    assert items[0] == (2 if name == "t.csv" else 1, "not UTF-8")
    assert items[1][1] == "ok"
    (tmp_path / name).write_bytes(content.replace("é", "\x81").encode("latin-1"))  # no character of cp1252
    items = told(tmp_path / name, dialect=Dialect(encoding="cp1252"), kind="lines" if name == "t.txt" else None)
    assert items[0][1] == "not CP1252"


@pytest.mark.parametrize(
    ("dialect", "says"),
    [
        ({"delimiter": ";;"}, "delimiter: expected a single character"),
        ({"quote": ""}, "quote: expected a single character"),
        ({"delimiter": '"'}, "are the same character"),
        ({"encoding": "utf8000"}, "encoding 'utf8000' is unknown"),
        ({"encoding": "base64"}, "encoding 'base64' is unknown"),
    ],
    ids=str,
)
def test_dialects_that_cannot_be(dialect: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Dialect(**dialect)  # type: ignore[arg-type]


def test_a_dialect_that_means_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("{}")
    with pytest.raises(SettingError, match="are for CSV and TSV, and none of the inputs is"):
        sources.find([str(tmp_path / "t.jsonl")], dialect=Dialect(";"))
    (tmp_path / "t.parquet").write_text("")
    with pytest.raises(SettingError, match="--encoding is for files of text"):
        sources.find([str(tmp_path / "t.parquet")], dialect=Dialect(encoding="cp1252"))


def test_a_kept_column_may_stand_in_some_rows_but_not_in_none(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        "".join(json.dumps({"id": str(i), "text": "x", **({"year": 1} if i == 7 else {})}) + "\n" for i in range(9))
    )
    assert len(told(path, Columns(kept={"year": "int"}))) == 9
    with pytest.raises(
        InputFileError, match=r"none of its first 9 rows has a field 'yeer', but the columns 'id', 'text', 'year'"
    ):
        told(path, Columns(kept={"yeer": "int"}))
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(InputFileError, match="its first row has no field 'year'"):
        told(tmp_path / "note.txt", Columns(kept={"year": "int"}))


def test_a_column_that_no_row_has_is_told_before_the_end_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"id": str(number), "text": "x"}) + "\n" for number in range(5000)))
    stream = rows.read(sources.find([str(path)]), Columns(kept={"yeer": "int"}), lambda _: None)
    assert len(list(islice(stream, 999))) == 999
    with pytest.raises(InputFileError, match="none of its first 1000 rows"):
        next(stream)


def test_pipes_hand_rows_over_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(b'{"id": "a", "text": "fever"}\n'))

    monkeypatch.setattr(sys, "stdin", Stdin())
    assert told("-") == [("a", "fever")]
    assert not Stdin.buffer.closed


def test_csv_limits_of_the_process_are_never_lowered(tmp_path: Path) -> None:
    import csv

    (tmp_path / "t.csv").write_text("id,text\na,b\n")
    before = csv.field_size_limit(1 << 30)
    try:
        told(tmp_path / "t.csv")
        assert csv.field_size_limit() == 1 << 30
    finally:
        csv.field_size_limit(before)


FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=6), st.sampled_from(",;\t|"))
def test_what_pythons_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str, str]], delimiter: str
) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerow(["id", "text"])
        writer.writerows([(f"n{number} {name}", f"t{text}") for number, (name, text) in enumerate(values)])

    def ends(text: str) -> str:
        return text.replace("\r\n", "\n")

    expected = [(ends(f"n{number} {name}"), ends(f"t{text}")) for number, (name, text) in enumerate(values)]
    assert [(ends(name), ends(text)) for name, text in told(path)] == expected


def test_other_compression_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv.bz2").write_bytes(bz2.compress(b"id,text\n"))
    with pytest.raises(InputFileError, match="its ending is unknown"):
        told(tmp_path / "t.csv.bz2")
