"""Files of every kind, whole and broken, as rows and rejects."""

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from medembed.errors import CorpusError, InputFileError
from medembed.rows import read as rows
from medembed.rows import sources
from medembed.rows.read import Columns, Row
from medembed.rows.source import Reject
from tests.corpus.conftest import write_rows


def read(*inputs: Path | str, columns: Columns | None = None, kind: str | None = None) -> list[Row | Reject]:
    found = sources.find([str(item) for item in inputs], kind)
    return list(rows.read(found, columns or Columns(), lambda _: None))


def told(items: list[Row | Reject]) -> list[tuple[object, ...]]:
    return [(item.id, item.text) if isinstance(item, Row) else (item.line, item.reason) for item in items]


TABLE = 'id,text\na,"chest, pain"\nb,"two\nlines"\n'
EXPECTED = [("a", "chest, pain"), ("b", "two\nlines")]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_text_formats_plain_and_compressed(kind: str, ending: str, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    content = {
        "csv": TABLE,
        "tsv": 'id\ttext\na\tchest, pain\nb\t"two\nlines"\n',
        "jsonl": "".join(json.dumps({"id": name, "text": text}) + "\r\n" for name, text in EXPECTED),
    }[kind]
    raw = b"\xef\xbb\xbf" + content.encode()
    squeezed = {"": raw, ".gz": gzip.compress(raw), ".zst": arrow.compress(raw, codec="zstd", asbytes=True)}[ending]
    path = tmp_path / f"t.{kind}{ending}"
    path.write_bytes(squeezed)
    assert told(read(path)) == EXPECTED


def test_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"id": [1, 2, 3], "text": ["x", None, "z"]}), tmp_path / "t.parquet")
    assert told(read(tmp_path / "t.parquet")) == [("1", "x"), (2, "empty text"), ("3", "z")]
    with pytest.raises(InputFileError, match=r"no column 'note'.*name the column with --text-column"):
        read(tmp_path / "t.parquet", columns=Columns(("note",)))
    (tmp_path / "u.parquet").write_text("no")
    with pytest.raises(InputFileError, match="is not a Parquet file"):
        read(tmp_path / "u.parquet")


def test_a_folder_of_texts_is_a_document_a_file(tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / "b.txt").write_text("second\nof two lines")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"first"))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    base = tmp_path.name
    assert told(read(tmp_path)) == [(f"{base}/a.txt.gz", "first"), (f"{base}/ward/b.txt", "second\nof two lines")]
    assert told(read(tmp_path / "ward" / "b.txt", kind="lines")) == [
        ("ward/b.txt:1", "second"),
        ("ward/b.txt:2", "of two lines"),
    ]


def test_globs_are_sorted_and_nothing_is_named_twice(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(name)
    assert [row[0] for row in told(read(tmp_path / "*.txt"))] == [f"{tmp_path.name}/{name}.txt" for name in "abc"]
    with pytest.raises(InputFileError, match=r"a.txt is named twice"):
        read(tmp_path / "*.txt", tmp_path / "a.txt")


def test_urls_go_through_fsspec() -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://wards/notes.jsonl.gz", "wb", compression="gzip") as file:
        file.write(b'{"id": "a", "text": "fever"}\n')
    assert told(read("memory://wards/*.jsonl.gz")) == [("a", "fever")]


def test_a_file_system_that_is_not_installed_names_its_package() -> None:
    with pytest.raises(InputFileError, match=r"files at gs:// cannot be reached .*pip install 'fsspec\[gs\]'"):
        read("gs://bucket/notes.jsonl")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b'{"id": "a", "text": "fever"}\n')

    monkeypatch.setattr(sys, "stdin", Stdin())
    assert told(read("-")) == [("a", "fever")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "a", "text": "x"', "not valid JSON"),
        (b"[1]", "a JSON list, not an object"),
        (b'{"text": "x"}', "no id under 'id', but nothing"),
        (b'{"id": null, "text": "x"}', "no id under 'id', but nothing"),
        (b'{"id": 1.5, "text": "x"}', "no id under 'id', but a float"),
        (b'{"id": "a"}', "no text under 'text'"),
        (b'{"id": "a", "text": 5}', "'text' holds a int, not text"),
        (b'{"id": "a", "text": " \\n"}', "empty text"),
        (b'{"id": "a", "text": "caf\xe9"}', "not UTF-8"),
        (b'{"id": "a", "text": "\\ud800"}', "not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
    ],
    ids=["json", "list", "noid", "nullid", "floatid", "notext", "number", "blank", "latin1", "surrogate", "deep"],
)  # fmt: skip
def test_a_bad_line_is_a_reject_and_the_next_one_is_read(line: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(line + b'\n\n{"id": "z", "text": "good"}\n')
    assert told(read(path)) == [(1, reason), ("z", "good")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a", "1 fields, but the header has 2"),
        (b"a,b,c", "3 fields, but the header has 2"),
        (b"a,caf\xe9", "not UTF-8"),
        (b",x", "no id under 'id', but nothing"),
    ],
)
def test_a_bad_row_of_a_table_is_a_reject(line: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"id,text\n" + line + b"\nz,good\n")
    assert told(read(path)) == [(2, reason), ("z", "good")]


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.txt"])
def test_a_line_of_fifty_megabytes_is_a_reject_and_not_held(name: str, tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b"id,text\n" if name.endswith("csv") else b"")
        file.write(b'{"id": "a", "text": "')
        for _ in range(50):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\nz,good\n' if name.endswith("csv") else b'"}\n{"id": "z", "text": "good"}\n')
    tracemalloc.start()
    items = read(path, kind="jsonl" if name == "t.jsonl" else None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told(items)[0][1] == "longer than 16 MiB"
    if name != "t.txt":
        assert told(items)[1] == ("z", "good")
    assert peak < 45 << 20


def test_a_long_note_below_the_limit_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f'id,text\na,"{"pain " * 400_000}"\n')
    [row] = read(path)
    assert isinstance(row, Row)
    assert len(row.text) == 2_000_000


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "t.jsonl", 50)
    stream = rows.read(sources.find([str(path)]), Columns(), lambda _: None)
    next(stream)
    with path.open("a") as file:
        file.write('{"id": "late", "text": "x"}\n')
    with pytest.raises(InputFileError, match="changed while it was read: run the same command again"):
        list(stream)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_damaged_compression_names_the_line(ending: str, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    raw = write_rows(tmp_path / "plain.jsonl", 20_000).read_bytes()
    squeezed = gzip.compress(raw) if ending == ".gz" else arrow.compress(raw, codec="zstd", asbytes=True)
    path = tmp_path / f"t.jsonl{ending}"
    path.write_bytes(squeezed[: len(squeezed) // 2])
    with pytest.raises(InputFileError, match=r"after line \d+: cannot be read further .*: copy or compress it again"):
        read(path)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (["missing.jsonl"], "there is no file missing.jsonl"),
        (["missing/*.jsonl"], r"there is no file missing/\*.jsonl"),
        ([], "nothing to read: give a list of files"),
    ],
)
def test_nothing_to_read_says_so(inputs: list[str], says: str) -> None:
    with pytest.raises(InputFileError, match=says):
        sources.find(inputs)


def test_unknown_endings_and_formats_name_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "t.odt").write_text("")
    with pytest.raises(InputFileError, match=r"its ending is unknown; expected .jsonl"):
        sources.find([str(tmp_path / "t.odt")])
    with pytest.raises(InputFileError, match="holds no file that can be read"):
        sources.find([str(tmp_path)])
    with pytest.raises(InputFileError, match="format 'yaml' is unknown: choose one of jsonl"):
        sources.find([str(tmp_path)], "yaml")


def test_several_text_columns_are_joined_and_ids_may_be_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("title,text\nFever,is high\n,only\n")
    assert told(read(tmp_path / "t.csv", columns=Columns(("title", "text"), id=None))) == [
        (f"{tmp_path.name}/t.csv:2", "Fever is high"), (f"{tmp_path.name}/t.csv:3", "only"),
    ]  # fmt: skip


def test_kept_columns_have_their_types(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text,n,x,ok,w\na,t,3,1.5,TRUE,icu\nb,t,,,,\nc,t,many,1,0,er\nd,t,1,1,0,er\n")
    columns = Columns(kept={"n": "int", "x": "float", "ok": "bool", "w": "string"})
    found = read(tmp_path / "t.csv", columns=columns)
    assert [item.kept if isinstance(item, Row) else item.reason for item in found] == [
        (3, 1.5, True, "icu"), (None, None, None, ""), "'n' is not of type int", (1, 1.0, False, "er"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ({"vector": "int"}, "the column 'vector' cannot be kept"),
        ({"year": "day"}, "type 'day' is unknown; choose one of string"),
    ],
)
def test_kept_columns_that_cannot_be(kept: dict[str, str], says: str) -> None:
    with pytest.raises(CorpusError, match=says):
        Columns(kept=kept)
