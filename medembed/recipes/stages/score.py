"""Stage ``score``: the model's figures, and how they stand to its base's and to those measured before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medembed import border
from medembed.errors import RecipeError
from medembed.recipes import retrieval
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places, set_identity
from medembed.recipes.stage import Stage, StageRun, Summary
from medembed.storage.durable import write_text_whole

TOLERANCE = 0.01  # another machine, another version of torch: tiny moved by .004 between two of them


def config(recipe: Recipe, places: Places, _round: int) -> Any:
    """The sets and the length texts are read to."""
    sets = {name: set_identity(item, name, places) for name, item in sorted(recipe.development.items())}
    return {"max_seq_length": recipe.score.max_seq_length, "sets": sets}


def run(stage: StageRun) -> Summary:
    """Base, tuned and merged model side by side."""
    recipe = stage.recipe
    report = border.read_json_object(stage.inputs["merge"].folder / "merge.json", error=RecipeError)
    measured: dict[str, dict[str, float]] = report["ndcg@10"]
    merged = measured.get(f"{report['ratio']:g}", {})
    if recipe.development and not merged:
        sets = retrieval.read_sets(recipe, stage.places)
        merged = retrieval.measure_all(stage.inputs["merge"].folder / "model", recipe, sets, stage.task)
    base = measured.get("0", {})
    results = {"ratio": report["ratio"], "base": base, "tuned": measured.get("1", {}), "merged": merged}
    write_text_whole(stage.out.folder / "results.json", json.dumps(results, indent=1, sort_keys=True))
    return {retrieval.OF_MODEL: merged, retrieval.OF_BASE: base}


@dataclass(frozen=True)
class Verdict:
    """The standing of a model's figures beside others.

    Attributes:
        comparison: One sentence about the figures measured before.
        warning: One sentence where the model is not better than its base, else empty.
        below: What may not be published: name → the model's figure and the one asked for.
    """

    comparison: str
    warning: str
    below: dict[str, tuple[float, float]]


def judge(summary: Mapping[str, Any], recipe: Recipe, expected: Mapping[str, Any], settings: str) -> Verdict:
    """Compare a model with its base, and with what was measured with the same recipe before.

    Args:
        summary: What the stage reported.
        recipe: The recipe.
        expected: What ``expected.json`` says of it, possibly nothing.
        settings: The recipe's own fingerprint; the figures hold for the one they name.
    """
    model: dict[str, float] = summary[retrieval.OF_MODEL]
    base: dict[str, float] = summary[retrieval.OF_BASE]
    figures: dict[str, float] = expected.get("ndcg@10", {})
    below: dict[str, tuple[float, float]] = {}
    if not figures:
        comparison = "no figures were measured with this recipe before"
    elif expected.get("settings") != settings:
        comparison = f"not compared: expected.json was measured with other settings or data ({expected.get('settings')}) than these ({settings})"
    else:
        below = {
            name: (model.get(name, 0.0), value)
            for name, value in figures.items()
            if model.get(name, 0.0) < value - TOLERANCE
        }
        comparison = (
            f"{len(below)} of {len(figures)} figures are below expected.json"
            if below
            else "as good as expected.json says"
        )
    warning = ""
    if base and _mean(model) <= _mean(base):
        warning = f"this model is not better than its base on its development sets: mean nDCG@10 {_mean(model):.4f}, base {_mean(base):.4f}"
        if recipe.score.must_rise:
            below["mean, which must rise above the base's"] = (_mean(model), _mean(base))
    return Verdict(comparison, warning, below)


def _mean(scores: dict[str, float]) -> float:
    return sum(scores.values()) / max(1, len(scores))


STAGE = Stage("score", 2, "figures on the development sets", config, run)
