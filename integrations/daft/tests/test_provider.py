"""The provider in Daft's own plans: vectors are the model's, options reach it, workers get settings, mistakes are told."""

import inspect
import pickle
from pathlib import Path
from typing import Any

import daft
import numpy as np
import pytest
from daft.functions import embed_text
from numpy.typing import NDArray

import daft_medembed
from daft_medembed import MedEmbedProvider
from medembed import MedEmbed, errors

TEXTS = ["acute myocardial infarction", "itchy skin", "", "Metformin lowers blood glucose."] * 3


@pytest.fixture(scope="module")
def model() -> MedEmbed:
    return MedEmbed(threads=1)


def embedded(texts: list[Any], **options: Any) -> NDArray[np.float32]:
    """What a plan over a column computes."""
    frame = daft.from_pydict({"note": texts})
    options.setdefault("provider", "medembed")
    frame = frame.with_column("vector", embed_text(frame["note"], **options))
    return np.stack(frame.to_pydict()["vector"])


def test_public_names() -> None:
    assert sorted(daft_medembed.__all__) == ["MedEmbedProvider", "__version__"]


def test_every_option_of_the_model_is_an_argument_with_its_default() -> None:
    """Dimensions are Daft's argument of ``embed_text``, and an engine of one's own cannot be sent to a worker."""
    options = inspect.signature(MedEmbed).parameters
    arguments = inspect.signature(MedEmbedProvider).parameters
    assert set(options) - set(arguments) == {"engine", "truncate_dim"}
    assert {name: each.default for name, each in arguments.items()} == {
        name: options[name].default for name in arguments
    }


@pytest.mark.parametrize("options", [{}, {"batch_size": 4}], ids=["at-once", "in-batches"])
def test_vectors_are_those_of_encode(options: dict[str, int], model: MedEmbed) -> None:
    vectors = embedded(TEXTS, **options)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, model.encode(TEXTS), atol=1e-6)


def test_the_column_has_dafts_embedding_type_before_anything_is_computed() -> None:
    frame = daft.from_pydict({"note": TEXTS})
    planned = frame.with_column("vector", embed_text(frame["note"], provider="medembed"))
    assert planned.schema()["vector"].dtype == daft.DataType.embedding(daft.DataType.float32(), 384)


def test_a_session_may_have_it_as_its_default(session: daft.Session, model: MedEmbed) -> None:
    session.set_provider("medembed")
    np.testing.assert_allclose(embedded(TEXTS, provider=None), model.encode(TEXTS), atol=1e-6)


def test_documents_and_queries_get_the_prompts_of_the_model(prompted: Path, model: MedEmbed) -> None:
    passages, queries = embedded(TEXTS, model=str(prompted)), embedded(TEXTS, model=str(prompted), prompt_name="query")
    assert not np.allclose(passages, queries, atol=1e-2)
    np.testing.assert_allclose(passages, model.encode(TEXTS, prompt="passage: "), atol=1e-6)
    np.testing.assert_allclose(queries, model.encode(TEXTS, prompt="query: "), atol=1e-6)


def test_dimensions_shorten_the_vectors() -> None:
    with MedEmbed(threads=1, truncate_dim=128) as short:
        np.testing.assert_allclose(embedded(TEXTS, dimensions=128), short.encode(TEXTS), atol=1e-6)


def test_settings_of_the_provider_reach_the_model() -> None:
    long = ["pain " * 900]
    with MedEmbed(threads=1, overlong="chunk") as chunking:
        chunked = embedded(long, provider=MedEmbedProvider(threads=1, overlong="chunk"))
        np.testing.assert_allclose(chunked, chunking.encode(long), atol=1e-6)
    with pytest.raises(errors.OverlongTextError):
        embedded(long, provider=MedEmbedProvider(threads=1, overlong="error"))


def test_a_worker_gets_settings_and_the_revision_that_the_driver_found(prompted: Path) -> None:
    described = MedEmbedProvider(prompted, threads=1).get_text_embedder()
    sent = pickle.dumps(described)
    assert len(sent) < 2000
    [vector] = pickle.loads(sent).instantiate().embed_text(["chest pain"])
    assert vector.shape == (384,)
    weights = prompted / "config_sentence_transformers.json"
    weights.write_text(weights.read_text().replace("passage: ", "other: "))
    changed = MedEmbedProvider(prompted, threads=1).get_text_embedder()
    assert changed.embedder.model.settings["revision"] != described.embedder.model.settings["revision"]


def test_several_workers_give_the_rows_in_order(model: MedEmbed) -> None:
    np.testing.assert_allclose(embedded(TEXTS, concurrency=2, batch_size=2), model.encode(TEXTS), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        pytest.param(
            {"threads": 3}, errors.SettingError, "'threads'.*batch_size.*arguments of MedEmbedProvider", id="option"
        ),
        pytest.param({"prompt_name": "recipe"}, errors.SettingError, "prompt_name='recipe'", id="prompt"),
        pytest.param({"dimensions": 9999}, errors.SettingError, "truncate_dim", id="dimensions"),
        pytest.param({"model": "no-such-model"}, errors.UnknownModelError, "no-such-model", id="model"),
    ],
)
def test_what_does_not_fit_is_said_when_the_plan_is_made(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        embed_text(daft.col("note"), provider="medembed", **options)


def test_a_missing_text_is_refused_with_its_row() -> None:
    with pytest.raises(errors.InputTypeError, match="text 1 is a NoneType"):
        embedded(["chest pain", None])
