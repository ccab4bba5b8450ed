"""A projection trained over a frozen encoder: states computed once, nothing but the projection moved, compared with the dense base."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medembed import MedColBERT, MedEmbed
from medembed.checkpoints import checkpoint, tensors
from medembed.errors import RecipeConfigError
from medembed.recipes import pipeline
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.execution import Execution
from medembed.recipes.load import load_recipe
from medembed.recipes.reporting import Reporter
from medembed.recipes.retrieval import measure, read_sets
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.train_settings import Train
from medembed.recipes.training import frozen, tuning
from tests import tiny_bert

Loaded = Callable[..., tuple[Recipe, Places]]
FROZEN = Train(architecture="colbert", trainable="projection", projection="principal", skip_punctuation=True)
TEXTS = ["gout of the big toe, at night", "a stone", "chest pain?"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Checkpoint:
    return checkpoint.fetch(str(tiny_bert.make(tmp_path_factory.mktemp("frozen") / "encoder")))


@pytest.fixture
def model(encoder: checkpoint.Checkpoint) -> Any:
    return tuning.load_model(encoder.folder, FROZEN, {"query": "", "document": ""}, "cpu")


def states_of(rows: list[bytes], encoder: checkpoint.Checkpoint, folder: Path) -> frozen.TokenStates:
    with Reporter(progress=False) as reporter, reporter.task("train") as task:
        execution = Execution(device="cpu", threads=1)
        return frozen.compute_states(rows, encoder, ArtifactWriter(folder), execution, "fp32", task)


def rows_of(features: Any) -> list[bytes]:
    return sorted(frozen.rows_of(features["input_ids"], features["attention_mask"]), key=lambda row: (-len(row), row))


def test_training_reads_the_states_that_the_encoder_gives(
    model: Any, encoder: checkpoint.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "TOKENS_A_PART", 8)  # the longest row fills a part of its own
    features = model.preprocess(TEXTS)
    mask = features["attention_mask"].clone()
    states = states_of(rows_of(features), encoder, tmp_path)
    expected = model.eval()[0](dict(features))["token_embeddings"].detach()
    frozen.freeze(model, states, "random")
    found = model.train()[0](dict(features))["token_embeddings"]
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=2e-3, rtol=2e-3)  # float16 on disk
    assert found[~mask.bool()].abs().max() == 0
    other = model.preprocess(["texts that are not in the store"])
    assert model.eval()[0](other)["token_embeddings"].shape[0] == 1
    with pytest.raises(KeyError):
        model.train()[0](model.preprocess(["texts that are not in the store"]))


def test_a_second_run_computes_only_what_is_missing(
    model: Any, encoder: checkpoint.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "TOKENS_A_PART", 8)
    rows = rows_of(model.preprocess(TEXTS))
    states_of(rows, encoder, tmp_path)
    first, *rest = sorted(tmp_path.glob("states-*/part-*.npy"))
    before = {path: path.stat().st_mtime_ns for path in rest}
    content = first.read_bytes()
    first.write_bytes(content[:-1])  # as a crash leaves it
    states_of(rows, encoder, tmp_path)
    assert first.read_bytes() == content
    assert rest
    assert {path: path.stat().st_mtime_ns for path in rest} == before


def test_the_projection_begins_as_the_states_principal_directions(
    model: Any, encoder: checkpoint.Checkpoint, tmp_path: Path
) -> None:
    rows = rows_of(model.preprocess(TEXTS))
    states = states_of(rows, encoder, tmp_path)
    [stored] = tmp_path.glob("states-*/part-*.npy")
    matrix = np.load(stored).astype(np.float32)
    directions = states.principal_directions(8)
    _, _, expected = np.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose(np.abs(np.sum(directions * expected[:8], axis=1)), 1, atol=1e-3)  # but for the sign
    assert states.n_tokens == len(matrix)


def test_punctuation_is_skipped_where_the_recipe_says_so(model: Any) -> None:
    counted = model(model.preprocess(["pain, pain."]), task="document")["attention_mask"]
    assert int(counted.sum()) == 4  # [CLS] pain pain [SEP]


@pytest.mark.thorough
def test_a_recipe_trains_the_projection_alone_and_compares_with_the_dense_base(
    loaded: Loaded, recipe_folder: Path
) -> None:
    qrels = recipe_folder / "development/qrels/test.tsv"
    # wrong on purpose: where every model is right, nothing can be compared
    qrels.write_text(qrels.read_text().replace("\tknee\t", "\thip\t").replace("\telbow\t", "\tjaw\t"))
    built = {
        item.step.key: item.artifact
        for item in pipeline.build(
            *loaded(
                "train.architecture=colbert", "train.trainable=projection", "train.projection=principal", "train.skip_punctuation=true",
                "train.negatives_per_query=0", "train.learning_rate=1e-3", "merge.ratios=[1.0]", "negatives.method=none",
                "base.model=mini", "train.contrasts.batch_size=4",
            )
        )
    }  # fmt: skip
    before = tensors.read_tensors(checkpoint.fetch("mini").folder)
    published = built["publish"].folder / "model"
    after = tensors.read_tensors(published)
    assert {name for name in before if "pooler" not in name} == set(after)
    assert all(np.array_equal(before[name], after[name]) for name in after)
    assert not (built["train"].folder / "scratch").exists()
    measured = json.loads((built["merge"].folder / "merge.json").read_text())["ndcg@10"]
    with MedEmbed("mini", threads=1) as dense, Reporter(progress=False) as reporter, reporter.task("score") as task:
        [item] = read_sets(*loaded())
        assert measured["0"] == {"dev": round(measure(dense, item, task), 5)}
    assert measured["0"] != measured["1"]
    card = (published / "README.md").read_text()
    assert "only the projection" in card
    assert "MedColBERT(" in card
    with MedColBERT(published, threads=1) as late:
        assert late.dimension == 128
        assert late.encode_document("pain, pain.").shape == (4, 128)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"trainable": "projection"}, "need architecture 'colbert'"),
        ({"skip_punctuation": True}, "need architecture 'colbert'"),
        ({"architecture": "colbert", "projection": "principal"}, "needs trainable = 'projection'"),
        ({"architecture": "colbert", "trainable": "projection", "lora_rank": 4}, "freezes the encoder"),
    ],
    ids=["frozen dense", "punctuation dense", "directions of nothing", "frozen and tuned"],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Train(**settings)


def test_nothing_is_interpolated_over_a_frozen_encoder(recipe_folder: Path) -> None:
    with pytest.raises(RecipeConfigError, match=r"say merge\.ratios = \[1\.0\]"):
        load_recipe(recipe_folder / "recipe.toml", ["train.architecture=colbert", "train.trainable=projection"])
