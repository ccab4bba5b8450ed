"""A teacher's scores of every query of a batch with every passage of it: late interaction, the dense model and BM25 together.

A teacher without a model of its own is the model that training starts from: the loss asks it, and BM25 alone is here.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property, partial

import numpy as np

from medembed.colbert.model import MedColBERT
from medembed.model import MedEmbed
from medembed.recipes import models
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.execution import Execution
from medembed.recipes.records import Triplet, content_id
from medembed.recipes.reporting import Task
from medembed.recipes.train_settings import Teacher as TeacherSettings
from medembed.runtime.lifecycle import ClosedByWith
from medembed.search.bm25 import Bm25
from medembed.vectors import Floats

# batches whose token vectors are held at once, and computed again at most after a crash: 1,024 passages of 256 tokens, 134 MB
BATCHES_A_PART = 16


class Teacher(ClosedByWith):
    """Scores the batches of a training run before it starts, so that training itself only reads numbers.

    Args:
        settings: Its model, what beside MaxSim it looks at, and its temperature.
        batch_size: Rows per batch.
        execution: Device and threads.
        out: Where scores are kept, so that a killed run does not ask again.
        task: Where to log.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        batch_size: int,
        execution: Execution,
        out: ArtifactWriter,
        task: Task,
    ) -> None:
        """Models are loaded with the first batch that nobody has scored yet."""
        self._settings, self._batch_size, self._execution = settings, batch_size, execution
        self._out, self._task = out, task
        self._loaded = ExitStack()

    def scores(self, rows: Sequence[Triplet]) -> list[list[float]]:
        """The teacher's scores of rows that lie batch after batch.

        Args:
            rows: A whole number of batches.

        Returns:
            For each row, the scores of its query with each passage of its batch, divided by the teacher's temperature.
        """
        started = time.perf_counter()
        step, kind = self._batch_size * BATCHES_A_PART, f"scores-{_mark(rows)}"
        lexical = Bm25([row.positive for row in rows]) if self._settings.bm25 else None
        parts = [
            models.array_part(self._out, kind, number, partial(self._score, rows, start, lexical))
            for number, start in enumerate(range(0, len(rows), step))
        ]
        self._task.log("taught", rows=len(rows), seconds=round(time.perf_counter() - started, 1))
        found: list[list[float]] = (
            np.concatenate([np.load(part) for part in parts]) / self._settings.temperature
        ).tolist()
        return found

    def close(self) -> None:
        """Let go of the models."""
        self._loaded.close()

    @cached_property
    def _late(self) -> MedColBERT:
        execution = self._execution
        return self._loaded.enter_context(
            MedColBERT(
                str(self._settings.model),
                device=execution.device,
                threads=execution.threads,
                document_length=self._settings.max_seq_length,
            )
        )

    @cached_property
    def _dense(self) -> MedEmbed:
        return self._loaded.enter_context(
            models.load_encoder(
                str(self._settings.model), self._execution, max_seq_length=self._settings.max_seq_length
            )
        )

    def _score(self, rows: Sequence[Triplet], start: int, lexical: Bm25 | None) -> Floats:
        """The matrices of a part's batches, queries by passages, one below the other."""
        some = rows[start : start + self._batch_size * BATCHES_A_PART]
        queries, passages = [row.query for row in some], [row.positive for row in some]
        batches = [slice(first, first + self._batch_size) for first in range(0, len(some), self._batch_size)]
        matrices = [np.zeros((batch.stop - batch.start, batch.stop - batch.start), np.float32) for batch in batches]
        if self._settings.maxsim:
            # what is cut at the teacher's limit is cut on purpose: no warning
            asked = self._late.encode_counted(queries, role="query", show_progress_bar=False).vectors
            found = self._late.encode_counted(passages, show_progress_bar=False).vectors
            tokens = np.array([len(query) for query in asked], dtype=np.float32)[:, None]
            for number, batch in enumerate(batches):
                late = self._late.similarity(asked[batch], found[batch]) / tokens[batch]
                matrices[number] += self._settings.maxsim * late
        if self._settings.cosine:
            query_vectors = models.encode(self._dense, queries, prompt=self._dense.spec.prompts["query"])
            vectors = models.encode(self._dense, passages, prompt=self._dense.spec.prompts["document"])
            for number, batch in enumerate(batches):
                matrices[number] += self._settings.cosine * (query_vectors[batch] @ vectors[batch].T)
        if lexical is not None:
            for number, batch in enumerate(batches):
                places = slice(start + batch.start, start + batch.stop)
                matrices[number] += self._settings.bm25 * _shares(lexical, queries[batch], places)
        return np.concatenate(matrices)


def _shares(index: Bm25, queries: Sequence[str], places: slice) -> Floats:
    """BM25 of a batch's passages as shares of the query's best.

    The best is taken among them. The other passages only count in the document frequencies.
    """
    scores = np.stack([index.scores(query)[places] for query in queries])
    best = scores.max(axis=1, keepdims=True)
    return np.asarray(scores / np.where(best > 0, best, 1), dtype=np.float32)


def _mark(rows: Sequence[Triplet]) -> str:
    return content_id(*(text for row in rows for text in (row.query, row.positive)))
