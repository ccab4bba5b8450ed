"""A teacher's scores of every query of a batch with every passage of it: late interaction, the dense model and BM25 together."""

import hashlib
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medembed.colbert.model import MedColBERT
from medembed.corpus.lexical import Bm25
from medembed.model import MedEmbed
from medembed.recipes import models, schema
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.records import Triplet
from medembed.recipes.reporting import Task
from medembed.tokenizer import TruncationWarning

Floats = NDArray[np.float32]

# batches whose token vectors are held at once, and computed again at most after a crash: 1,024 passages of 256 tokens, 134 MB
BATCHES_A_PART = 16


class Teacher:
    """Scores the batches of a training run before it starts, so that training itself only reads numbers.

    Args:
        settings: Its model, what beside MaxSim it looks at, and its temperature.
        batch_size: Rows a batch.
        execution: Device and threads.
        out: Where scores are kept, so that a killed run does not ask again.
        task: Where to log.
    """

    def __init__(
        self, settings: schema.Teacher, batch_size: int, execution: schema.Execution, out: ArtifactWriter, task: Task
    ) -> None:
        """Load nothing yet."""
        self._settings, self._batch_size, self._execution = settings, batch_size, execution
        self._out, self._task = out, task

    def scores(self, rows: Sequence[Triplet]) -> list[list[float]]:
        """What the teacher says of rows that lie batch after batch.

        Args:
            rows: A whole number of batches.

        Returns:
            For each row, the scores of its query with each passage of its batch, divided by the teacher's temperature.
        """
        started = time.perf_counter()
        step = self._batch_size * BATCHES_A_PART
        kind = f"scores-{_mark(rows)}"
        found: list[Floats] = []
        with warnings.catch_warnings(), ExitStack() as stack:
            warnings.simplefilter("ignore", TruncationWarning)
            views = self._views(rows, stack)
            for number, start in enumerate(range(0, len(rows), step)):
                part = self._out.part(kind, number)
                if part is None:
                    scores = np.concatenate(list(self._batches(views, rows, start, min(start + step, len(rows)))))
                    part = self._out.write_part(
                        kind,
                        number,
                        "npy",
                        lambda path, held=scores: models.save_array(path, held),  # type: ignore[misc]
                    )
                found.append(np.load(part))
        self._task.log("taught", rows=len(rows), seconds=round(time.perf_counter() - started, 1))
        return (np.concatenate(found) / self._settings.temperature).tolist()  # type: ignore[no-any-return]

    def _views(self, rows: Sequence[Triplet], stack: ExitStack) -> "_Views":
        """What the settings ask for, loaded."""
        settings, execution = self._settings, self._execution
        late = MedColBERT(settings.model, device=execution.device, threads=execution.threads)
        return _Views(
            stack.enter_context(late),
            stack.enter_context(models.load_encoder(settings.model, execution)) if settings.cosine else None,
            Bm25([row.positive for row in rows]) if settings.bm25 else None,
        )

    def _batches(self, views: "_Views", rows: Sequence[Triplet], start: int, stop: int) -> Iterator[Floats]:
        """One matrix a batch of ``rows[start:stop]``, queries by passages."""
        queries, passages = [row.query for row in rows[start:stop]], [row.positive for row in rows[start:stop]]
        late = (
            views.late.encode_query(queries, show_progress=False),
            views.late.encode_document(passages, show_progress=False),
        )
        if views.dense is not None:
            dense = (
                views.dense.encode_query(queries, show_progress=False),
                views.dense.encode_document(passages, show_progress=False),
            )
        for first in range(0, stop - start, self._batch_size):
            batch = slice(first, first + self._batch_size)
            tokens = np.array([len(query) for query in late[0][batch]], dtype=np.float32)[:, None]
            scores = views.late.similarity(late[0][batch], late[1][batch]) / tokens
            if views.dense is not None:
                scores += self._settings.cosine * (dense[0][batch] @ dense[1][batch].T)
            if views.lexical is not None:
                places = slice(start + first, start + first + self._batch_size)
                scores += self._settings.bm25 * _shares(views.lexical, queries[batch], places)
            yield scores


@dataclass(frozen=True)
class _Views:
    """What a teacher looks at."""

    late: MedColBERT
    dense: MedEmbed | None
    lexical: Bm25 | None


def _shares(index: Bm25, queries: Sequence[str], places: slice) -> Floats:
    """BM25 of a batch's passages as shares of the query's best among them; the others only lend their document frequencies."""
    scores = np.stack([index.scores(query)[places] for query in queries])
    best = scores.max(axis=1, keepdims=True)
    return np.asarray(scores / np.where(best > 0, best, 1), dtype=np.float32)


def _mark(rows: Sequence[Triplet]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.query}\0{row.positive}\0".encode())
    return digest.hexdigest()[:12]
