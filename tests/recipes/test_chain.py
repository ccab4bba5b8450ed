"""Recipes on top of recipes: ``extends``, and models that other recipes make."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medembed.checkpoints import checkpoint
from medembed.errors import RecipeConfigError, UnknownRecipeError
from medembed.recipes import catalog, chain, pipeline
from medembed.recipes.load import load_recipe, open_recipe
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.train import main
from tests.recipes.conftest import make_recipe

Loaded = Callable[..., tuple[Recipe, Places]]
MINI_CHAIN = ["1", "1-colbert", "2", "2-colbert", "3", "3-colbert", "4"]


def extending(recipe_folder: Path, text: str, base: str = "recipe.toml") -> Path:
    path = recipe_folder / "more.toml"
    path.write_text(f'extends = "{base}"\n{text}')
    return path


def test_sections_are_merged_and_tables_of_values_replaced(recipe_folder: Path) -> None:
    (recipe_folder / "recipe.toml").write_text(
        (recipe_folder / "recipe.toml").read_text().replace("held_out = 0.1", "held_out = 0.1\ncaps = {a = 1, b = 2}")
    )
    recipe = load_recipe(
        extending(
            recipe_folder, "triplets.caps = {c = 3}\nnotes.sources.articles.limit = 4\ndevelopment.dev.max_queries = 5"
        )
    )
    assert recipe.triplets.caps == {"c": 3}
    assert recipe.triplets.held_out == 0.1
    assert recipe.notes.sources["articles"].limit == 4
    assert recipe.notes.sources["articles"].path == "articles.jsonl.gz"
    assert recipe.development["dev"].path == "development"


def test_an_extended_recipe_is_the_one_that_says_it_all(recipe_folder: Path, tmp_path: Path) -> None:
    """Where settings stand is no part of a fingerprint."""
    below = load_recipe(extending(recipe_folder, "train.epochs = 3"), [f"execution.work={tmp_path}"])
    whole = load_recipe(recipe_folder / "recipe.toml", ["train.epochs=3", f"execution.work={tmp_path}"])
    assert below == whole


@pytest.mark.parametrize("where", ["file", "command line"])
def test_a_revision_stays_with_its_model(recipe_folder: Path, where: str) -> None:
    text = (recipe_folder / "recipe.toml").read_text()
    first = '[base]\nmodel = "some/model"\nrevision = "abc"'
    (recipe_folder / "recipe.toml").write_text(re.sub(r"\[base\]\nmodel = .*", first, text))
    if where == "file":
        recipe = load_recipe(extending(recipe_folder, 'base.model = "other/model"'))
    else:
        recipe = load_recipe(recipe_folder / "recipe.toml", ["base.model=other/model"])
    assert (recipe.base.model, recipe.base.revision) == ("other/model", None)


@pytest.mark.parametrize(
    ("base", "said"),
    [("nowhere.toml", "neither in .* nor among the shipped recipes"), ("more.toml", "extends itself")],
)
def test_a_file_that_cannot_be_extended_is_named(recipe_folder: Path, base: str, said: str) -> None:
    with pytest.raises(RecipeConfigError, match=said):
        load_recipe(extending(recipe_folder, "", base))


def test_a_chain_of_extends_has_a_bound(recipe_folder: Path) -> None:
    for number in range(30):
        (recipe_folder / f"{number}.toml").write_text(f'extends = "{number + 1}.toml"\n')
    with pytest.raises(RecipeConfigError, match="extends more than 20 recipes, one after another"):
        load_recipe(recipe_folder / "0.toml")


def test_a_copy_of_a_recipe_that_extends_another_loads_elsewhere(tmp_path: Path) -> None:
    copied = catalog.copy("base", tmp_path / "mine")
    assert load_recipe(copied / "recipe.toml") == load_recipe(catalog.find("base").file)


def test_all_shipped_files_are_few_lines() -> None:
    files = list(catalog.root().rglob("*.toml"))
    assert len(files) > 10
    assert sum(len(file.read_text().splitlines()) for file in files) <= 590
    assert all(tomllib.loads(file.read_text()) for file in files)


def test_minis_chain_leads_from_minilm_to_the_bundled_weights(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipe, places = open_recipe("mini", [f"execution.work={tmp_path}"])
    links = chain.chain_of(recipe, places)
    first, *made = links
    assert first.name.startswith("sentence-transformers/all-MiniLM-L6-v2@8b3219a9")
    assert [link.name for link in made] == [f"recipe:mini/{part}" for part in MINI_CHAIN]
    assert all(link.digest and link.digest.startswith("sha256-") for link in links)
    assert main(["--recipe", "mini", "--dry-run", f"execution.work={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert checkpoint.fetch("mini").revision in shown
    assert all(str(link.digest)[:14] in shown for link in links)


def test_the_stages_of_a_needed_recipe_come_before_the_first_that_needs_them() -> None:
    keys = [step.key for step in pipeline.plan(*open_recipe("mini/2"))]
    assert keys.index("filters") < keys.index("mini/1:notes") < keys.index("mini/1:publish") < keys.index("negatives")
    assert (
        keys.index("mini/1:publish") < keys.index("mini/1-colbert:publish") < keys.index("train") < keys.index("merge")
    )
    assert pipeline.until(pipeline.plan(*open_recipe("mini/2")), "pairs")[-1].key == "pairs"


def test_recipes_that_need_each_other_are_refused(recipe_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recipe_folder)
    recipe, places = open_recipe(str(recipe_folder), ["base.model=recipe:more.toml"])
    extending(recipe_folder, 'base.model = "recipe:more.toml"')
    with pytest.raises(RecipeConfigError, match="recipes that need each other's models"):
        pipeline.plan(recipe, places)


def test_an_unknown_recipe_as_a_model_is_named(loaded: Loaded) -> None:
    with pytest.raises(UnknownRecipeError, match="did you mean 'tiny'"):
        pipeline.plan(*loaded("base.model=recipe:tinny"))


@pytest.fixture
def second(recipe_folder: Path, tmp_path: Path) -> Callable[..., tuple[Recipe, Places]]:
    """A recipe whose base is what another one of the user's publishes."""
    first = make_recipe(tmp_path / "first")
    (first / "recipe.toml").write_text((first / "recipe.toml").read_text().replace("max_steps = 4", "max_steps = 1"))

    def load(*settings: str) -> tuple[Recipe, Places]:
        common = [
            f"execution.work={tmp_path / 'work'}",
            "train.max_steps=1",
            "train.evaluations=0",
            "merge.ratios=[1.0]",
        ]
        return open_recipe(str(recipe_folder), [f"base.model=recipe:{first}", *common, *settings])

    return load


@pytest.mark.thorough
def test_a_needed_model_is_made_once_and_used_again(second: Loaded) -> None:
    built = pipeline.build(*second())
    own = {item.step.key: item for item in built if ":" not in item.step.key}
    made = [item for item in built if ":" in item.step.key]
    assert [item.step.stage.name for item in made] == list(pipeline.NAMES)
    merged = own["train"].step.places.models
    [model] = merged.values()
    assert model.folder == made[-1].artifact.folder / "model"
    assert "recipe:" in (own["publish"].artifact.folder / "model/README.md").read_text()
    again = pipeline.build(*second())
    assert all(item.reused for item in again)
    assert [item.step.key for item in again if ":" in item.step.key] == [
        made[-1].step.key
    ]  # the model is there: no more is asked for
    (made[-1].artifact.folder / "model/README.md").write_text("damaged")
    assert len(pipeline.plan(*second())) == 2 * len(pipeline.NAMES)


def test_a_model_that_was_made_before_is_known_by_its_hash(second: Loaded, tmp_path: Path) -> None:
    recipe, places = second(f"execution.models={tmp_path / 'models'}")
    name = recipe.base.model
    (tmp_path / "models").mkdir()
    bundled = checkpoint.fetch("mini")
    (tmp_path / "models" / "any-name").symlink_to(bundled.folder)
    expected = {"models": {name: bundled.revision}}
    steps = pipeline.plan(recipe, replace(places, expected=expected))
    assert [step.key for step in steps] == list(pipeline.NAMES)
    assert steps[5].places.models[name].identity == bundled.revision
    other = pipeline.plan(recipe, replace(places, expected={"models": {name: "sha256-000000000000"}}))
    assert len(other) == 2 * len(pipeline.NAMES)
