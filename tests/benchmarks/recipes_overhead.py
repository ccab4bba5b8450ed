"""Seconds of a run that are the pipeline's own: python -m tests.benchmarks.recipes_overhead

The recipe tiny, shrunken and with two steps of training, all stages up to a published model. First: the wall time of the run
less the time inside the stages. Again: the whole wall time of the same run when everything is built, which hashes every file.
"""

import json
import tempfile
import time

from medembed.recipes import catalog, pipeline
from medembed.recipes.load import load_recipe
from medembed.recipes.sources import Places
from medembed.recipes.stage import Stage, StageRun, Summary


def timed(stage: Stage, spent: list[float]) -> Stage:
    """The stage, its own work timed."""

    def run(given: StageRun) -> Summary:
        started = time.perf_counter()
        summary = stage.run(given)
        spent.append(time.perf_counter() - started)
        return summary

    return Stage(stage.name, stage.version, stage.makes, stage.config, run)


def main() -> None:
    spent: list[float] = []
    for module in pipeline.STAGES:
        module.STAGE = timed(module.STAGE, spent)
    entry = catalog.find("tiny")
    with tempfile.TemporaryDirectory() as work:
        settings = [
            "scale=0.01",
            "train.max_steps=2",
            "train.evaluations=0",
            "merge.ratios=[1.0]",
            "score.must_rise=false",
        ]
        settings += ["execution.device=cpu", "execution.progress=false", f"execution.work={work}"]
        recipe = load_recipe(entry.file, settings)
        places = Places(entry.folder, recipe.execution)
        started = time.perf_counter()
        built = pipeline.build(recipe, places)
        first = time.perf_counter() - started - sum(spent)
        started = time.perf_counter()
        pipeline.build(recipe, places)
        again = time.perf_counter() - started
    print(
        json.dumps(
            {
                "stages": len(built),
                "first_s": round(first, 3),
                "again_s": round(again, 3),
                "work_s": round(sum(spent), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
