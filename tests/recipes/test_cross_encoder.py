"""Negatives judged again by a cross-encoder, and training on its scores; the cross-encoder has random weights."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medembed.checkpoints import checkpoint
from medembed.recipes import pipeline
from medembed.recipes.records import Mined, Pair, Triplet, read_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stages import negatives

Loaded = Callable[..., tuple[Recipe, Places]]


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    """A BERT with one output, as cross-encoders are, that answers with logits of either sign."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=1,
        initializer_range=0.3,
    )
    folder = tmp_path / "judge"
    BertForSequenceClassification(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (checkpoint.BUNDLED_FOLDER / name).is_file():
            shutil.copy(checkpoint.BUNDLED_FOLDER / name, folder)
    return folder


@pytest.mark.thorough
def test_the_judge_has_the_last_word_on_scores_and_order(loaded: Loaded, judge: Path) -> None:
    built = {
        item.step.key: item.artifact
        for item in pipeline.build(*loaded("base.model=mini", f"negatives.cross_encoder={judge}"), "negatives")
    }
    pairs = {pair.pair_id: pair for pair in read_parquet(built["filters"].parts("pairs"), Pair)}
    corpus = negatives.read_corpus(list(pairs.values()))
    from sentence_transformers import CrossEncoder
    from torch.nn import Sigmoid

    model = CrossEncoder(str(judge), device="cpu")
    mined = list(read_parquet(built["negatives"].parts("mined"), Mined))
    assert sum(len(item.negative_ids) for item in mined) > len(mined) / 2
    for item in mined[::8]:
        pair = pairs[item.pair_id]
        texts = [corpus.passages[key] for key in (item.passage_id, *item.negative_ids)]
        again = model.predict([(pair.query, text) for text in texts], activation_fn=Sigmoid(), show_progress_bar=False)
        np.testing.assert_allclose(item.scores, again, atol=1e-4)
        assert item.scores[1:] == sorted(item.scores[1:], reverse=True)
        assert all(score <= 0.95 * item.scores[0] + 1e-6 for score in item.scores[1:])


def test_another_judge_in_the_same_place_is_another_stage(loaded: Loaded, judge: Path) -> None:
    def mark() -> str:
        steps = pipeline.plan(*loaded(f"negatives.cross_encoder={judge}"))
        return next(step.fingerprint for step in steps if step.key == "negatives")

    before = mark()
    weights = judge / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert mark() != before


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["margin_mse", "kl"])
def test_a_model_is_trained_on_the_judges_scores(loaded: Loaded, judge: Path, loss: str) -> None:
    settings = [
        f"negatives.cross_encoder={judge}",
        f"train.loss={loss}",
        "train.negatives_per_query=1",
        "negatives.max_score_ratio=1.0",
    ]
    built = {item.step.key: item.artifact for item in pipeline.build(*loaded(*settings), "train")}
    rows = list(read_parquet(built["triplets"].parts("train"), Triplet))
    assert any(len(row.scores) > 1 for row in rows)
    assert built["train"].summary["last loss"] > 0
