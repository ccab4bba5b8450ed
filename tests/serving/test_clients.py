"""The clients that people have, against a server in a process of its own. Run with `make test-serve`."""

import asyncio
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cohere", reason="the clients have an environment of their own: make test-serve")
pytest.importorskip("llama_index.embeddings.openai")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import cohere
    import openai
    from huggingface_hub import AsyncInferenceClient, InferenceClient
    from langchain_huggingface import HuggingFaceEndpointEmbeddings
    from langchain_openai import OpenAIEmbeddings
    from llama_index.embeddings.openai import OpenAIEmbedding

from medembed import MedEmbed
from medembed.serving import keys
from tests.serving.conftest import Running, running

pytestmark = pytest.mark.filterwarnings("default")

TEXTS = ["chest pain", "swollen calf", ""]
LONG = "pain " * 200


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def key(key_file: Path) -> str:
    return keys.add(key_file, "clients", corpora=None, scope={}, may=keys.USES)


@pytest.fixture(scope="module")
def server(key: str, key_file: Path, tiny_folder: Path, colbert_folder: Path, notes: Path) -> Iterator[Running]:
    words = (
        str(tiny_folder),
        "--late-interaction",
        str(colbert_folder),
        "--corpus",
        str(notes),
        "--keys",
        str(key_file),
    )
    with running(*words) as one:
        yield one


@pytest.fixture
def own(server: Running, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key=key)


def test_openai(own: openai.OpenAI, tiny: MedEmbed) -> None:
    for how in ({}, {"encoding_format": "float"}, {"user": "ward 7"}, {"dimensions": 64}):
        told = own.embeddings.create(model="model", input=TEXTS, **how)
        np.testing.assert_allclose([one.embedding for one in told.data], tiny.encode(TEXTS), atol=1e-6)
    query = own.embeddings.create(model="model", input="pain", extra_body={"input_type": "query"})
    np.testing.assert_allclose(query.data[0].embedding, tiny.encode_query("pain"), atol=1e-6)
    assert [one.id for one in own.models.list().data]


def test_openai_is_told_what_is_cut_and_why_it_is_refused(own: openai.OpenAI, server: Running) -> None:
    raw = own.embeddings.with_raw_response.create(model="model", input=[LONG, "pain"])
    assert raw.headers["x-truncated-texts"] == "1"
    assert raw.parse().usage.model_extra["truncated_texts"] == 1
    with pytest.raises(openai.UnprocessableEntityError, match="text 0 has"):
        own.embeddings.create(model="model", input=[LONG], extra_body={"overlong": "error"})
    with pytest.raises(openai.UnprocessableEntityError, match="token ids"):
        own.embeddings.create(model="model", input=[[1, 2]])
    with pytest.raises(openai.AuthenticationError, match="not one of this server's"):
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="wrong").embeddings.create(model="model", input="a")
    with pytest.raises(openai.NotFoundError, match="/v1/models"):
        own.embeddings.create(model="text-embedding-3-small", input="a")


def test_langchain_openai(server: Running, key: str, tiny: MedEmbed) -> None:
    settings: dict[str, Any] = {
        "base_url": f"{server.address}/v1",
        "api_key": key,
        "model": "model",
        "check_embedding_ctx_length": False,
    }
    embeddings = OpenAIEmbeddings(**settings)
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), tiny.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(embeddings.embed_query("pain"), tiny.encode("pain"), atol=1e-6)
    np.testing.assert_allclose(asyncio.run(embeddings.aembed_query("pain")), tiny.encode("pain"), atol=1e-6)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client calls no address while tests forbid it the hub: here it calls the server of the test."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("online")
def test_langchain_hugging_face(server: Running, key: str, tiny: MedEmbed) -> None:
    embeddings = HuggingFaceEndpointEmbeddings(model="medembed/mini", huggingfacehub_api_token=key)
    # since 1.2 its `model` may be no address; the client that it holds may have one
    embeddings.client = InferenceClient(base_url=server.address, token=key)
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), tiny.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(embeddings.embed_query("pain"), tiny.encode("pain"), atol=1e-6)


def test_llama_index(server: Running, key: str, tiny: MedEmbed) -> None:
    embedding = OpenAIEmbedding(model_name="model", api_base=f"{server.address}/v1", api_key=key, embed_batch_size=2)
    np.testing.assert_allclose(
        embedding.get_text_embedding_batch(["chest pain", "rash", "fever"]),
        tiny.encode(["chest pain", "rash", "fever"]),
        atol=1e-6,
    )
    np.testing.assert_allclose(embedding.get_query_embedding("pain"), tiny.encode("pain"), atol=1e-6)


@pytest.mark.usefixtures("online")
def test_hugging_face_hub(server: Running, key: str, tiny: MedEmbed) -> None:
    client = InferenceClient(base_url=server.address, token=key)
    found = client.feature_extraction("pain", prompt_name="query", truncate=True)
    np.testing.assert_allclose(found[0], tiny.encode_query("pain"), atol=1e-6)
    found = asyncio.run(AsyncInferenceClient(base_url=server.address, token=key).feature_extraction("pain"))
    np.testing.assert_allclose(found[0], tiny.encode("pain"), atol=1e-6)


@pytest.mark.parametrize("client", [cohere.Client, cohere.ClientV2])
def test_cohere(server: Running, key: str, client: Any) -> None:
    documents = ["swollen calf", "chest pain", "itchy rash"]
    told = client(api_key=key, base_url=server.address).rerank(
        model="model", query="pain in the chest", documents=documents, top_n=2
    )
    assert len(told.results) == 2
    assert told.results[0].relevance_score >= told.results[1].relevance_score


def test_schemathesis_finds_nothing(server: Running, key: str, tmp_path: Path) -> None:
    """Bodies after the OpenAPI document, right and wrong ones: no failure of the server, and only answers that it names."""
    import subprocess
    import sys

    checks = (
        "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
        "negative_data_rejection", "ignored_auth", "unsupported_method",
    )  # fmt: skip
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.address}/openapi.json", "--header", f"Authorization: Bearer {key}",
        "--max-examples", "25", "--no-color", "--seed", "1", "--continue-on-failure", "--suppress-health-check", "all",
        "--checks", ",".join(checks),
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout[-12_000:] + ran.stderr[-2_000:]
