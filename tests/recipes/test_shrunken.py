"""The large recipes on a machine that is too small for them: the whole path at scale 0.001, on a base of the same shape."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from medembed.checkpoints import checkpoint
from medembed.recipes import catalog, pipeline
from medembed.recipes.load import load_recipe
from medembed.recipes.sources import Places

# hidden size, layers, heads: as bge-small, bge-base and bge-large declare them
SHAPES = {
    "small": (384, 12, 12),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "colbert": (384, 12, 12),
    "mini/1": (384, 6, 12),
    "mini/2": (384, 6, 12),
    "mini/3": (384, 6, 12),
    "mini/4": (384, 6, 12),
    "mini/two-rounds": (384, 6, 12),
    "mini/colbert": (384, 6, 12),
}


def random_base(folder: Path, hidden: int, layers: int, heads: int) -> Path:
    """A BERT of a given shape with random weights and the bundled model's vocabulary."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel

    plain = folder.with_name("plain")
    config = BertConfig(
        vocab_size=30522,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(plain)
    bundled = checkpoint.fetch("mini").folder
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (bundled / name).is_file():
            shutil.copy(bundled / name, plain)
    SentenceTransformer(modules=[Transformer(str(plain)), Pooling(hidden, "cls"), Normalize()], device="cpu").save(
        str(folder)
    )
    return folder


def with_small_data(source: Path, target: Path, articles: Path) -> Path:
    """The shipped recipe with its data replaced by files made here; every other setting stays."""
    target.mkdir(parents=True)
    for toml in [*catalog.root().glob("*.toml"), *catalog.root().glob("small/*.toml"), *source.glob("*.toml")]:
        lines = [line for line in toml.read_text().splitlines() if not line.startswith("sha256")]
        place = target / toml.relative_to(catalog.root() if toml.parent != source else source)
        # what small/recipe.toml extends is looked for beside it first
        for copy in {place, target / "small" / place.name} if toml.parent == catalog.root() else {place}:
            copy.parent.mkdir(exist_ok=True)
            copy.write_text("\n".join(lines))
    shutil.copy(articles, target / "articles.jsonl.gz")
    shutil.copytree(articles.parent / "development", target / "eval" / "medquad_heldout")
    for name in ("scifact", "covidqa_passages"):
        shutil.copytree(articles.parent / "development", target / "eval" / name)
    pair = {
        "query": "knee cap",
        "positive": "The knee cap is a small bone that protects the joint from blows.",
        "source": "onto:X",
        "doc_id": "k",
    }
    with gzip.open(target / "pairs.jsonl.gz", "wt") as file:
        file.write(json.dumps(pair) + "\n")
    return target


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHAPES))
def test_a_large_recipe_runs_whole_on_a_base_of_its_shape(name: str, recipe_folder: Path, tmp_path: Path) -> None:
    entry = catalog.find(name)
    folder = with_small_data(entry.folder, tmp_path / "shrunken", recipe_folder / "articles.jsonl.gz")
    base = random_base(tmp_path / "base", *SHAPES[name])
    settings = [
        "scale=0.001",
        f"base.model={base}",
        f"execution.work={tmp_path / 'work'}",
        "execution.threads=1",
        "execution.device=cpu",
        "filters.round_trip_top_k=0",
        "notes.min_words=8",
        "negatives.max_score_ratio=1.0",  # random vectors are all alike: no margin could be kept
        "train.max_steps=2",
        "train.batch_size=8",
        "merge.ratios=[1.0]",
        "score.must_rise=false",
    ]
    if load_recipe(
        folder / entry.file.name
    ).later.train:  # the second round is as short as the first, its contrasts of frames alone
        settings += [
            "later.train.max_steps=2",
            "later.train.batch_size=8",
            "later.train.contrasts={batch_size=4,kept=1.0}",
            "later.triplets={}",
        ]
    if name == "mini/colbert":
        settings += ["train.contrasts.sources={}"]  # contrasts of frames alone
    if name in ("mini/2", "mini/3", "mini/4"):  # in the place of models that hours of other recipes would make
        settings += ["train.teacher.model=mini", f"merge.anchor={base}"]
    if name in (
        "small",
        "base",
        "large",
    ):  # the hub and a 70B model cannot be had: local articles and rules instead
        settings += [
            "notes.sources.asclepius.format=articles",
            "notes.sources.asclepius.path=articles.jsonl.gz",
            "pairs.writer=extractive",
        ]
    recipe = load_recipe(folder / entry.file.name, settings)
    built = pipeline.build(recipe, Places(folder, recipe.execution))
    published = built[-1].artifact.folder / "model"
    assert (published / "model.safetensors").stat().st_size > 4 * 30522 * SHAPES[name][0]
    assert (published / "onnx" / "model.onnx").exists() is recipe.publish.onnx
    assert pipeline.settings_fingerprint(recipe, built[-1].step.places) != entry.beside("expected.json").get("settings")
