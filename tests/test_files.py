"""Files of texts in, files of vectors out."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from medembed.errors import InputFileError
from medembed.rows import files

TEXTS = ["chest pain", "fièvre", "", 'quoted "word", comma']


def write(path: Path, content: str, *, bom: bool = False) -> Path:
    raw = (b"\xef\xbb\xbf" if bom else b"") + content.encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def json_lines(texts: list[str]) -> str:
    return "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts))


@pytest.mark.parametrize("name", ["t.txt", "t.txt.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_lines_of_text(tmp_path: Path, name: str, end: str) -> None:
    path = write(tmp_path / name, end.join(TEXTS) + end, bom=True)
    assert list(files.read_texts(path, "text")) == TEXTS


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    assert list(files.read_texts(write(tmp_path / name, json_lines(TEXTS) + "\n"), "text")) == TEXTS


@pytest.mark.parametrize(("name", "sep"), [("t.csv", ","), ("t.tsv", "\t"), ("t.tsv.gz", "\t")])
def test_tables(tmp_path: Path, name: str, sep: str) -> None:
    path = write(tmp_path / name, f'id{sep}note\n1{sep}"a{sep}b\nc"\n2{sep}{"long " * 40_000}\n', bom=True)
    first, second = files.read_texts(path, "note")
    assert first == f"a{sep}b\nc"
    assert len(second) == 200_000


def test_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": TEXTS, "n": [1, 2, 3, 4]}), tmp_path / "t.parquet")
    assert list(files.read_texts(tmp_path / "t.parquet", "text")) == TEXTS
    with pytest.raises(
        InputFileError, match=r"no column 'note', but \['text', 'n'\]: name the column with --text-column"
    ):
        list(files.read_texts(tmp_path / "t.parquet", "note"))
    with pytest.raises(InputFileError, match="row 0: 'n' holds a int, not text"):
        list(files.read_texts(tmp_path / "t.parquet", "n"))
    with pytest.raises(InputFileError, match="is not a Parquet file"):
        list(files.read_texts(write(tmp_path / "u.parquet", "no"), "text"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.jsonl", '{"text": "a"}\n{"text": \n', "line 2: not valid JSON"),
        (
            "t.jsonl",
            '{"text": "a"}\n{"note": "b"}\n',
            r"line 2: no text under 'text', but the fields \['note'\]: name the field",
        ),
        ("t.jsonl", '["a"]\n', "line 1: a list, not an object with the field 'text'"),
        ("t.jsonl", '{"text": null}\n', "line 1: 'text' holds a NoneType, not text: fill or drop"),
        ("t.csv", "id,note\n1,a\n", r"no column 'text', but \['id', 'note'\]"),
        ("t.csv", "id,text\n1\n", "line 2: the row ends before column 'text'"),
        ("t.csv", "", "no column 'text', but None"),
        ("t.docx", "", "the ending '.docx' is unknown; expected one of .txt, .jsonl"),
    ],
    ids=["json", "field", "list", "null", "column", "short", "empty", "ending"],
)
def test_wrong_files_name_the_line(tmp_path: Path, name: str, content: str, says: str) -> None:
    with pytest.raises(InputFileError, match=says):
        list(files.read_texts(write(tmp_path / name, content), "text"))


def test_bytes_that_are_not_utf8_name_the_place(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"good\n" * 3000 + b"\xff\xfe\n")
    with pytest.raises(InputFileError, match=r"after line \d+: UnicodeDecodeError; expected UTF-8"):
        list(files.read_texts(tmp_path / "t.txt", "text"))
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(b"word\n" * 9000)[:-30])
    with pytest.raises(InputFileError, match="EOFError"):
        list(files.read_texts(tmp_path / "t.txt.gz", "text"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"there is no file .*nothing\.txt"):
        files.read_texts(tmp_path / "nothing.txt", "text")


ROWS = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


def written(path: Path) -> Path:
    with files.VectorWriter(path, 5) as writer:
        writer.write(ROWS[:3])
        writer.write(ROWS[3:])
    return path


def test_npy_reads_back_exactly(tmp_path: Path) -> None:
    path = written(tmp_path / "v.npy")
    np.testing.assert_array_equal(np.load(path), ROWS)
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), ROWS)


def test_npy_of_nothing(tmp_path: Path) -> None:
    with files.VectorWriter(tmp_path / "v.npy", 5):
        pass
    assert np.load(tmp_path / "v.npy").shape == (0, 5)


def test_json_lines_read_back_exactly(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in written(tmp_path / "v.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == list(range(7))
    np.testing.assert_array_equal(np.array([row["vector"] for row in rows], dtype=np.float32), ROWS)


def test_parquet_reads_back_exactly(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(written(tmp_path / "v.parquet"))
    assert table["row"].to_pylist() == list(range(7))
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), dtype=np.float32), ROWS)


@pytest.mark.parametrize("ending", ["npy", "jsonl", "parquet"])
def test_an_error_leaves_neither_file_nor_half_of_one(tmp_path: Path, ending: str) -> None:
    def fail() -> None:
        with files.VectorWriter(tmp_path / f"v.{ending}", 5) as writer:
            writer.write(ROWS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("v.csv", "the ending '.csv' is unknown"),
        ("no/v.npy", "there is no folder"),
        ("folder.npy", "is a folder: name a file"),
    ],
)
def test_wrong_outputs_are_named(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(InputFileError, match=says):
        files.VectorWriter(tmp_path / name, 5)
