"""Token vectors, scores and pooling against sentence-transformers' MultiVectorEncoder, in every layout it loads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import MedColBERT, demo
from medembed.colbert.token_pooling import pool_tokens
from tests.colbert import folders

pytest.importorskip("sentence_transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*cut to:UserWarning")

QUERIES = ["chest pain", "Is metformin safe in kidney disease?", "", "pain " * 30, "fever; cough, chills. [unused0]"]
DOCUMENTS = [passage.text for passage in demo.passages()[:5]] + ["", "...", "Angina: chest pain, on exertion."]

EXPANDS = {"strategy": "fixed", "length": 24}
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "stanford": folders.stanford,
    "stanford attends": lambda path: folders.stanford(path, attend_to_mask_tokens=True, mask_punctuation=False),
    "pylate": folders.pylate,
    "pylate unexpanded": lambda path: folders.pylate(path, do_query_expansion=False, skiplist_words=None),
    "st bare": folders.sentence_transformers,
    "st fixed": lambda path: folders.sentence_transformers(
        path, transformer={"query_expansion": EXPANDS, "document_length": 30}, mask={"skiplist_words": list(".,")}
    ),
    "st at least": lambda path: folders.sentence_transformers(
        path,
        transformer={"query_expansion": {"strategy": "min", "length": 12, "attend": True, "token": "[PAD]"}},
        mask={"skiplist_words": list("?,"), "skiplist_tasks": ["query", "document"]},
        bias=True,
    ),
    "st lengths": lambda path: folders.sentence_transformers(
        path, transformer={"query_length": 10, "document_length": 20}, similarity="meanmaxsim"
    ),
    "st pooled": lambda path: folders.sentence_transformers(
        path,
        pooling={"pool_factor": 2.0, "num_protected_tokens": 1, "normalize_embeddings": True, "tasks": ["document"]},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_and_scores_are_those_of_sentence_transformers(layout: str, tmp_path: Path) -> None:
    folder = LAYOUTS[layout](tmp_path / "model")
    reference = _reference(folder)
    with MedColBERT(folder, precision="fp32", threads=2) as model:
        queries, documents = model.encode_query(QUERIES), model.encode_document(DOCUMENTS)
        scores = model.similarity(queries, documents)
    expected = {
        "queries": reference.encode_query(QUERIES, convert_to_numpy=True, show_progress_bar=False),
        "documents": reference.encode_document(DOCUMENTS, convert_to_numpy=True, show_progress_bar=False),
    }
    for found, wanted in zip([*queries, *documents], [*expected["queries"], *expected["documents"]], strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    wanted = reference.similarity(expected["queries"], expected["documents"]).numpy()
    # a score adds up to 64 similarities
    np.testing.assert_allclose(scores, wanted, atol=1e-4 if wanted.max() > 2 else 1e-5)


@pytest.mark.parametrize("factor", [1.5, 2, 3, 100])
def test_pooling_is_that_of_sentence_transformers(factor: float) -> None:
    import torch
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    rng = np.random.default_rng(1)
    tokens = rng.normal(size=(61, 16)).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    for protected, normalize in ((0, True), (1, False)):
        pooling = HierarchicalTokenPooling(factor, num_protected_tokens=protected, normalize_embeddings=normalize)
        wanted = pooling.pool_one(torch.from_numpy(tokens)).numpy()
        np.testing.assert_allclose(
            pool_tokens(tokens, factor, protected=protected, normalize=normalize), wanted, atol=1e-5
        )


def _reference(folder: Path) -> Any:
    import transformers
    from sentence_transformers import MultiVectorEncoder

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
