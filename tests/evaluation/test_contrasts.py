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


def test_real_sentences_are_of_notes_that_training_does_not_read() -> None:
    origins = {row["origin"] for row in ROWS if not row["origin"].startswith("frame")}
    assert len(origins) > 100
    assert all(is_held_out(origin) for origin in origins)


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
    assert contrasts.right("negation-absent", TWO, scores) == {"a": True, "b": False}
    assert contrasts.margins(TWO, scores) == pytest.approx({"a": 0.4, "b": 0.0})


def test_a_coin_has_no_control_right() -> None:
    rng = random.Random(0)
    kind = contrasts.read()["control"]
    for scores in (rng.random, lambda: 0.5):
        tossed = {query: {name: scores() for name in names} for query, names in kind.candidates().items()}
        assert not any(contrasts.right("control", kind, tossed).values())


@pytest.mark.parametrize(
    ("fits", "also", "differs", "expected"),
    [
        pytest.param(0.90, 0.85, 0.50, True, id="wording-moves-less"),
        pytest.param(0.90, 0.60, 0.50, False, id="wording-moves-more"),
        pytest.param(0.90, 0.40, 0.50, False, id="one-wording-is-lost"),
    ],
)
def test_a_control_is_right_where_wording_moves_less_than_the_claim(
    fits: float, also: float, differs: float, expected: bool
) -> None:
    scores = {"a": {"a1": fits, "a3": also, "a2": differs}}
    assert contrasts.right("control", ONE, scores) == {"a": expected}
