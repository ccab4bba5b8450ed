"""What commands do with files: nothing is lost, and nothing is left out without a word."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medembed import EmbeddedCorpus
from medembed.errors import InputFileError, OverlongTextError, SettingError
from tests.rows.conftest import Run

ROWS = '{"id": "a", "text": "chest pain"}\n{"id": "b", "text": "fever"}\n'


def ids_of(folder: str) -> list[str]:
    return list(EmbeddedCorpus.open(folder).ids)


# --------------------------------------------------------------------------------------------- outputs and inputs


def linked(path: Path) -> str:
    path.with_name("link.jsonl").symlink_to(path)
    return "link.jsonl"


def hard_linked(path: Path) -> str:
    path.with_name("hard.jsonl").hardlink_to(path)
    return "hard.jsonl"


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]], ids=["plain", "overwrite"])
@pytest.mark.parametrize(
    "name", [lambda path: path.name, lambda path: f"./{path.name}", str, linked, hard_linked],
    ids=["same", "dot", "absolute", "link", "hard link"],
)  # fmt: skip
def test_vectors_are_never_written_onto_the_texts(
    run: Run, tmp_path: Path, name: Callable[[Path], str], overwrite: list[str]
) -> None:
    (tmp_path / "n.jsonl").write_text(ROWS)
    ran = run("encode", "n.jsonl", "-o", name(tmp_path / "n.jsonl"), *overwrite)
    assert isinstance(ran.exception, SettingError)
    assert "is an input of this command" in str(ran.exception)
    assert (tmp_path / "n.jsonl").read_text() == ROWS


@pytest.mark.parametrize("pattern", ["*.jsonl", "."])
def test_an_output_among_the_inputs_of_a_glob_or_folder_is_passed_over(run: Run, tmp_path: Path, pattern: str) -> None:
    (tmp_path / "n.jsonl").write_text(ROWS)
    assert run("encode", pattern, "-o", "v.jsonl").exit_code == 0
    assert run("encode", pattern, "-o", "v.jsonl", "--overwrite").exit_code == 0
    assert len((tmp_path / "v.jsonl").read_text().splitlines()) == 2


def test_what_exists_is_replaced_only_when_asked_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "n.jsonl").write_text(ROWS)
    (tmp_path / "v.npy").write_text("precious")
    ran = run("encode", "n.jsonl", "-o", "v.npy")
    assert "v.npy exists: name another place, or replace it with --overwrite" in str(ran.exception)
    assert (tmp_path / "v.npy").read_text() == "precious"
    assert run("encode", "n.jsonl", "-o", "v.npy", "--overwrite").exit_code == 0
    assert np.load(tmp_path / "v.npy").shape[0] == 2


def test_ids_beside_vectors_are_held_against_what_exists_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "n.jsonl").write_text(ROWS)
    (tmp_path / "v.ids.json").write_text("precious")
    ran = run("encode", "n.jsonl", "-o", "v.npy", "--id-column", "id")
    assert "v.ids.json exists" in str(ran.exception)


def test_a_corpus_in_its_own_input_folder_is_no_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "n.jsonl").write_text(ROWS)
    assert run("index", ".", "-o", "corpus").exit_code == 0
    (tmp_path / "n.jsonl").write_text(ROWS.splitlines()[0] + "\n")
    assert run("index", ".", "-o", "corpus", "--overwrite").exit_code == 0
    assert ids_of("corpus") == ["a"]
    assert run("index", ".", "-o", "other").exit_code == 0
    assert ids_of("other") == ["a"]


@pytest.mark.parametrize(
    "inputs",
    [["corpus"], ["corpus/shards"], ["corpus/rejects.jsonl"], ["corpus/shards/*.arrow"], ["n.jsonl", "corpus"]],
)
@pytest.mark.parametrize("command", ["encode", "index"])
def test_a_store_is_no_input(run: Run, tmp_path: Path, command: str, inputs: list[str]) -> None:
    (tmp_path / "n.jsonl").write_text(ROWS + '{"id": "c"}\n')
    assert run("index", "n.jsonl", "-o", "corpus").exit_code == 3
    ran = run(command, *inputs, "-o", "out.npy")
    assert isinstance(ran.exception, InputFileError)
    assert "is or belongs to a corpus or an index of medembed" in str(ran.exception)


@pytest.mark.parametrize("inputs", ["d", "d/n.jsonl"])
def test_a_corpus_is_not_written_into_the_folder_of_its_texts(run: Run, tmp_path: Path, inputs: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "n.jsonl").write_text(ROWS)
    ran = run("index", inputs, "-o", "d", "--overwrite")
    assert "is what this command writes, or lies in it" in str(ran.exception)
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["n.jsonl"]


# ------------------------------------------------------------------------------------------------------- folders


def test_endings_count_in_any_case_and_what_is_left_out_is_counted(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("A.TXT", "b.txt"):
        (folder / name).write_text(f"text of {name}")
    (folder / "C.CSV").write_text("id,text\nc,rash\n")
    for name in ("d.yaml", "x.xls", "scan.TIF", "scan2.tif", "README", ".hidden.txt"):
        (folder / name).write_text("?")
    ran = run("index", "notes", "-o", "corpus")
    assert ran.exit_code == 3, ran.output
    assert "files that were not read: 2 .tif, 1 .xls, 1 .yaml, 1 no ending; expected .jsonl" in ran.output
    assert "1 hidden files were not read" in ran.output
    assert ids_of("corpus") == ["notes/A.TXT", "c", "notes/b.txt"]
    assert run("encode", "notes", "-o", "v.npy").exit_code == 3


def test_files_of_one_name_in_two_folders_are_two_documents(run: Run, tmp_path: Path) -> None:
    for ward in ("a/ward1", "a/ward2", "b/ward1"):
        (tmp_path / ward).mkdir(parents=True)
        (tmp_path / ward / "note.txt").write_text(f"seen on {ward}")
    assert run("index", "a/ward1/note.txt", "a/ward2/note.txt", "-o", "one").exit_code == 0
    assert ids_of("one") == ["ward1/note.txt", "ward2/note.txt"]
    assert run("index", "a/ward1", "-o", "two").exit_code == 0
    assert run("index", "a/ward2", "-o", "two", "--append").exit_code == 0
    assert ids_of("two") == ["ward1/note.txt", "ward2/note.txt"]
    assert run("index", "a/ward1", "b/ward1", "-o", "three").exit_code == 0
    assert ids_of("three") == ["a/ward1/note.txt", "b/ward1/note.txt"]
    assert run("index", "*/ward1/*.txt", "-o", "four").exit_code == 0
    assert ids_of("four") == ["a/ward1/note.txt", "b/ward1/note.txt"]


# ---------------------------------------------------------------------------------------------------- ids and encode


def test_ids_stand_with_their_vectors(run: Run, tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("note,key\nfever,17\n,18\n")
    for name in ("v.jsonl", "v.npy", "v.parquet"):
        ran = run("encode", "n.csv", "-o", name, "--text-column", "note", "--id-column", "key")
        assert "1 texts are blank, the first is row 1" in ran.output
    lines = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert [(line["row"], line["id"]) for line in lines] == [(0, "17"), (1, "18")]
    assert json.loads((tmp_path / "v.ids.json").read_text()) == ["17", "18"]
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(tmp_path / "v.parquet")["id"].to_pylist() == ["17", "18"]
    np.testing.assert_allclose(np.load(tmp_path / "v.npy")[0], lines[0]["vector"], atol=1e-6)


def test_standard_input_is_encoded(run: Run, tmp_path: Path) -> None:
    assert run("encode", "-", "-o", "v.jsonl", "--id-column", "id", stdin=ROWS).exit_code == 0
    assert run("encode", "-", "-o", "w.npy", "--format", "lines", stdin="one\n\nthree\n").exit_code == 0
    assert [json.loads(line)["id"] for line in (tmp_path / "v.jsonl").read_text().splitlines()] == ["a", "b"]
    assert np.load(tmp_path / "w.npy").shape[0] == 3


def test_several_files_are_numbered_through(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.jsonl").write_text(ROWS)
    assert run("encode", "a.txt", "b.jsonl", "-o", "v.jsonl", "--number-rows").exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    base = tmp_path.name
    assert [line["id"] for line in lines] == [
        f"{base}/a.txt:1",
        f"{base}/a.txt:2",
        f"{base}/b.jsonl:1",
        f"{base}/b.jsonl:2",
    ]


@pytest.mark.parametrize(
    "words",
    [
        "encode n.jsonl -o out.npy",
        "index n.jsonl -o out",
        "index n.jsonl -o out --workers 2",
        "index n.jsonl -o out --late-interaction mini",
    ],
)
def test_a_text_that_is_too_long_is_named_by_file_and_line(run: Run, tmp_path: Path, words: str) -> None:
    """Also in the second shard, and where another process, or the codec of an index, reads the text first."""
    rows = [json.dumps({"id": str(i), "text": "fever " * (1 if i != 70 else 500)}) for i in range(80)]
    (tmp_path / "n.jsonl").write_text("\n".join(rows))
    shards = ["--batch-rows", "64"] if words.startswith("index") else []
    ran = run(*words.split(), "--overlong", "error", *shards)
    assert isinstance(ran.exception, OverlongTextError)
    assert re.search(r"n.jsonl, line 71: the text has \d+ tokens", str(ran.exception))
