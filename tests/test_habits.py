"""Habits of a command line that hold for every command: completion, JSON, colors, quiet."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medembed.cli import app
from medembed.progress import RowBar

ROOT = Path(__file__).parent.parent
COLOR = re.compile(r"\x1b\[[0-9;]*3[0-7]")


def _run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "medembed", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


@pytest.fixture
def corpus(tiny_folder: Path, tmp_path: Path) -> Path:
    pytest.importorskip("pyarrow")
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "text": "chest pain"}\n')
    done = CliRunner().invoke(
        app, ["index", str(tmp_path / "rows.jsonl"), "-o", str(tmp_path / "corpus"), "-m", str(tiny_folder)]
    )
    assert done.exit_code == 0, done.output
    return tmp_path / "corpus"


@pytest.mark.parametrize(
    "words",
    [["models"], ["corpus", "info", "CORPUS"], ["recipes", "list"], ["recipes", "status", "tiny"]],
    ids=" ".join,
)
def test_commands_that_tell_facts_tell_them_to_programs_too(words: list[str], corpus: Path) -> None:
    done = CliRunner().invoke(app, [*(str(corpus) if word == "CORPUS" else word for word in words), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told
    assert words[0] != "corpus" or (told["rows"], told["encoding"]["dimension"]) == (1, 64)


def _json(*words: str | Path, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_demo_tells_its_hits_to_programs_too(tiny_folder: Path) -> None:
    told = _json("demo", "-m", tiny_folder, "-q", "red itchy eye", "-q", "low blood sugar", "-k", "2")
    assert (told["passages"], [answer["query"] for answer in told["answers"]]) == (
        600,
        ["red itchy eye", "low blood sugar"],
    )
    assert told["seconds"] > 0
    for answer in told["answers"]:
        first, second = answer["hits"]
        assert first["score"] >= second["score"]
        assert {"id", "title", "text", "source"} <= set(first)


def test_measurements_and_what_is_made_of_them_are_told_to_programs_too(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("mteb")
    folder = tmp_path / "mine"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "chest pain"}\n{"_id": "d2", "text": "itchy skin"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "chest pain"}\n{"_id": "q2", "text": "itchy skin"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    results = tmp_path / "results"
    measure: list[str | Path] = ["evaluate", f"small={tiny_folder}", "bm25", "-t", folder, "-o", results]
    [ours, baseline] = _json(*measure)
    assert (ours["model"], ours["task"], ours["score"], ours["error"]) == ("local/small", "mine", 1.0, None)
    assert Path(baseline["path"]).is_file()
    assert [outcome["reused"] for outcome in (ours, baseline, *_json(*measure))] == [False, False, True, True]
    assert _json("evaluate", "bm25", "-t", "NFCorpus", "-o", tmp_path / "none", code=1)[0]["error"]

    assert _json("compare", results)["pairs"][0]["verdict"] == "no difference shown"
    both = CliRunner().invoke(app, ["compare", str(results), "--json", "--format", "html"])
    assert "--format: --json says the form" in str(both.exception)

    pages = tmp_path / "pages"
    told = _json("leaderboard", "build", results, "-o", pages, "--submit", tmp_path / "for-mteb")
    assert [Path(page).name for page in told["pages"]] == ["leaderboard.html", "leaderboard.md"]
    assert Path(told["submission"]["folder"]).is_dir()


@pytest.mark.slow  # it loads sentence-transformers where that is installed
def test_doctor_tells_its_findings_to_programs_too(tiny_folder: Path) -> None:
    told = json.loads(_run("doctor", "-m", str(tiny_folder), "--json").stdout)
    assert told["faithful"] is True
    assert told["speed"]["passages"] > 0
    assert told["speed"]["operations"] > 0
    assert told["speed"]["limit"] > 0


def test_no_color_is_obeyed() -> None:
    """And colors are there otherwise, or this could not fail."""
    assert COLOR.search(_run("--help", FORCE_COLOR="1").stdout)
    assert not COLOR.search(_run("--help", FORCE_COLOR="1", NO_COLOR="1").stdout)


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_a_shell_completes_commands_and_options() -> None:
    asked = {"_MEDEMBED_COMPLETE": "complete_bash"}
    command = {"COMP_WORDS": "medembed se", "COMP_CWORD": "1"}
    option = {"COMP_WORDS": "medembed encode --quie", "COMP_CWORD": "2"}
    program = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'medembed'; from medembed.cli import app; app(prog_name='medembed')",
    ]
    for words, completed in ((command, "search"), (option, "--quiet")):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **asked, **words}
        done = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=120, check=False)
        assert completed in done.stdout.split(), done


@pytest.mark.parametrize("words", [["encode", "-o", "out.npy"], ["index", "-o", "out"]], ids=lambda words: words[0])
def test_quiet_shows_no_progress(
    words: list[str], tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    shown: list[bool | None] = []

    @contextmanager
    def bar(n_bytes: int | None, show: bool | None = None) -> Iterator[RowBar]:
        shown.append(show)
        yield RowBar(None, n_bytes)

    for name in ("encode", "index"):
        monkeypatch.setattr(importlib.import_module(f"medembed.cli.{name}"), "row_bar", bar)
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"id": "a", "text": "chest pain"}\n')
    for more in ([], ["--quiet"]):
        done = CliRunner().invoke(
            app, [words[0], "rows.jsonl", *words[1:-1], f"{len(more)}{words[-1]}", "-m", str(tiny_folder), *more]
        )
        assert done.exit_code == 0, done.output
    assert shown == [None, False]
