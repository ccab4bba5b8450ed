"""nDCG@10 of a multi-vector model, through sentence-transformers' evaluator. Imported only for ColBERT recipes."""

from collections.abc import Sequence
from pathlib import Path

from sentence_transformers import MultiVectorEncoder

from medembed.recipes import tuning
from medembed.recipes.retrieval import RetrievalSet
from medembed.recipes.schema import Train


def measure_all(folder: Path, sets: Sequence[RetrievalSet], device: str) -> dict[str, float]:
    """nDCG@10 with MaxSim on each set."""
    settings = Train(architecture="colbert")
    model = MultiVectorEncoder(str(folder), device=None if device == "auto" else device, local_files_only=True)
    scores: dict[str, float] = {}
    for item in sets:
        evaluator = tuning.watch([item], settings).evaluators[0]
        scores[item.name] = round(float(evaluator(model)[evaluator.primary_metric]), 5)
    return scores
