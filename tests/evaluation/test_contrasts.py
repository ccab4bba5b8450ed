"""The suite of clinical contrasts: its shape, its separation from training, and how it is scored."""

import gzip
import json
import random
import tomllib
from importlib import resources
from typing import Any

import pytest

from medembed.evaluation import contrasts
from medembed.recipes.writers.contrasts import is_held_out

FOLDER = resources.files("medembed.evaluation.contrasts")
ROWS = [json.loads(line) for line in gzip.decompress((FOLDER / "pairs.jsonl.gz").read_bytes()).decode().splitlines()]
KINDS = {"certainty", "control", "drug", "negation-absent", "negation-present", "quantity", "severity", "side", "when", "whose"}  # fmt: skip


def test_the_suite_is_small_and_has_three_thousand_pairs_of_all_kinds() -> None:
    assert len((FOLDER / "pairs.jsonl.gz").read_bytes()) <= 2**20
    assert len(ROWS) >= 3000
    assert {row["kind"] for row in ROWS} == KINDS == set(contrasts.read())


@pytest.mark.parametrize("row", ROWS[::97], ids=lambda row: row["kind"])
def test_passages_of_a_row_differ(row: dict[str, str]) -> None:
    assert len({row["fits"], row["differs"], row.get("also_fits", "")}) == 3
    assert "{" not in json.dumps(list(row.values()))


def test_no_frame_is_also_one_of_training() -> None:
    training = tomllib.loads((resources.files("medembed.recipes") / "contrasts" / "training.toml").read_text())
    measuring = tomllib.loads((FOLDER / "frames.toml").read_text())
    assert _sentences(training["frames"]) & _sentences(measuring["frames"]) == set()
    assert _questions(training["frames"]) & _questions(measuring["frames"]) == set()


def test_real_sentences_are_of_notes_that_training_does_not_read() -> None:
    origins = {row["origin"] for row in ROWS if not row["origin"].startswith("frame")}
    assert len(origins) > 100
    assert all(is_held_out(origin) for origin in origins)


def _questions(frames: list[dict[str, Any]]) -> set[str]:
    return {question for frame in frames for asked in frame["asks"].values() for question in asked}


def _sentences(frames: list[dict[str, Any]]) -> set[str]:
    found: set[str] = set()
    for frame in frames:
        for row in frame.get("rows", []):
            found.update(row.values())
        found.update(frame.get("says", []))
    return found


TWO = contrasts.Contrasts(
    queries={"a": "", "b": ""},
    passages={},
    fitting={"a": ["a1"], "b": ["b1"]},
    differing={"a": "a2", "b": "b2"},
)
ONE = contrasts.Contrasts(queries={"a": ""}, passages={}, fitting={"a": ["a1", "a3"]}, differing={"a": "a2"})


def test_a_contrast_is_right_where_the_fitting_passage_scores_higher_and_a_tie_is_wrong() -> None:
    scores = {"a": {"a1": 0.9, "a2": 0.5}, "b": {"b1": 0.5, "b2": 0.5}}
    assert contrasts.right(TWO, scores) == {"a": True, "b": False}
    assert contrasts.margins(TWO, scores) == pytest.approx({"a": 0.4, "b": 0.0})


def test_a_coin_has_half_of_the_contrasts_right_and_a_third_of_the_controls() -> None:
    rng = random.Random(0)
    for name, share in (("negation-absent", 1 / 2), ("control", 1 / 3)):
        kind = contrasts.read()[name]
        tossed = {query: {passage: rng.random() for passage in names} for query, names in kind.candidates().items()}
        same = {query: dict.fromkeys(names, 0.5) for query, names in kind.candidates().items()}
        assert sum(contrasts.right(kind, tossed).values()) / len(tossed) == pytest.approx(share, abs=0.08)
        assert not any(contrasts.right(kind, same).values())


@pytest.mark.parametrize(
    ("fits", "also", "differs", "expected"),
    [
        pytest.param(0.90, 0.85, 0.50, True, id="both-wordings-above"),
        pytest.param(0.90, 0.60, 0.50, True, id="far-apart-and-both-above"),
        pytest.param(0.90, 0.40, 0.50, False, id="one-wording-is-lost"),
    ],
)
def test_a_control_is_right_where_both_wordings_rank_above_the_other_claim(
    fits: float, also: float, differs: float, expected: bool
) -> None:
    scores = {"a": {"a1": fits, "a3": also, "a2": differs}}
    assert contrasts.right(ONE, scores) == {"a": expected}
