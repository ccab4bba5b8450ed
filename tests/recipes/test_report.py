"""What a run tells people: the score, the card, progress, the estimate; and that none of it says more than is true."""

import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medembed import __version__
from medembed.console import Terminal
from medembed.recipes import cards, pipeline, reporting
from medembed.recipes.cost import estimate
from medembed.recipes.load import load_recipe
from medembed.recipes.reporting import Reporter
from medembed.recipes.retrieval import OF_BASE, OF_MODEL
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stages import score
from medembed.recipes.tables import print_summary
from medembed.recipes.train import main
from tests import tiny_bert
from tests.recipes.conftest import write_lines

Loaded = Callable[..., tuple[Recipe, Places]]
BETTER, WORSE = ({OF_MODEL: {"a": model}, OF_BASE: {"a": 0.5}} for model in (0.6, 0.4))


@pytest.mark.parametrize(
    ("summary", "expected", "must_rise", "comparison", "warned", "below"),
    [
        (BETTER, {}, False, "no figures were measured", False, []),
        (BETTER, {"settings": "s", "ndcg@10": {"a": 0.6}}, False, "as good as expected.json says", False, []),
        (BETTER, {"settings": "s", "ndcg@10": {"a": 0.605}}, False, "as good as expected.json says", False, []),
        (BETTER, {"settings": "s", "ndcg@10": {"a": 0.7}}, False, "1 of 1 figures are below", False, ["a"]),
        (BETTER, {"settings": "other", "ndcg@10": {"a": 0.7}}, False, "not compared: .* other settings", False, []),
        (WORSE, {}, False, "no figures", True, []),
        (WORSE, {}, True, "no figures", True, ["mean, which must rise above the base's"]),
        ({OF_MODEL: {}, OF_BASE: {}}, {}, True, "no figures", False, []),
    ],
    ids=["nothing", "equal", "within", "below", "another recipe", "worse", "worse and refused", "no sets"],
)
def test_figures_are_judged(
    loaded: Loaded,
    summary: dict[str, Any],
    expected: dict[str, Any],
    must_rise: bool,
    comparison: str,
    warned: bool,
    below: list[str],
) -> None:
    recipe, _ = loaded(f"score.must_rise={str(must_rise).lower()}")
    verdict = score.judge(summary, recipe, expected, "s")
    assert re.search(comparison, verdict.comparison)
    assert bool(verdict.warning) is warned
    assert list(verdict.below) == below


def manifests(**figures: dict[str, float]) -> dict[str, dict[str, Any]]:
    return {
        "score": {
            "summary": {OF_MODEL: figures.get("model", {}), OF_BASE: figures.get("base", {})},
            "fingerprint": "s",
        },
        "merge": {"summary": {"ratio": 0.5}, "fingerprint": "m"},
        "train": {"versions": {}, "fingerprint": "t"},
        "triplets": {"summary": {"rows": 30, "counts": {}}, "fingerprint": "r"},
    }


def card(recipe: Recipe, folder: Path, **figures: dict[str, float]) -> str:
    return cards.model_card(recipe, manifests(**figures), tiny_bert.make(folder / "model"))


def test_a_card_without_development_sets_claims_none(recipe_folder: Path, tmp_path: Path) -> None:
    file = recipe_folder / "recipe.toml"
    file.write_text(file.read_text().replace('[development.dev]\npath = "development"\n', ""))
    written = card(load_recipe(file, ["merge.ratios=[0.5]"]), tmp_path)
    assert "Not measured: the recipe names no development set." in written
    assert "development sets below" not in written


@pytest.mark.parametrize(
    ("setting", "said", "unsaid"),
    [
        ("merge.ratios=[0.5]", "It was measured on the development sets", "ratio was chosen"),
        ("merge.ratios=[0.5,1.0]", "The ratio was chosen on the development sets", "It was measured"),
        ("score.max_seq_length=32", "texts read to 32 tokens", "to 64 tokens"),
        ("train.max_passage_tokens=999", "passages at ", "999"),
        ("negatives.method=none", "no hard negatives of a row's own", "mined by"),
        ("train.max_steps=3", "at most 3 batches", "at most 4"),
        ("description=Tuned for our ward", "Tuned for our ward", "no such text"),
        ("name=our-ward", "by the recipe `our-ward`", "small-test"),
        ("base.model=/home/me/first", "Tuned from `first`", "/home/me"),
    ],
    ids=lambda value: value if "=" in value else "",
)
def test_a_card_says_what_was_done(loaded: Loaded, tmp_path: Path, setting: str, said: str, unsaid: str) -> None:
    written = card(loaded(setting)[0], tmp_path, model={"dev": 0.6}, base={"dev": 0.5})
    assert said in written
    assert unsaid not in written


def test_a_card_owns_up_to_a_model_that_is_no_better(loaded: Loaded, tmp_path: Path) -> None:
    assert "not better than its base" in card(loaded()[0], tmp_path, model={"dev": 0.4}, base={"dev": 0.5})


def test_the_commit_is_the_packages_and_not_of_the_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "venv" / "site-packages" / "medembed" / "recipes" / "cards.py"
    installed.parent.mkdir(parents=True)
    installed.touch()
    for command in (
        ["init", "-q"],
        ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(cards, "__file__", str(installed))
    assert cards._software() == f"medembed {__version__}"


def test_a_run_without_a_terminal_tells_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "LINE_EVERY_S", 0.0)
    said = io.StringIO()
    with Reporter() as reporter:
        reporter.console = Terminal(file=said)
        with reporter.task("train", "pairs") as task:
            task.expect(2_000)
            task.advance(500)
    lines = said.getvalue().splitlines()
    assert lines[0] == "train: begins"
    assert lines[1].startswith("train: 500 of 2,000 pairs, ")
    assert lines[2].startswith("train: 500 pairs in ")


def test_the_estimate_counts_windows_and_not_notes(loaded: Loaded, recipe_folder: Path) -> None:
    """A server is asked about every window: a note of four windows costs four requests."""
    text = " ".join(f"Sentence {number} of the note has seven words." for number in range(40))
    write_lines(recipe_folder / "notes.jsonl", [{"id": str(n), "text": text} for n in range(300)])
    settings = (
        "notes.max_words=80",
        "pairs.writer=openai_endpoint",
        'notes.sources={long={format="jsonl",path="notes.jsonl"}}',
    )
    recipe, places = loaded(*settings)
    lines = {line.what: line for line in estimate(recipe, places, {})}
    assert lines["windows of notes"].amount == "1,200"
    assert "of 300 rows" in lines["windows of notes"].how
    built = pipeline.build(
        *loaded("notes.max_words=80", 'notes.sources={long={format="jsonl",path="notes.jsonl"}}'), "notes"
    )
    assert built[0].artifact.summary["counts"]["kept:long"] + built[0].artifact.summary["counts"]["duplicate"] == 1200


@pytest.mark.thorough
def test_the_last_line_is_the_folder_that_loads(loaded: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, places = loaded("merge.ratios=[1.0]", "train.max_steps=1", "train.evaluations=0")
    built = pipeline.build(recipe, places, "merge")
    print_summary(recipe, built)
    folder = Path(capsys.readouterr().out.splitlines()[-1].rpartition(": ")[2])
    assert (folder / "config.json").is_file()
    assert folder.name == "model"
    print_summary(recipe.model_copy(update={"development": {}}), built)
    *_, told, last = capsys.readouterr().out.splitlines()
    assert told.endswith(f": medembed assess NOTES --models mini tuned={folder}")
    assert last.endswith(str(folder))


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--recipe", "tinny"], 1, "UnknownRecipeError: no recipe 'tinny': did you mean 'tiny'?"),
        (["--recipe", "tiny", "train.epoch=2"], 1, "did you mean 'epochs'"),
        (["--recipe", "tiny", "--until", "song", "--dry-run"], 1, "no stage 'song'"),
        (["--song"], 2, "No such option"),
    ],
    ids=["recipe", "setting", "stage", "option"],
)
def test_a_wrong_command_line_is_explained(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    assert said in " ".join(capsys.readouterr().err.split())
