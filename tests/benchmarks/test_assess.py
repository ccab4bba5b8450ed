"""The benchmark of `medembed assess`: its sums, and the figures that are committed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

from medembed.evaluation.comparison import Pair
from tests.benchmarks import assess

COMMITTED = Path(__file__).parents[2] / assess.RESULT


def row(name: str, labelled: list[float], **by_kind: list[float]) -> dict[str, Any]:
    """A set with systems a, b and c."""
    return {
        "set": name,
        "labelled": dict(zip("abc", labelled, strict=True)),
        "questions": dict.fromkeys(by_kind, 9),
        "by_kind": {label: {kind: by_kind[kind][place] for kind in by_kind} for place, label in enumerate("abc")},
    }


def test_a_set_left_out_is_judged_by_the_kinds_that_the_others_choose() -> None:
    right, wrong = [0.9, 0.5, 0.1], [0.1, 0.5, 0.9]
    rows = [row(name, right, lead=right, keyword=wrong) for name in ("one", "two")]
    rows.append(row("odd", wrong, lead=right, keyword=wrong))
    found = assess.left_out(rows)
    assert found["odd"] == {
        "kinds": ("lead",),
        "scores": dict(zip("abc", right, strict=True)),
        "tau": pytest.approx(-1),
    }


@pytest.mark.parametrize(
    ("verdict", "second", "said"),
    [("better", 0.2, "same"), ("worse", 0.2, "contrary"), ("better", 0.6, "no difference shown")],
)
def test_what_labels_say_of_a_pair(verdict: str, second: float, said: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, (2, 60))
    gains = {"a": 0.6 + noise[0], "b": second + noise[1]}
    pair = Pair("mean", "a", "b", 0.1, 0.0, 0.2, 0.01, 0.01, 60, verdict)
    assert assess.by_labels([pair], gains) == {said: 1}


def test_the_committed_ranking_agrees_with_the_labels_as_promised() -> None:
    found = json.loads(COMMITTED.read_text(encoding="utf-8"))
    rows = found["sets"]
    assert (len(rows), len(found["systems"])) == (6, 5)
    by_label, own = assess.mean([item["labelled"] for item in rows]), assess.mean([item["assessed"] for item in rows])
    assert found["mean"]["tau"] == pytest.approx(assess.tau(by_label, own))
    assert found["mean"]["tau"] >= assess.PROMISED - 1e-9
    for item in rows:
        assert item["tau"] == pytest.approx(assess.tau(item["labelled"], item["assessed"]))
        assert item["assessed"] == pytest.approx(assess.of_kinds(item, list(item["questions"])))
    guide = (COMMITTED.parents[1] / "guides" / "which-model.md").read_text(encoding="utf-8")
    for item in rows:
        assert f"| {item['set']} | {item['tau']:.2f} |" in guide
