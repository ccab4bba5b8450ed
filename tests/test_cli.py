"""The command line, run as a user runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medembed import MedEmbed, __version__
from medembed.cli import main
from tests import tiny_bert


def medembed(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120", "PYTHONPATH": str(Path(__file__).parent.parent), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "medembed", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env=environment,
    )


Said = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """What the program says in this process. A table is a minute of imports otherwise."""

    def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr(sys, "argv", ["medembed", *arguments])
        if cwd is not None:
            monkeypatch.chdir(cwd)
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), told.out, told.err)

    return run


def test_version() -> None:
    assert medembed("--version").stdout.strip() == f"medembed {__version__}"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["demo"],
        ["encode"],
        ["index"],
        ["search"],
        ["models"],
        ["models", "download"],
        ["models", "export"],
        ["assess"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_help_shows_an_example(said: Said, command: list[str]) -> None:
    ran = said(*command, "--help")
    assert ran.returncode == 0
    assert "medembed" in ran.stdout
    assert not command or "Example" in ran.stdout


def test_demo_refuses_a_blank_question_before_it_embeds_anything() -> None:
    ran = medembed("demo", "-q", " ")
    assert ran.returncode == 1
    assert "--query is blank" in ran.stderr
    assert "embedded" not in ran.stdout


def test_encode_writes_the_vectors_the_class_gives(tmp_path: Path) -> None:
    texts = ["chest pain", "", "fever"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"note": text}) + "\n" for text in texts))
    folder = tiny_bert.make(tmp_path / "model", prompts={"query": "q: ", "document": ""})
    ran = medembed(
        "encode",
        "in.jsonl",
        "-o",
        "out.npy",
        "--text-column",
        "note",
        "--model",
        str(folder),
        "--kind",
        "query",
        "--threads",
        "1",
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert "3 vectors of 64 dimensions" in ran.stderr
    assert "1 texts are blank, the first is row 1" in ran.stderr
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"), MedEmbed(folder, threads=1).encode_query(texts), atol=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["encode", "missing.txt", "-o", "v.npy"], 1, "there is no file missing.txt"),
        (["encode", "empty", "-o", "v.npy"], 1, "empty holds no file that can be read: expected .jsonl"),
        (["encode", "in.txt", "-o", "v.csv"], 1, "the ending '.csv' is unknown"),
        (["encode", "in.txt"], 2, "Missing option '--output'"),
        (["encode", "in.txt", "-o", "v.npy", "--model", "medium"], 1, "no model 'medium'"),
        (["encode", "in.txt", "-o", "v.npy", "--model", "small"], 1, "is not on this disk"),
        (["encode", "in.txt", "-o", "v.npy", "--precision", "fp16"], 1, "'fp16' is for GPUs"),
        (["encode", "in.txt", "-o", "v.npy", "--precision", "int7"], 2, "int7"),
        (["encode", "in.txt", "-o", "v.npy", "--overlong", "error"], 1, "in.txt, line 1: the text has"),
        (["recipes", "status", "tiny", "--dry-run"], 2, "No such option: --dry-run"),
        (["sing"], 2, "No such command 'sing'"),
    ],
    ids=[
        "missing", "folder", "ending", "option", "model", "uncached", "precision", "choice", "overlong", "no-effect", "command"
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_an_exit_code(
    said: Said, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "in.txt").write_text("fever " * 600)
    (tmp_path / "empty").mkdir()
    ran = said(*arguments, cwd=tmp_path)
    assert ran.returncode == code, ran.stderr
    assert says in " ".join(ran.stderr.replace("│", " ").split())
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "v.npy").exists()


@pytest.mark.parametrize(("words", "code"), [(["encode", "missing.txt", "-o", "v.npy"], 1), (["sing"], 2)])
def test_a_mistake_ends_the_process_with_its_code_and_without_a_traceback(words: list[str], code: int) -> None:
    ran = medembed(*words)
    assert (ran.returncode, "Traceback" in ran.stderr, ran.stderr == "") == (code, False, False)


def test_encoding_a_file_without_any_text_says_so(said: Said, tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("id,text\n")
    ran = said("encode", "notes.csv", "-o", "v.npy", cwd=tmp_path)
    assert (ran.returncode, np.load(tmp_path / "v.npy").shape) == (0, (0, 384))
    assert "notes.csv holds no text" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["recipes", "--help"], "download"),
        (["recipes", "run", "--help"], "Last stage to build: notes, pairs"),
        (["recipes", "copy", "-h"], "must not exist yet"),
    ],
    ids=" ".join,
)
def test_help_of_the_recipes_is_that_of_their_own_parser(said: Said, arguments: list[str], says: str) -> None:
    ran = said(*arguments)
    assert ran.returncode == 0
    assert says in " ".join(ran.stdout.split())


def test_models_lists_what_there_is(said: Said) -> None:
    ran = said("models")
    for part in (
        "mini",
        "small",
        "abhinand/MedEmbed-large-v0.1",
        "40a5850d046cfdb56154e332b4d7099b63e8d50e",
        "apache-2.0",
    ):
        assert part in ran.stdout


def test_export_and_load_again(said: Said, tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "model")
    ran = said("models", "export", str(folder), str(tmp_path / "out"))
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()
