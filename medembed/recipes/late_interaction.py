"""nDCG@10 of a late-interaction model on development sets: exact MaxSim over all documents."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medembed.colbert.model import MedColBERT
from medembed.recipes.reporting import Task
from medembed.recipes.retrieval import RetrievalSet
from medembed.recipes.schema import Recipe
from medembed.runtime.tokenizer import TruncationWarning
from medembed.search.ranking import ndcg

# documents encoded and scored at a time: 200 tokens of 128 floats each are 100 MB
DOCUMENTS_AT_A_TIME = 1_000


def measure_all(folder: Path, recipe: Recipe, sets: Sequence[RetrievalSet], task: Task) -> dict[str, float]:
    """nDCG@10 on each set, rounded to five places."""
    execution = recipe.execution
    with MedColBERT(
        folder, device=execution.device, threads=execution.threads, document_length=recipe.score.max_seq_length
    ) as model:
        return {item.name: round(measure(model, item, task), 5) for item in sets}


def measure(model: MedColBERT, item: RetrievalSet, task: Task) -> float:
    """Mean nDCG@10 of a model on one set."""
    ids, texts = list(item.documents), list(item.documents.values())
    scores = np.empty((len(item.queries), len(texts)), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # what is cut is cut for every model alike
        queries = model.encode_query(list(item.queries.values()), show_progress=False)
        for start in range(0, len(texts), DOCUMENTS_AT_A_TIME):
            some = texts[start : start + DOCUMENTS_AT_A_TIME]
            scores[:, start : start + len(some)] = model.similarity(
                queries, model.encode_document(some, show_progress=False)
            )
            task.advance(len(some))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    rankings = zip(item.queries, best, strict=True)
    return float(np.mean([ndcg([ids[row] for row in rows], item.qrels[key]) for key, rows in rankings]))
