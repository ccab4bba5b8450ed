"""Two rules about all of the package: only storage/ moves and removes, and only one module speaks to the terminal."""

import ast
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.table import Table
from typer.testing import CliRunner

from medembed import EmbeddedCorpus, MedEmbed
from medembed.cli import app
from medembed.console import Terminal
from medembed.terminal import plain, say

PACKAGE = Path(__file__).parents[2] / "medembed"
MOVES = {"rmtree", "unlink", "rename", "renames", "rmdir", "move", "mkdtemp", "mkstemp", "NamedTemporaryFile"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the package, with the module it stands in."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path.relative_to(PACKAGE).as_posix(), node


def _moves(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    # the replace of strings and of data classes takes more than one argument
    is_path_replace = call.func.attr == "replace" and len(call.args) == 1 and not call.keywords
    is_os_remove = call.func.attr == "remove" and isinstance(call.func.value, ast.Name) and call.func.value.id == "os"
    return call.func.attr in MOVES or is_path_replace or is_os_remove


def test_only_storage_moves_and_removes_files() -> None:
    found = {module for module, call in calls() if _moves(call) and not module.startswith("storage/")}
    assert found == set(), "use medembed.storage.durable and medembed.storage.paths"


def _speaks(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in ("Console", "echo", "secho")
    return isinstance(call.func, ast.Name) and call.func.id in ("Console", "echo", "secho", "print")


def test_only_one_module_speaks_to_the_terminal() -> None:
    found = {module for module, call in calls() if _speaks(call)}
    assert found == {"terminal.py"}, "use say() or Terminal of medembed.terminal"


STEERING = ["\x1b[2J", "\x1b]0;title\x07", "\x9b2J", "\r", "\b", "\x7f", "\u202e", "\u2066", "\u2028", "\x00", "\udc80"]


def _said(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    say(text)
    return capsys.readouterr().out


def _printed(text: str, _: pytest.CaptureFixture[str]) -> str:
    terminal = Terminal(file=io.StringIO(), color_system=None, width=80)
    table = Table("column", title=text)
    table.add_row(text)
    terminal.print(table)
    terminal.print(text, markup=False)
    assert isinstance(terminal.file, io.StringIO)
    return terminal.file.getvalue()


@pytest.mark.parametrize("output", [_said, _printed], ids=["say", "Terminal"])
@pytest.mark.parametrize("text", STEERING, ids=ascii)
def test_nothing_in_a_text_steers_the_terminal(
    text: str, output: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = output(f"gout {text} β", capsys)
    assert text not in shown
    assert "gout" in shown
    assert f"\\u{ord(text[0]):04x}" in shown


def test_json_stays_the_same_text() -> None:
    value = {"text": "gout \x9b2J \x7f \u202e β"}
    assert json.loads(plain(json.dumps(value, ensure_ascii=False))) == value


def test_a_stream_without_some_letters_shows_them_as_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", stream)
    say("β ≥ 3 é")
    Terminal(file=stream, color_system=None).print("β ≥ 3 é")
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    assert stream.buffer.getvalue().decode("cp1252").split() == ["\\u03b2", "\\u2265", "3", "é"] * 2


RARE = "β ≥ 3 é 🩺 in the blood"


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rare") / "corpus"
    with MedEmbed() as model:
        EmbeddedCorpus.build(folder, [{"id": "a", "text": RARE}], model).close()
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("more", [[], ["--json"], ["--explain"]], ids=["table", "json", "explain"])
def test_hits_are_shown_whole_in_any_encoding(more: list[str], encoding: str, rare: Path) -> None:
    command = [sys.executable, "-m", "medembed", "search", str(rare), "β blood", *more]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "120"}
    shown = subprocess.run(command, env=environment, capture_output=True, check=True).stdout.decode(encoding)
    assert "\\u03b2 \\u2265 3" in shown
    assert "\\ud83e\\ude7a" in shown
    if "--json" in more:
        assert json.loads(shown)["hits"][0]["text"] == RARE


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["table", "json"])
def test_hits_of_a_hostile_corpus_are_shown_without_escapes(more: list[str], tmp_path: Path, tiny: MedEmbed) -> None:
    rows = [{"id": f"a{steering}", "text": f"pain {steering} in the chest"} for steering in STEERING[:3]]
    EmbeddedCorpus.build(tmp_path / "corpus", rows, tiny).close()
    ran = CliRunner().invoke(app, ["search", str(tmp_path / "corpus"), "pain", *more])
    assert ran.exit_code == 0, ran.output
    assert "pain" in ran.output
    assert not {"\x1b", "\x07", "\x9b"} & set(ran.output)
