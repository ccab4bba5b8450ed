"""Late-interaction models as mteb measures them. They search a whole corpus, or what a first stage has found."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.colbert.model import MedColBERT
from medembed.errors import SettingError
from medembed.evaluation import mteb_bridge
from medembed.evaluation.models import ModelRef, Setup, model_ref
from medembed.evaluation.mteb_bridge import BoundedSearch, MedEmbedEncoder

Floats = NDArray[np.float32]

# documents encoded and scored at a time: 200 tokens of 128 floats each are 100 MB
CHUNK_DOCUMENTS = 1_000


def load_model(ref: ModelRef, setup: Setup) -> "LateEncoder":
    """Load a late-interaction model, and its first stage where there is one."""
    model = MedColBERT(
        ref.source,
        device=setup.device,
        precision=setup.precision,  # type: ignore[arg-type]
        threads=setup.threads,
        document_length=setup.max_seq_length,
        local_files_only=setup.local_files_only,
    )
    return LateEncoder(ref, setup, model)


class LateEncoder(MedEmbedEncoder):
    """A `MedColBERT` as mteb calls encoders. But a text is a matrix, and similarity is MaxSim."""

    def __init__(self, ref: ModelRef, setup: Setup, model: MedColBERT) -> None:
        self._late, self._setup = model, setup
        self._first: Any = None
        super().__init__(ref, setup, loaded=model)  # type: ignore[arg-type]

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> list[Floats]:  # type: ignore[override]
        """Encode what mteb hands over. One array per text, in order, *Shape:* ``(tokens, dimension)``."""
        if prompt_type is None:
            raise SettingError(
                f"{self._late.name!r} is a late-interaction model: it is measured on retrieval tasks only"
            )
        texts = [text for batch in inputs for text in batch["text"]]
        start = time.perf_counter()
        # benchmarks hold long documents on purpose: what was cut is counted in the details file, without a warning
        encoded = self._late.encode_counted(texts, role="query" if prompt_type.value == "query" else "document")
        self.seconds += time.perf_counter() - start
        self.texts += len(texts)
        return encoded.vectors

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """MaxSim of every query with every document. *Shape:* ``(queries, documents)``."""
        return self._late.similarity(*([np.asarray(row) for row in rows] for rows in (embeddings1, embeddings2)))

    def searcher(self) -> Any:
        """Search over the whole corpus, or over what the first stage finds."""
        if self._setup.first_stage is None:
            return LateSearch(self, None, 0)
        if self._first is None:
            alone = replace(self._setup, first_stage=None)
            self._first = mteb_bridge.load_model(model_ref(self._setup.first_stage, alone), alone)
        encodes = isinstance(self._first, MedEmbedEncoder) or not hasattr(self._first, "search")
        return LateSearch(self, BoundedSearch(self._first) if encodes else self._first, self._setup.depth)

    def describe(self) -> dict[str, Any]:
        """Describe the encoding since `start_counting`, for the details file."""
        return {
            "seconds": round(self.seconds, 3),
            "texts": self.texts,
            "truncated_texts": self.model.truncated.texts - self._truncated_before,
            "query_length": self._late.query_length,
            "document_length": self._late.document_length,
            "device": self._late.device,
            "precision": self._late.precision,
        }

    def close(self) -> None:
        """Give back the threads and memory of both stages."""
        super().close()
        if isinstance(self._first, MedEmbedEncoder):
            self._first.close()


class LateSearch(BoundedSearch):
    """Exact MaxSim search over a corpus, in chunks.

    With a first stage, it runs over the documents that the first stage ranks highest.
    """

    task_corpus: Any

    def __init__(self, model: LateEncoder, first: Any, depth: int) -> None:
        super().__init__(model)
        self._first, self._depth = first, depth

    def chunk_rows(self, n_queries: int) -> int:
        """Documents at a time: token vectors take more room than scores."""
        return min(CHUNK_DOCUMENTS, super().chunk_rows(n_queries))

    def index(self, corpus: Any, **options: Any) -> None:
        """Remember the corpus. Nothing is encoded yet."""
        super().index(corpus, **options)
        if self._first is not None:
            self._first.index(corpus, **options)

    def search(self, queries: Any, **options: Any) -> Any:
        """Search, or order what the first stage finds. A task's own candidates come first."""
        if self._first is not None and options.get("top_ranked") is None:
            found = self._first.search(queries, **{**options, "top_k": self._depth})
            ranked = {query: sorted(scores, key=scores.__getitem__, reverse=True) for query, scores in found.items()}
            wanted = {document for documents in ranked.values() for document in documents}
            places = [place for place, name in enumerate(self.task_corpus["id"]) if name in wanted]
            self.task_corpus = self.task_corpus.select(places)
            options["top_ranked"] = ranked
        return super().search(queries, **options)
