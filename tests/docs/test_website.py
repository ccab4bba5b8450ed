"""Generated pages hold what their sources hold; the README's rows are those of the committed results."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from docs.website import (
    bars,
    benchmarks,
    capacity,
    commands,
    fidelity,
    lines,
    models,
    picture,
    quality,
    recipes,
    settings,
    texts,
    training,
    tryout,
)
from medembed import MedEmbed
from medembed.checkpoints.checkpoint import fetch
from medembed.recipes import onnx_export
from medembed.recipes.catalog import Entry, parts, shipped
from medembed.recipes.schema import Recipe
from medembed.runtime.tokenizer import Tokenizer
from tests import tiny_bert


@pytest.fixture(scope="module")
def command_page() -> str:
    return commands.page()


def test_readme_shows_the_committed_results(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(quality.README.read_text(encoding="utf-8"), encoding="utf-8")
    quality.rewrite(copy)
    assert copy.read_text() == quality.README.read_text(), "run: python -m docs.website --readme"


def test_readme_has_at_most_four_rows_of_quality_with_the_mean_first() -> None:
    rows = [line.split(" | ") for line in quality.readme_table().splitlines()]
    assert 2 < len(rows) <= 2 + quality.README_ROWS
    assert rows[0][1] == "mean"
    means = [float(row[1]) for row in rows[2:]]
    assert means == sorted(means, reverse=True)


def test_readme_compares_mini_with_its_base_and_bm25() -> None:
    """Models that lack a set are left out: those three have to have all of them."""
    labels = [row.split(" | ")[0] for row in quality.readme_table().splitlines()[2:]]
    assert {"| mini", "| baseline-bm25s"} <= set(labels)
    assert any(label.startswith("| all-MiniLM-L6-v2") for label in labels)


def test_numbers_to_plan_with_are_those_of_the_committed_results() -> None:
    assert capacity.PAGE.read_text(encoding="utf-8") == capacity.page(), "run: python -m docs.website --readme"


def test_readme_is_short_and_its_links_work_in_the_repository() -> None:
    text = quality.README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    targets = [target.partition("#")[0] for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text)]
    assert [target for target in targets if not (texts.ROOT / target).exists()] == []


def test_the_picture_shows_what_the_commands_print(tmp_path: Path) -> None:
    """Scores may differ from one kind of CPU to the next."""
    picture.draw(tmp_path / "search.svg")
    assert _words(tmp_path / "search.svg") == _words(picture.PICTURE), f"draw it anew: {picture.COMMAND}"


def _words(path: Path) -> str:
    return re.sub(r"0\.\d+", "", html.unescape(" ".join(re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text()))))


def test_the_picture_asks_no_other_site() -> None:
    assert re.findall(r"(?:url|href|src)\W+https?:", picture.PICTURE.read_text()) == []


def test_every_recipe_has_a_page_with_its_file() -> None:
    pages = recipes.pages()
    assert {f"{entry.name}.md" for entry in shipped()} | {"index.md"} == set(pages)
    for entry in shipped():
        assert all(item.file.read_text() in pages[f"{entry.name}.md"] for item in (entry, *parts(entry)))


def test_every_page_stands_in_the_navigation() -> None:
    """Decisions are listed by their own index; the pages of measurements are linked from theirs."""
    docs = texts.ROOT / "docs"
    folders = ("start", "guides", "concepts", "reference")
    pages = [page.relative_to(docs).as_posix() for folder in folders for page in docs.glob(f"{folder}/*.md")]
    pages += [*(f"recipes/{name}" for name in recipes.pages()), *(f"models/{name}" for name in models.pages())]
    navigation = (texts.ROOT / "mkdocs.yml").read_text(encoding="utf-8").split()
    assert [page for page in pages if page not in navigation] == []


@pytest.mark.parametrize("section", sorted(Recipe.model_fields))
def test_every_section_and_setting_is_in_the_reference(section: str) -> None:
    assert f"`{section}`" in settings.page() or f"[{section}" in settings.page()


def test_bounds_and_choices_of_a_setting_are_told() -> None:
    assert "| number (≥ 0, ≤ 1) | `0.9` |" in settings.page()
    assert "| `format` | The kind of data. | `jsonl` or `csv`" in settings.page()


@pytest.mark.parametrize(
    "command", ["demo", "encode", "index", "search", "models download", "leaderboard build", "doctor"]
)
def test_every_command_is_in_the_reference(command: str, command_page: str) -> None:
    assert f"# `medembed {command}`" in command_page


def test_links_to_files_that_the_site_lacks_become_text(tmp_path: Path) -> None:
    page = tmp_path / "card.md"
    page.write_text(
        "---\nlicence: x\n---\n# Card\n[tiny](tiny) [code](../x.py) [far](https://example.org) [here](#card)\n"
    )
    assert (
        texts.adopt(page, {"tiny": "tiny.md"})
        == "# Card\n[tiny](tiny.md) code [far](https://example.org) [here](#card)\n"
    )


def test_bars_are_as_long_as_their_values() -> None:
    drawn = bars.bars("speed", [("a", 50.0), ("medembed", 200.0)], " ms", ours="medembed")
    assert 'width:25.0%"></b><span>50 ms' in drawn
    assert '<div class="ours"><span>medembed</span><b style="width:100.0%">' in drawn


def test_lines_reach_from_corner_to_corner_and_names_do_not_overlap() -> None:
    drawn = lines.lines("loss", "step", {"a": [(0, 2.0), (10, 1.0)], "b & c": [(0, 1.5), (10, 1.0)]})
    assert 'points="56.0,12.0 472.0,204.0"' in drawn
    assert 'points="56.0,108.0 472.0,204.0"' in drawn
    assert 'y="208.0" text-anchor="start">a<' in drawn
    assert 'y="223.0" text-anchor="start">b &amp; c<' in drawn


# What the manifest of a finished stage holds besides.
WHOLE: dict[str, Any] = {"files": {}, "summary": {}}


def test_a_training_run_is_collected_and_shown(tmp_path: Path) -> None:
    """Two rounds: the second goes on where the first stopped."""
    scores = {"0": {"medquad": 0.7}, "0.5": {"medquad": 0.75}, "1": {"medquad": 0.8}}
    files = {
        "merge/m/merge.json": {"ratio": 0.5, "ndcg@10": scores},
        "merge/m/manifest.json": {"inputs": {"train": "second"}, **WHOLE},
        "train/second/manifest.json": {"inputs": {"previous": "first"}, **WHOLE},
        "train/second/training.json": {"history": [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]},
        "train/first/manifest.json": {"inputs": {}, **WHOLE},
        "train/first/training.json": {
            "history": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "runtime": 1}]
        },
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    found = training.collect(tmp_path / "merge" / "m")
    assert found["losses"] == [[(1, 2.0), (2, 1.0)], [(1, 0.5), (2, 0.25)]]
    entry = Entry("mine", tmp_path / "recipe.toml")
    training.store(entry, found)
    shown = training.section(entry)
    assert "| 0.5 (published) | 0.7500 |" in shown
    assert ">round 2<" in shown


@pytest.mark.slow  # exporting takes torch eight seconds
def test_the_tryouts_weights_lose_as_little_as_its_page_says(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    folder = tiny_bert.make(tmp_path / "model")
    model = onnx.load(onnx_export.export(folder))
    tryout.store_as_int8(model)
    onnx.save(model, tmp_path / "small.onnx")
    tryout.pack(tmp_path / "small.onnx", tmp_path / "small.gzip")
    said = ["chest pain", "red itchy eye", "how is gout treated"]
    with MedEmbed(folder, threads=1, precision="fp32") as exact:
        ids = Tokenizer(fetch(str(folder)).files, exact.max_seq_length)(said).ids
        cosines = (fidelity.encode(tmp_path / "small.gzip", ids) * exact.encode(said)).sum(axis=1)
    assert 0.99 < cosines.min() < 0.9999999


def test_a_recipe_that_was_not_trained_shows_no_training(tmp_path: Path) -> None:
    assert training.section(Entry("mine", tmp_path / "recipe.toml")) == ""


def test_benchmarks_name_command_and_machine() -> None:
    page = benchmarks.page()
    assert "python -m tests.benchmarks" in page
    assert "AMD EPYC" in page


def test_the_card_of_the_bundled_model_is_a_page_without_front_matter() -> None:
    assert models.pages()["mini.md"].startswith("# mini")
