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
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

from medembed.recipes.load import load_recipe
from medembed.recipes.schema import Recipe
from tests.docs import blocks, named

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
WRITTEN = sorted(path for folder in ("start", "guides", "concepts") for path in (ROOT / "docs" / folder).glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "index.md", *WRITTEN]
# run elsewhere, or by hand: cards of recipes, the adapters' own pages
OTHER_PAGES = [
    ROOT / "tests" / "benchmarks" / "README.md",
    *sorted([*ROOT.glob("recipes/**/README.md"), *ROOT.glob("integrations/*/README.md")]),
]
# page → libraries its blocks import, which this environment may lack
NEEDS = {
    "rag-langchain.md": "langchain_core",
    "rag-llamaindex.md": "llama_index",
    "rag-haystack.md": "haystack",
    "rag-stores.md": "pgserver",
    "daft.md": "daft_medembed",
}
# evaluation, training, and what embeds the whole demonstration corpus
SLOW = {"devices.md", "evaluate.md", "install.md", "offline.md", "retrain.md"}
BEIR = ROOT / "recipes" / "tiny" / "data" / "development"


def _parameter(page: Path) -> Any:
    marks = [pytest.mark.slow] if page.name in SLOW else []
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks)


@pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR is not set")  # by pgserver's import, where nobody is logged in
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
        if block.not_run:
            continue
        if block.language == "python":
            printed = _python(block, where, namespace)
            assert block.any_output or printed == block.printed, where
        elif block.language == "bash":
            _bash(block, where)


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in [*PAGES, *OTHER_PAGES]]
)
def test_blocks_that_are_not_run_name_what_there_is(page: Path) -> None:
    for block in blocks.find(page):
        if block.not_run or page in OTHER_PAGES or block.language not in ("python", "bash"):
            _check_without_running(block, f"{page.relative_to(ROOT)}:{block.line}")


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
        shown = tomllib.loads(block.code)
        if "extends" in shown:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "recipe.toml")
                path.write_text(block.code)
                load_recipe(path)
        else:
            Recipe.model_validate(given | shown)
    elif block.language == "json":
        json.loads(block.code)
    elif block.language == "bash":
        for line in block.code.replace("\\\n", " ").replace(" && ", "\n").splitlines():
            if words := shlex.split(line, comments=True):
                named.check(words, where)


def test_a_block_that_prints_something_else_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprints = 1\nprint(prints)  # → 2\n```\n")
    (block,) = blocks.find(page)
    assert (block.printed, _python(block, "page.md", {})) == (["2"], ["1"])


def test_an_unknown_option_in_a_block_that_is_not_run_is_found_out() -> None:
    with pytest.raises(Exception, match="--no-such-option"):
        named.check(["medembed", "demo", "--no-such-option"], "page.md:1")


def test_marks_before_a_block_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: needs a GPU -->\n```bash\nfalse\n```\n\n```python\n1\n```\n\n<!-- prints -->\n```text\nx\n```\n"
    )
    first, second = blocks.find(page)
    assert (first.not_run, second.printed) == ("needs a GPU", ["x"])
