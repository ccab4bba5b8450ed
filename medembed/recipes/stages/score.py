"""Stage ``score``: the model's figures against what the recipe promises. ``python -m medembed.recipes.stages.score``."""

import json
from typing import Any

from medembed.recipes import retrieval
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places, set_identity
from medembed.recipes.stage import Stage, StageRun, Summary
from medembed.storage.durable import write_text_whole


def config(recipe: Recipe, places: Places, _round: int) -> Any:
    """The sets and the length texts are read to; the promise is compared, it changes no figure."""
    sets = {name: set_identity(item, name, places) for name, item in sorted(recipe.development.items())}
    return {
        "max_seq_length": recipe.score.max_seq_length,
        "sets": sets,
        "tolerance": recipe.score.tolerance,
        "must_rise": recipe.score.must_rise,
        "promise": _promise(places),
    }


def run(stage: StageRun) -> Summary:
    """Base, tuned and merged model side by side; below the promise by more than the tolerance fails the run."""
    recipe = stage.recipe
    report = json.loads((stage.inputs["merge"].folder / "merge.json").read_text(encoding="utf-8"))
    chosen = f"{report['ratio']:g}"
    measured: dict[str, dict[str, float]] = report["ndcg@10"]
    found = measured.get(chosen, {})
    if recipe.development and not found:
        sets = retrieval.read_sets(recipe, stage.places)
        found = retrieval.measure_all(stage.inputs["merge"].folder / "model", recipe, sets, stage.task)
    promise = _promise(stage.places)
    compared = recipe.scale == 1.0 and promise.get("merge") == stage.inputs["merge"].manifest["fingerprint"]
    below = _below(found, promise.get("ndcg@10", {}), recipe.score.tolerance) if compared else {}
    if recipe.score.must_rise:
        below |= _not_above(found, measured.get("0", {}))
    results = {"ratio": report["ratio"], "base": measured.get("0", {}), "tuned": measured.get("1", {}), "merged": found}
    write_text_whole(
        stage.out.folder / "results.json",
        json.dumps({**results, "compared": compared, "below": below}, indent=1, sort_keys=True),
    )
    # a changed recipe, another base or a shrunken run is another model: the promise is not about it
    state = (
        "met"
        if compared and not below
        else ("not met" if below else "not compared: the recipe or its base was changed, or scaled")
    )
    return {"merged nDCG@10": found, "base nDCG@10": results["base"], "promise": state, "below": below}


def _below(found: dict[str, float], promised: dict[str, float], tolerance: float) -> dict[str, dict[str, float]]:
    return {
        name: {"found": found.get(name, 0.0), "expected": value}
        for name, value in promised.items()
        if found.get(name, 0.0) < value - tolerance
    }


def _not_above(found: dict[str, float], base: dict[str, float]) -> dict[str, dict[str, float]]:
    """The two means, when the model's is not above the base's."""
    means = [sum(scores.values()) / max(1, len(scores)) for scores in (found, base)]
    return (
        {}
        if means[0] > means[1]
        else {"mean, which must rise above the base's": {"found": means[0], "expected": means[1]}}
    )


def _promise(places: Places) -> dict[str, Any]:
    """``expected.json`` beside the recipe, or nothing."""
    path = places.recipe / "expected.json"
    promise: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return promise


STAGE = Stage("score", 1, "figures on the development sets", config, run)

if __name__ == "__main__":
    import sys

    from medembed.recipes.door import stage_main

    sys.exit(stage_main("score"))
