"""Recipes are checked before anything starts, and all problems come in one report."""

from pathlib import Path

import pytest

from medembed.errors import RecipeConfigError, UnknownRecipeError
from medembed.recipes import catalog
from medembed.recipes.load import load_recipe


def load(recipe_folder: Path, *settings: str) -> object:
    return load_recipe(recipe_folder / "recipe.toml", settings)


def test_all_problems_are_reported_together(recipe_folder: Path) -> None:
    with pytest.raises(RecipeConfigError) as caught:
        load(recipe_folder, "train.epoch=2", "negatives.method=tfidf", "train.temperature=-1", "pairs.writer=3")
    text = str(caught.value)
    assert "4 problem(s)" in text
    assert "train.epoch: no such setting; did you mean 'epochs'?" in text
    assert "negatives.method" in text
    assert "'dense', 'bm25', 'both' or 'none'" in text


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("notes.sources.articles.pth=x", "did you mean 'path'"),
        ("executon.work=x", "did you mean 'execution'"),
        ("train.teacher.modl=4", "did you mean 'model'"),
        ("development.dev.qwerty=4", "allowed here: license, max_documents, max_queries"),
        ("train", "write key=value"),
        ("name.x=1", "'name' holds a value"),
        ("notes.min_words=500", "min_words (500) must be below max_words (180)"),
        ("negatives.rank_to=1", "cannot hold per_query = 2"),
        ("train.loss=cached_gist", "needs guide"),
        ("notes.sources.articles.sha256=abc", "sha256"),
        ("notes.sources.articles.format=hub", "needs dataset and revision"),
    ],
    ids=lambda value: value if "=" in value else None,
)
def test_a_wrong_setting_is_named_with_what_is_allowed(recipe_folder: Path, setting: str, said: str) -> None:
    with pytest.raises(RecipeConfigError) as caught:
        load(recipe_folder, setting)
    assert said in str(caught.value)


def test_values_need_no_quotes_and_later_settings_win(recipe_folder: Path) -> None:
    recipe = load_recipe(
        recipe_folder / "recipe.toml",
        ["base.model=some/model", "train.epochs=2", "train.epochs=3.5", "merge.ratios=[1.0]"],
    )
    assert recipe.base.model == "some/model"
    assert recipe.train.epochs == 3.5
    assert recipe.merge.ratios == (1.0,)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("name = 'x")
    with pytest.raises(RecipeConfigError, match="cannot be read as TOML"):
        load_recipe(tmp_path / "recipe.toml")


@pytest.mark.parametrize("entry", catalog.shipped(), ids=lambda entry: entry.name)
def test_every_shipped_recipe_is_valid_and_has_a_card(entry: catalog.Entry) -> None:
    assert load_recipe(entry.file).name == entry.name
    assert (entry.folder / "README.md").is_file()
    assert (entry.folder / "expected.json").is_file()


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UnknownRecipeError, match="did you mean 'tiny'"):
        catalog.find("tinny")


def test_a_copied_recipe_loads_and_an_existing_folder_is_kept(tmp_path: Path) -> None:
    target = catalog.copy("tiny", tmp_path / "mine")
    assert load_recipe(catalog.find(str(target)).file).name == "tiny"
    with pytest.raises(ValueError, match="exists already"):
        catalog.copy("tiny", target)
