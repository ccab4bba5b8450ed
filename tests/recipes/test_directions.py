"""Learnt directions keep more of the whole vectors' order than the first components do, and than principal ones."""

from pathlib import Path

import numpy as np
import pytest

from medembed.checkpoints import checkpoint
from medembed.checkpoints.shortening import shorten
from medembed.errors import RecipeConfigError
from medembed.recipes import catalog
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.load import load_recipe
from medembed.recipes.records import Triplet
from medembed.recipes.reporting import Reporter
from medembed.recipes.sources import Places
from medembed.recipes.stage import StageRun
from medembed.recipes.stages import train
from medembed.recipes.training import directions

DIMS, KEPT = 24, 6


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def sample(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and passages whose meaning lies in eight hidden directions; in four louder ones passages differ and queries do not."""
    draw = np.random.default_rng(seed)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(DIMS, DIMS)))[0]
    meaning = draw.normal(size=(count, 8)) * np.linspace(1.0, 0.4, 8)
    loud, silent = 1.2 * draw.normal(size=(count, 4)), np.zeros((count, 4))
    rest = 0.05 * draw.normal(size=(count, DIMS - 12))
    passages = np.hstack([loud, meaning, rest]) @ basis
    queries = np.hstack([silent, meaning + 0.1 * draw.normal(size=meaning.shape), rest]) @ basis
    return unit(queries), unit(passages)


def agreement(queries: np.ndarray, passages: np.ndarray, matrix: np.ndarray | None) -> float:
    """Share of each query's ten best passages that short vectors find too."""
    best = np.argsort(-(queries @ passages.T), axis=1)[:, :10]
    short = np.argsort(-(shorten(queries, KEPT, matrix) @ shorten(passages, KEPT, matrix).T), axis=1)[:, :10]
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(best, short, strict=True)]))


def test_learnt_directions_keep_more_of_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "STEPS", 150)
    monkeypatch.setattr(directions, "LEARNING_RATE", 5e-3)
    learnt = directions.learn(*sample(1000, 1), [KEPT, 12], seed=3)
    assert learnt.shape == (DIMS, DIMS)
    queries, passages = sample(300, 2)
    first = agreement(queries, passages, None)
    seen = sample(1000, 1)[1]
    principal = agreement(queries, passages, directions.principal(seen.T @ seen))
    found = agreement(queries, passages, learnt)
    assert first < principal < found, (first, principal, found)


def test_dimensions_that_are_not_shorter_are_refused() -> None:
    with pytest.raises(RecipeConfigError, match="matryoshka_dims has 24"):
        directions.learn(*sample(20, 1), [6, 24], seed=3)


def test_a_run_that_goes_on_takes_short_vectors_in_the_same_directions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directions, "STEPS", 3)
    entry = catalog.find("mini/3")
    recipe = load_recipe(entry.file, ["execution.threads=1"])
    rows = [Triplet(f"what is disease {i}", f"disease {i} is rare", [], [], "s", str(i)) for i in range(40)]
    with Reporter(progress=False) as reporter, reporter.task("train") as task:
        stage = StageRun(recipe, Places(entry.folder, recipe.execution), {}, ArtifactWriter(tmp_path), task)
        start = checkpoint.fetch("mini").folder
        first = train._directions(stage, start, rows, tmp_path)
        monkeypatch.setattr(directions, "of_model", lambda *_: pytest.fail("learnt again"))
        again = train._directions(stage, start, rows, tmp_path)
    assert first is not None
    assert first.shape == (384, 384)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first[:, :64], np.eye(384)[:, :64], atol=0.1)
