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

SHRUNKEN = ("scale=0.01", "train.max_steps=2", "train.evaluations=0", "merge.ratios=[1.0]", "score.must_rise=false")


def main() -> None:
    entry = catalog.find("tiny")
    with tempfile.TemporaryDirectory() as work:
        settings = [*SHRUNKEN, "execution.device=cpu", "execution.progress=false", f"execution.work={work}"]
        recipe = load_recipe(entry.file, settings)
        places = Places(entry.folder, recipe.execution)
        started = time.perf_counter()
        built = pipeline.build(recipe, places)
        inside = sum(item.seconds for item in built)
        first = time.perf_counter() - started - inside
        started = time.perf_counter()
        pipeline.build(recipe, places)
        again = time.perf_counter() - started
    found = {"stages": len(built), "first_s": round(first, 3), "again_s": round(again, 3), "stages_s": round(inside, 1)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
