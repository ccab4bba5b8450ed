"""The benchmark programs of the recipes run; what they measure is another matter."""

import json
from pathlib import Path

import pytest

from tests.benchmarks import recipes_extractive, recipes_mining


def test_the_mining_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    recipes_mining.main(300, 1200)
    assert json.loads(capsys.readouterr().out)["negatives"] == 1200


def test_the_extractive_benchmark_meets_its_floor(capsys: pytest.CaptureFixture[str]) -> None:
    recipes_extractive.main(Path("recipes/tiny/data/articles.jsonl.gz"))
    assert json.loads(capsys.readouterr().out)["pairs_per_s"] > 5000
