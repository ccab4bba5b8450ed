"""What a published folder declares, where other libraries look for it."""

from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from medembed.checkpoints import checkpoint
from medembed.errors import RecipeConfigError
from medembed.recipes import cards, catalog
from medembed.recipes.load import load_recipe
from medembed.recipes.stages.publish import declare_length
from tests import tiny_bert


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bert.make(tmp_path / "model")


def test_the_length_is_read_by_medembed_and_sentence_transformers(folder: Path) -> None:
    declare_length(folder, 24)
    assert checkpoint.fetch(str(folder)).spec.max_seq_length == 24
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert theirs.max_seq_length == 24
    assert theirs.tokenizer.model_max_length == 24


def test_more_tokens_than_positions_are_refused(folder: Path) -> None:
    with pytest.raises(RecipeConfigError, match=r"max_seq_length is 9999, but the model has \d+ positions"):
        declare_length(folder, 9999)


@pytest.mark.parametrize(
    ("anchor", "said"),
    [(None, "The weights are 40% base and 60% tuned"), ("/home/me/earlier", "40% those of `earlier` and 60% tuned")],
)
def test_the_card_says_whose_the_other_weights_are(anchor: str | None, said: str) -> None:
    recipe = load_recipe(catalog.find("mini/3").file, [] if anchor is None else [f"merge.anchor={anchor}"])
    assert said in cards._origin(recipe, 0.6)
