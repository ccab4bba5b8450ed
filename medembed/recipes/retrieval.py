"""nDCG@10 of a model on development sets: BEIR folders, exact search."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from medembed.colbert.model import MedColBERT
from medembed.model import MedEmbed
from medembed.recipes import models
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.records import content_id
from medembed.recipes.reporting import Task
from medembed.recipes.schema import Development, Recipe
from medembed.recipes.sources import Places, verified
from medembed.rows import beir
from medembed.search import on_disk as topk
from medembed.search.ranking import ndcg

# documents encoded and scored by MaxSim at a time: 200 tokens of 128 floats each are 100 MB
DOCUMENTS_AT_A_TIME = 1_000
# what figures are called where both are shown
OF_MODEL, OF_BASE = "nDCG@10 of this model", "nDCG@10 of its base"


@dataclass(frozen=True)
class RetrievalSet:
    """A development set in memory.

    Attributes:
        name: As in the recipe.
        queries: Id → text; only queries with a relevant document.
        documents: Id → title and text.
        qrels: Query id → document id → relevance.
    """

    name: str
    queries: dict[str, str]
    documents: dict[str, str]
    qrels: dict[str, dict[str, int]]


def read_sets(recipe: Recipe, places: Places, names: Sequence[str] | None = None) -> list[RetrievalSet]:
    """Development sets of a recipe, verified against their hashes.

    Args:
        recipe: The recipe.
        places: Where the sets are.
        names: Which; None for all.

    Raises:
        SourceError: A set is missing or is not the declared one.
        TaskDataError: Its files are malformed.
    """
    sets: list[RetrievalSet] = []
    for name, item in recipe.development.items():
        if names is None or name in names:
            folder = beir.open_folder(verified(item, name, places))
            sets.append(_part(read_set(name, folder), item))
    return sets


def read_set(name: str, folder: beir.BeirFolder) -> RetrievalSet:
    """A whole BEIR folder: its documents, and the queries that have a relevant one.

    Raises:
        TaskDataError: Its files are malformed.
    """
    documents = {item.id: f"{item.title} {item.text}".strip() for item in beir.read_documents(folder)}
    queries = {item.id: item.text for item in beir.read_queries(folder)}
    qrels = beir.read_qrels(folder, set(queries), set(documents))
    judged = [key for key in queries if any(score > 0 for score in qrels.get(key, {}).values())]
    return RetrievalSet(name, {key: queries[key] for key in judged}, documents, {key: qrels[key] for key in judged})


def _part(whole: RetrievalSet, taken: Development) -> RetrievalSet:
    """The part of a set that a recipe takes."""
    judged, documents = list(whole.queries), whole.documents
    if taken.max_queries is not None:
        judged = sorted(judged, key=content_id)[: taken.max_queries]
    qrels = {key: whole.qrels[key] for key in judged}
    if taken.max_documents is not None:
        documents = _some(documents, {key for relevant in qrels.values() for key in relevant}, taken.max_documents)
    return RetrievalSet(whole.name, {key: whole.queries[key] for key in judged}, documents, qrels)


def _some(documents: dict[str, str], needed: set[str], most: int) -> dict[str, str]:
    """All needed documents, and others drawn by hash until there are ``most``."""
    others = sorted((key for key in documents if key not in needed), key=content_id)
    kept = needed.union(others[: max(0, most - len(needed))])
    return {key: text for key, text in documents.items() if key in kept}


def measure(encoder: MedEmbed, item: RetrievalSet, task: Task) -> float:
    """Mean nDCG@10 of a model on one set, the model's own prompts applied."""
    with TemporaryDirectory() as folder:
        out = ArtifactWriter(Path(folder))
        parts = models.encode_in_parts(
            encoder, list(item.documents.values()), out, "documents", task, prompt=encoder.spec.prompts["document"]
        )
        queries = models.encode(encoder, list(item.queries.values()), prompt=encoder.spec.prompts["query"])
        ids = list(item.documents)
        values: list[float] = []
        keys = list(item.queries)
        for start in range(0, len(keys), topk.QUERIES_A_BLOCK):
            rows, _ = topk.search(queries[start : start + topk.QUERIES_A_BLOCK], parts, 10)
            found = zip(keys[start : start + len(rows)], rows, strict=True)
            values += [ndcg([ids[row] for row in ranking], item.qrels[key]) for key, ranking in found]
    return float(np.mean(values))


def measure_all(model: Path | str, recipe: Recipe, sets: Sequence[RetrievalSet], task: Task) -> dict[str, float]:
    """nDCG@10 on each set, rounded to five places.

    It is measured by MaxSim where the recipe trains for late interaction.
    """
    if recipe.train.architecture == "colbert":
        return measure_tokens(Path(model), recipe, sets, task)
    return measure_dense(model, recipe, sets, task)


def measure_dense(model: Path | str, recipe: Recipe, sets: Sequence[RetrievalSet], task: Task) -> dict[str, float]:
    """nDCG@10 of a model of one vector per text on each set. It is rounded to five places."""
    with models.load_encoder(model, recipe.execution, max_seq_length=recipe.score.max_seq_length) as encoder:
        return {item.name: round(measure(encoder, item, task), 5) for item in sets}


def measure_tokens(folder: Path, recipe: Recipe, sets: Sequence[RetrievalSet], task: Task) -> dict[str, float]:
    """nDCG@10 of a late-interaction model on each set by exact MaxSim, rounded to five places."""
    execution = recipe.execution
    with MedColBERT(
        folder, device=execution.device, threads=execution.threads, document_length=recipe.score.max_seq_length
    ) as model:
        return {item.name: round(_measure_tokens(model, item, task), 5) for item in sets}


def _measure_tokens(model: MedColBERT, item: RetrievalSet, task: Task) -> float:
    """Mean nDCG@10 of a model on one set."""
    ids, texts = list(item.documents), list(item.documents.values())
    scores = np.empty((len(item.queries), len(texts)), dtype=np.float32)
    # no warning: what is cut is cut for every model alike
    queries = model.encode_counted(list(item.queries.values()), role="query", show_progress_bar=False).vectors
    for start in range(0, len(texts), DOCUMENTS_AT_A_TIME):
        some = texts[start : start + DOCUMENTS_AT_A_TIME]
        documents = model.encode_counted(some, show_progress_bar=False).vectors
        scores[:, start : start + len(some)] = model.similarity(queries, documents)
        task.advance(len(some))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    rankings = zip(item.queries, best, strict=True)
    return float(np.mean([ndcg([ids[row] for row in rows], item.qrels[key]) for key, rows in rankings]))
