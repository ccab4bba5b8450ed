"""Stage ``triplets``: pairs and negatives → training rows, split by document."""

from collections import Counter
from pathlib import Path
from typing import Any

from medembed.errors import EmptyStageError
from medembed.recipes import layouts
from medembed.recipes.records import Mined, Pair, Triplet, content_id, document_of, read_parquet, write_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stage import Stage, StageRun, Summary
from medembed.recipes.training import selection

ROWS_A_PART = 16384


def config(recipe: Recipe, _places: Places, _round: int) -> Any:
    """The settings, the seed, and how many negatives a row of the exported layouts has."""
    settings = recipe.triplets
    return {"triplets": settings, "seed": recipe.seed, "per_query": recipe.negatives.per_query}


def run(stage: StageRun) -> Summary:
    """Join, cap, shuffle and split. Write our own rows and the layouts that other tools read."""
    settings, seed = stage.recipe.triplets, stage.recipe.seed
    chosen = selection.select(read_parquet(stage.inputs["filters"].parts("pairs"), Pair), settings, seed)
    wanted = {pair.pair_id for pair in chosen}
    mined = {
        row.pair_id: row
        for row in read_parquet(stage.inputs["negatives"].parts("mined"), Mined)
        if row.pair_id in wanted
    }
    texts = {
        content_id(text): text
        for pair in read_parquet(stage.inputs["filters"].parts("pairs"), Pair)
        for text in (pair.passage, *pair.negatives)
    }
    split: dict[str, list[Triplet]] = {"train": [], "held_out": []}
    for pair in chosen:
        name = "held_out" if is_held_out(document_of(pair)[1], seed, settings.held_out) else "train"
        negatives = [texts[key] for key in mined[pair.pair_id].negative_ids]
        row = Triplet(pair.query, pair.passage, negatives, mined[pair.pair_id].scores, pair.source, pair.doc_id)
        split[name].append(row)
        stage.task.advance()
    if not split["train"]:
        raise EmptyStageError("no training row is left: every document was held out or capped; look at [triplets]")
    for name, triplets in split.items():
        for index, start in enumerate(range(0, max(1, len(triplets)), ROWS_A_PART)):
            block = triplets[start : start + ROWS_A_PART]
            stage.out.write_part(name, index, "parquet", lambda path, rows=block: write_parquet(path, rows, Triplet))  # type: ignore[misc]
    sources = Counter(row.source for row in split["train"])
    stage.out.write_folder("dataset", lambda folder: _export(folder, stage, split, sources))
    return {"rows": len(split["train"]), "held_out": len(split["held_out"]), "counts": dict(sorted(sources.items()))}


def is_held_out(doc_id: str, seed: int, share: float) -> bool:
    """Tell whether a document's rows are kept out of training. All rows of a document are treated alike."""
    return int(content_id(str(seed), doc_id)[:8], 16) < share * 2**32


def _export(folder: Path, stage: StageRun, split: dict[str, list[Triplet]], sources: Counter[str]) -> None:
    """Write every layout of every split that has rows."""
    recipe = stage.recipe
    written = {name: layouts.complete(rows, recipe.negatives.per_query) for name, rows in split.items()}
    written = {name: rows for name, rows in written.items() if rows}
    for name, rows in written.items():
        layouts.write_sentence_transformers(folder / f"sentence-transformers/{name}.jsonl", rows)
        layouts.write_flag_embedding(folder / f"flagembedding/{name}.jsonl", rows)
        layouts.write_triplet_columns(folder / f"triplets/{name}.jsonl", rows)
    layouts.write_card(folder / "README.md", recipe, {name: len(rows) for name, rows in written.items()}, sources)


STAGE = Stage("triplets", 2, "training rows in three layouts", config, run)
