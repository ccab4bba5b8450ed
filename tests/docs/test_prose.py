"""What pages name in running text is there: commands with their options, files of the repository."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from medembed import MODELS
from medembed.errors import MedEmbedError
from tests.docs import blocks, named

ROOT = named.ROOT
FOLDERS = (
    "docs/start",
    "docs/guides",
    "docs/concepts",
    "docs/decisions",
    "docs/reference",
    "recipes/*",
    "integrations/*",
)
GENERATED = {"commands.md", "settings.md"}  # by docs.website, from the code itself
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/benchmarks/README.md")),
    *(ROOT / "docs" / name for name in ("index.md", "try.md", "experiments.md", "measurements/README.md")),
    *(ROOT / "recipes" / "README.md", ROOT / "medembed" / "weights" / "mini" / "README.md"),
    *sorted(page for folder in FOLDERS for page in ROOT.glob(f"{folder}/*.md") if page.name not in GENERATED),
]
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def _spans(text: str) -> list[str]:
    return SPAN.findall(blocks.FENCE.sub("", text))


def _lost(text: str, where: str) -> list[str]:
    """Names in spans of a page that mean nothing here."""
    lost = [span for span in _spans(text) if named.missing_file(span)]
    for span in _spans(text):
        try:
            words = shlex.split(span)
        except ValueError:  # a span with one quotation mark is no command
            continue
        try:
            named.check(words, where, whole=False)
        except (AssertionError, MedEmbedError) as error:
            lost.append(str(error))
    return lost


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_commands_and_files_named_in_prose_are_there(page: Path) -> None:
    assert _lost(page.read_text(encoding="utf-8"), page.name) == []


@pytest.mark.parametrize(
    "span",
    [
        "medembed sing",
        "medembed encode --sing",
        "make song",
        "python -m medembed.song",
        "python -m medembed.recipes.train --recipe song",
        "python -m medembed.recipes.train train.songs=2",
        "tests/test_song.py",
    ],
)
def test_what_is_not_there_is_found_out(span: str) -> None:
    assert _lost(f"Say `{span}`.", "page")


def test_the_architecture_page_shows_the_layers_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    checked = [sorted(set(re.findall(r"\w+", layer)) - {"__main__"}) for layer in layers]
    drawn = (ROOT / "docs/concepts/architecture.md").read_text().split("```text\n")[1].split("```")[0]
    # a layer too long for its line goes on in the next, which begins with a bar
    names = re.sub(r"\n  \|", " |", "\n".join(re.split(r"(?<=\w)  +", line)[0] for line in drawn.splitlines()))
    assert [sorted(re.findall(r"\w+", line)) for line in names.splitlines()] == checked


def test_every_place_names_the_same_step_before_the_bundled_model() -> None:
    step = tomllib.loads((ROOT / "recipes/mini/recipe.toml").read_text())["base"]["model"].removeprefix("recipe:")
    assert f"mini/1 to {step}" in MODELS["mini"].note
    for page in ("recipes/README.md", "medembed/weights/mini/README.md"):
        assert f"`mini/1` to `{step}`" in (ROOT / page).read_text(encoding="utf-8"), page
