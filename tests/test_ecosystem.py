"""Code written for a SentenceTransformer: runs as it is where the meaning carries over, else is told the way here."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import FakeEngine, MedColBERT, MedEmbed
from medembed.errors import InputTypeError, SettingError, VectorError
from tests import tiny_bert

TEXTS = ["chest pain", "", "shortness of breath on exertion since last week", "pain " * 30]
PROMPTS = {"query": "query: ", "document": "passage: ", "topic": "topic: "}


@pytest.fixture(scope="module")
def unscaled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of dot products: its vectors are not of unit length."""
    folder = tmp_path_factory.mktemp("unscaled") / "model"
    return tiny_bert.make(folder, prompts=PROMPTS, normalize=False, similarity="dot")


@pytest.fixture(scope="module")
def model(unscaled_folder: Path) -> MedEmbed:
    return MedEmbed(unscaled_folder, threads=1, precision="fp32")


@pytest.fixture(scope="module")
def reference(unscaled_folder: Path) -> Any:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    return sentence_transformers.SentenceTransformer(str(unscaled_folder), device="cpu")


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
def test_every_option_of_sentence_transformers_is_known(method: str) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs = inspect.signature(getattr(sentence_transformers.SentenceTransformer, method)).parameters
    named = [name for name, parameter in theirs.items() if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    assert set(named) == set(inspect.signature(getattr(MedEmbed, method)).parameters)


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prompt_name": "topic"},
        {"prompt": "about: "},
        {"prompt": "about: ", "prompt_name": "topic"},
        {"batch_size": 2, "show_progress_bar": False},
        {"normalize_embeddings": True},
        {"convert_to_numpy": True, "convert_to_tensor": False, "precision": "float32"},
        {"output_value": "sentence_embedding", "device": "cpu", "pool": None, "chunk_size": None},
        {"truncate_dim": 16, "normalize_embeddings": True},
    ],
    ids=lambda options: "-".join(options) or "none",
)
def test_the_same_call_gives_the_same_vectors(
    model: MedEmbed, reference: Any, method: str, options: dict[str, Any]
) -> None:
    expected = getattr(reference, method)(TEXTS, **options)
    result = getattr(model, method)(TEXTS, **options)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_one_text_one_vector_as_there(model: MedEmbed, reference: Any) -> None:
    np.testing.assert_allclose(model.encode(inputs="pain"), reference.encode(inputs="pain"), atol=1e-4)


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
@pytest.mark.parametrize(
    ("options", "way"),
    [
        ({"convert_to_tensor": True}, r"convert_to_tensor=True\) is not available here: .*torch.from_numpy\(model.encode"),
        ({"convert_to_numpy": False}, r"torch.from_numpy\(model.encode"),
        ({"output_value": "token_embeddings"}, r"MedColBERT\(...\).encode_document"),
        ({"output_value": None}, r"MedColBERT"),
        ({"precision": "int8"}, r"model.quantize\(model.encode\(...\), 'int8'\)"),
        ({"device": "cuda:7"}, r"MedEmbed\(..., device='cuda'\)"),
        ({"device": ["cpu", "cpu"]}, r"device=<list>\).*MedEmbed"),
        ({"pool": {"input": None}}, r"pool=<dict>\).*EmbeddedCorpus"),
        ({"chunk_size": 64}, r"chunk_size=64"),
        ({"batch_size": 0}, r"batch_size=0: give a whole number from 1"),
        ({"batch_size": 2.0}, r"batch_size=2.0"),
        ({"truncate_dim": 65}, r"truncate_dim=65: this model takes a whole number from 1 to 64"),
        ({"prompt_name": "nobody"}, r"prompt_name='nobody': this model has 'query', 'document', 'topic'"),
        ({"prompt": 3}, r"prompt is a int, not a str"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_another_meaning_is_refused_with_the_way_here(
    model: MedEmbed, method: str, options: dict[str, Any], way: str
) -> None:
    with pytest.raises(SettingError, match=way):
        getattr(model, method)(TEXTS, **options)


@pytest.mark.parametrize(
    ("name", "value", "way"),
    [
        ("prompts", {"query": "query: "}, r"encode\(..., prompt="),
        ("default_prompt_name", "query", r"encode\(..., prompt="),
        ("truncate_dim", 16, r"MedEmbed\(..., truncate_dim="),
        ("similarity_fn_name", "dot", "config_sentence_transformers.json"),
        ("max_seq_length", 16, r"MedEmbed\(..., max_seq_length="),
        ("tokenizer", None, "the folder's own"),
    ],
)
def test_an_attribute_that_would_change_nothing_is_not_set(model: MedEmbed, name: str, value: Any, way: str) -> None:
    with pytest.raises(SettingError, match=rf"model.{name} cannot be set on a loaded model: .*{way}"):
        setattr(model, name, value)
    assert name not in vars(model)


@pytest.mark.parametrize("method", ["encode_query", "encode_document"])
def test_late_interaction_takes_the_same_words(colbert_folder: Path, method: str) -> None:
    late = MedColBERT(colbert_folder, threads=1, precision="fp32")
    encode = getattr(late, method)
    for one, other in zip(encode(TEXTS[:1], batch_size=1, normalize_embeddings=True), encode(TEXTS[:1]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    [own], [given] = encode(["pain"]), encode(["pain"], prompt="about ")
    assert own.shape != given.shape or not np.allclose(own, given)
    for refused in ({"convert_to_tensor": True}, {"convert_to_numpy": False}, {"batch_size": -1}, {"prompt_name": "x"}):
        with pytest.raises(SettingError):
            encode("pain", **refused)


@pytest.fixture
def colbert_folder(tmp_path: Path) -> Path:
    from tests.colbert import folders

    return folders.stanford(tmp_path / "colbert")


def test_dimensions_and_similarities_have_their_names(model: MedEmbed, reference: Any) -> None:
    assert model.get_embedding_dimension() == model.get_sentence_embedding_dimension() == 64
    assert reference.get_embedding_dimension() == 64
    rows, others = model.encode(TEXTS), model.encode(TEXTS[::-1])
    np.testing.assert_allclose(model.similarity(rows, others), reference.similarity(rows, others), rtol=1e-4)
    np.testing.assert_allclose(
        model.similarity_pairwise(rows, others), reference.similarity_pairwise(rows, others), rtol=1e-4
    )


def test_batch_size_bounds_the_rows_of_every_batch() -> None:
    seen: list[int] = []

    class Counting(FakeEngine):
        def pooled(self, ids: Any, *, alone: bool = False) -> Any:
            seen.append(len(ids))
            return super().pooled(ids, alone=alone)

    model = MedEmbed(engine=Counting(dimension=8))
    model.encode(TEXTS * 5, batch_size=3)
    assert max(seen) == 3
    assert sum(seen) == 20


@pytest.mark.parametrize("given", [np.zeros((2, 64), np.int8), np.zeros((2, 64), np.uint8), np.zeros((2, 8), bool)])
def test_integers_are_not_taken_for_vectors(model: MedEmbed, given: np.ndarray) -> None:
    for compare in (model.similarity, model.similarity_pairwise):
        with pytest.raises(VectorError, match=r"floats are needed: .*similarity\(..., kind='int8'\)"):
            compare(given, given)


def test_counted_encoding_neither_warns_nor_changes_vectors(tiny: MedEmbed) -> None:
    long = "pain " * 200
    encoded = tiny.encode_counted(["pain", long], prompt_name="document")
    assert (encoded.cut.texts, encoded.cut.tokens > 100) == (1, True)
    np.testing.assert_array_equal(encoded.vectors[0], tiny.encode_document("pain"))
    with pytest.raises(InputTypeError):
        tiny.encode_counted("pain")
