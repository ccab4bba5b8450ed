"""Exported training rows: complete, loaded by ``datasets``, and trained on for a step by the tools they are for."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from medembed.recipes import layouts, pipeline
from medembed.recipes.records import Triplet
from tests import tiny_bert
from tests.recipes.test_fingerprints import Loaded


def row(name: str, negatives: list[str], document: str | None = None) -> Triplet:
    return Triplet(f"query {name}", f"passage {name}", negatives, [], "s", document or name)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("a", ["x", "y"]), row("b", ["x", "y"])], {"a": 2, "b": 2}),
        ([row("a", ["x", "y"]), row("b", [])], {"a": 1, "b": 1}),
        ([row("a", []), row("b", []), row("c", [])], {"a": 2, "b": 2, "c": 2}),
        ([row("a", ["x"], "d"), row("b", [], "d")], {"a": 1}),
        ([row("a", [], "d"), row("b", [], "d")], {}),
        ([], {}),
    ],
    ids=["mined", "one lacks all", "none mined", "one document", "one document, none mined", "no rows"],
)
def test_every_exported_row_has_as_many_negatives_as_the_others(rows: list[Triplet], expected: dict[str, int]) -> None:
    done = layouts.complete(rows, 2)
    assert {item.query.removeprefix("query "): len(item.negatives) for item in done} == expected
    assert all(text and text != item.positive for item in done for text in item.negatives)


@pytest.fixture(scope="module", params=["dense", "none"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset folder of a small run, with mined negatives and without."""
    from medembed.recipes.load import load_recipe
    from medembed.recipes.sources import Places
    from tests.recipes.conftest import make_recipe

    folder = tmp_path_factory.mktemp("exported")
    made = make_recipe(folder / "recipe")
    settings = [f"execution.work={folder / 'work'}", f"negatives.method={request.param}"]
    # above what some pairs have: these get passages of other documents
    recipe = load_recipe(made / "recipe.toml", [*settings, "negatives.per_query=3", "negatives.max_score_ratio=0.8"])
    return pipeline.build(recipe, Places(made, recipe.execution), "triplets")[-1].artifact.folder / "dataset"


def step(folder: Path, data: Any, work: Path) -> float:
    """The loss of one step of sentence-transformers' trainer."""
    options = SentenceTransformerTrainingArguments(
        output_dir=str(work), max_steps=1, per_device_train_batch_size=4, use_cpu=True, report_to="none",
        save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return float(
        SentenceTransformerTrainer(model, options, data, loss=MultipleNegativesRankingLoss(model)).train().training_loss
    )


@pytest.mark.parametrize("name", [None, "sentence-transformers", "triplets"], ids=str)
def test_the_folder_loads_and_trains(
    exported: Path, tmp_path: Path, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SentenceTransformerTrainer, "add_model_card_callback", lambda *_: None)
    data = load_dataset(str(exported), name, cache_dir=str(tmp_path / "cache"))
    assert all(value for line in data["train"] for value in line.values())
    loss = step(tiny_bert.make(tmp_path / "model"), data["train"], tmp_path / "work")
    assert 0 < loss < 100


def test_flagembeddings_reader_finds_what_it_samples_from(exported: Path) -> None:
    """As its ``AbsEmbedderTrainDataset.__getitem__`` does; ``math.ceil((size - 1) / len(neg))`` fails on an empty list."""
    data = load_dataset("json", data_files=str(exported / "flagembedding/train.jsonl"), split="train")
    for line in data:
        size = 8
        assert random.choice(line["pos"])
        repeats = -(-(size - 1) // len(line["neg"]))
        assert len(random.sample(line["neg"] * repeats, size - 1)) == size - 1
        assert all(line["neg"])


def test_the_card_names_only_splits_that_are_there(loaded: Loaded) -> None:
    folder = pipeline.build(*loaded("triplets.held_out=0.0"), "triplets")[-1].artifact.folder / "dataset"
    assert "held_out.jsonl" not in (folder / "README.md").read_text()
    assert not (folder / "sentence-transformers" / "held_out.jsonl").exists()
    assert set(json.loads((folder / "flagembedding/train.jsonl").read_text().splitlines()[0])) == {
        "query",
        "pos",
        "neg",
    }
