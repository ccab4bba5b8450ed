"""What the README and the pages of the docs show is what happens: every block is run, its output compared."""

import contextlib
import importlib.util
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from medembed.cli import app
from medembed.recipes.schema import Recipe
from tests.docs import blocks

ROOT = Path(__file__).parents[2]
WRITTEN = sorted(path for folder in ("start", "guides", "concepts") for path in (ROOT / "docs" / folder).glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "index.md", *WRITTEN]
# page → libraries its blocks import, which this environment may lack
NEEDS = {"rag-langchain.md": "langchain_core", "rag-llamaindex.md": "llama_index"}
# evaluation, training, and what embeds the whole demonstration corpus
SLOW = {"devices.md", "evaluate.md", "install.md", "offline.md", "retrain.md"}
BEIR = ROOT / "recipes" / "tiny" / "data" / "development"


def _parameter(page: Path) -> Any:
    marks = [pytest.mark.slow] if page.name in SLOW else []
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks)


@pytest.mark.parametrize("page", [_parameter(page) for page in PAGES])
def test_blocks_run_and_print_what_the_page_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = NEEDS.get(page.name)
    if needed and not importlib.util.find_spec(needed):
        pytest.skip(f"{needed} lives in another environment: make test-adapters")
    monkeypatch.chdir(tmp_path)
    if page.name == "evaluate.md":
        shutil.copytree(BEIR, "my-folder")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks.find(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.not_run or block.language not in ("python", "bash"):
            _check_without_running(block, where)
        elif block.language == "python":
            printed = _python(block, where, namespace)
            assert block.any_output or printed == block.printed, where
        else:
            _bash(block, where)


def _python(block: blocks.Block, where: str, namespace: dict[str, Any]) -> list[str]:
    """The lines it prints; its line numbers in a traceback are those of the page."""
    code = compile("\n" * (block.line - 1) + block.code, where, "exec")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, namespace)
    return out.getvalue().splitlines()


def _bash(block: blocks.Block, where: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        ["bash", "-e", "-c", block.code], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{where}\n{done.stdout}\n{done.stderr}"


def _check_without_running(block: blocks.Block, where: str) -> None:
    if block.language == "python":
        compile(block.code, where, "exec")
    elif block.language == "toml":
        given: dict[str, Any] = {"name": "shown", "pairs": {"sources": {"p": {"format": "jsonl", "path": "p"}}}}
        Recipe.model_validate(given | tomllib.loads(block.code))
    elif block.language == "json":
        json.loads(block.code)
    elif block.language == "bash":
        for line in block.code.replace("\\\n", " ").splitlines():
            _check_command(shlex.split(line, comments=True), where)


def _check_command(words: list[str], where: str) -> None:
    """A ``medembed`` command is parsed, not run: an option that no longer exists is found out."""
    if words[:1] != ["medembed"] or words[1:2] == ["recipes"]:
        return
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        assert set(rest[:1]) & set(command.commands), f"{where}: no command {words}"
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(" ".join(words), rest)


def test_a_block_that_prints_something_else_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprints = 1\nprint(prints)  # → 2\n```\n")
    (block,) = blocks.find(page)
    assert (block.printed, _python(block, "page.md", {})) == (["2"], ["1"])


def test_an_unknown_option_in_a_block_that_is_not_run_is_found_out() -> None:
    with pytest.raises(Exception, match="--no-such-option"):
        _check_command(["medembed", "demo", "--no-such-option"], "page.md:1")


def test_marks_before_a_block_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: needs a GPU -->\n```bash\nfalse\n```\n\n```python\n1\n```\n\n<!-- prints -->\n```text\nx\n```\n"
    )
    first, second = blocks.find(page)
    assert (first.not_run, second.printed) == ("needs a GPU", ["x"])
