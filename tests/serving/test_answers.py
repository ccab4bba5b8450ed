"""What a server answers, and that it equals what the library gives."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from medembed import MedColBERT, MedEmbed
from medembed.serving import schemas

LONG = "pain " * 200


def ask(client: TestClient, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(client: TestClient, path: str, body: Any) -> tuple[int, str]:
    answer = client.post(path, json=body)
    told = schemas.Failure.model_validate(answer.json())
    assert told.error.code == answer.status_code
    return answer.status_code, told.message


@pytest.mark.parametrize("role", ["query", "document", None])
def test_embeddings_are_those_of_encode(client: TestClient, tiny: MedEmbed, role: str | None) -> None:
    texts = ["chest pain", "fever", ""]
    told = ask(client, "/v1/embeddings", input=texts, **({"input_type": role} if role else {}))
    schemas.Embeddings.model_validate(told)
    expected = tiny.encode(texts, prompt_name=role)
    np.testing.assert_allclose([one["embedding"] for one in told["data"]], expected, atol=1e-6)
    assert [one["index"] for one in told["data"]] == [0, 1, 2]
    prompt = tiny.spec.prompts[role] if role else ""
    assert told["usage"]["prompt_tokens"] == sum(tiny.count_tokens(texts, prompt=prompt))


def test_many_empty_texts_are_answered_as_one(client: TestClient, tiny: MedEmbed) -> None:
    """As many as a request may have; of 100,000 the server says how many there may be."""
    told = ask(client, "/v1/embeddings", input=[""] * 2048, encoding_format="base64")
    assert len({one["embedding"] for one in told["data"]}) == 1
    found = np.frombuffer(base64.b64decode(told["data"][2047]["embedding"]), dtype="<f4")
    np.testing.assert_allclose(found, tiny.encode(""), atol=1e-6)


def test_base64_is_little_endian_floats(client: TestClient, tiny: MedEmbed) -> None:
    told = ask(client, "/v1/embeddings", input="chest pain", encoding_format="base64")
    found = np.frombuffer(base64.b64decode(told["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_allclose(found, tiny.encode("chest pain"), atol=1e-6)


def test_dimensions_are_those_asked_for(client: TestClient, tiny_folder: Path) -> None:
    told = ask(client, "/v1/embeddings", input=["chest pain"], dimensions=16)
    with MedEmbed(tiny_folder, threads=1, truncate_dim=16) as short:
        np.testing.assert_allclose(told["data"][0]["embedding"], short.encode("chest pain"), atol=1e-6)
    assert refusal(client, "/v1/embeddings", {"input": "a", "dimensions": 9999})[0] == 422


def test_what_is_cut_is_told(client: TestClient, tiny: MedEmbed) -> None:
    answer = client.post("/v1/embeddings", json={"input": [LONG, "pain", LONG]})
    usage = answer.json()["usage"]
    left_out = sum(max(0, count - tiny.max_seq_length) for count in tiny.count_tokens([LONG, LONG]))
    assert (usage["truncated_texts"], usage["truncated_tokens"]) == (2, left_out)
    assert answer.headers["x-truncated-texts"] == "2"
    assert "access-control-allow-origin" not in answer.headers


def test_overlong_is_chosen_per_request(client: TestClient, tiny_folder: Path) -> None:
    with MedEmbed(tiny_folder, threads=1, overlong="chunk") as whole:
        told = ask(client, "/v1/embeddings", input=[LONG], overlong="chunk")
        np.testing.assert_allclose(told["data"][0]["embedding"], whole.encode(LONG), atol=1e-6)
    assert told["usage"]["truncated_texts"] == 0
    status, message = refusal(client, "/v1/embeddings", {"input": ["pain", LONG], "overlong": "error"})
    assert (status, message.startswith("text 1 has")) == (422, True)


REFUSED = {
    "token ids": ({"input": [1, 2, 3]}, 422, "token ids"),
    "lists of token ids": ({"input": [[1, 2], [3]]}, 422, "token ids"),
    "a number": ({"input": 17}, 422, "input"),
    "no text": ({"input": []}, 422, "no text"),
    "a field that does nothing": ({"input": "a", "secret words": 1}, 422, "the fields are"),
    "another model": ({"input": "a", "model": "text-embedding-3-large"}, 404, "/v1/models"),
    "no input": ({}, 422, "input"),
    "a list": ([], 422, "the body"),
    "another format": ({"input": "a", "encoding_format": "int8"}, 422, "encoding_format"),
    "100,000 empty texts": ({"input": [""] * 100_000}, 413, "100,000 texts"),
}


@pytest.mark.parametrize(("body", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_why_and_quotes_nothing(client: TestClient, body: Any, status: int, words: str) -> None:
    told = refusal(client, "/v1/embeddings", body)
    assert told[0] == status
    assert words in told[1]
    assert "secret" not in told[1]


def test_tei_embeds_and_tells_of_itself(client: TestClient, tiny: MedEmbed) -> None:
    told = ask(client, "/embed", inputs=["chest pain", "fever"], prompt_name="query")
    np.testing.assert_allclose(told, tiny.encode_query(["chest pain", "fever"]), atol=1e-6)
    assert refusal(client, "/embed", {"inputs": LONG, "truncate": False})[0] == 422
    info = schemas.TeiInfo.model_validate(client.get("/info").json())
    assert (info.max_input_length, info.model_sha) == (tiny.max_seq_length, tiny.revision)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_a_ranking_is_that_of_late_interaction(client: TestClient, colbert_folder: Path, path: str) -> None:
    documents: list[Any] = ["swollen calf", {"text": "chest pain"}, "itchy rash", "chest pain"]
    with MedColBERT(colbert_folder, threads=1) as model:
        expected = model.rerank("pain in the chest", ["swollen calf", "chest pain", "itchy rash", "chest pain"], 3)
    told = ask(client, path, query="pain in the chest", documents=documents, top_n=3, return_documents=True)
    schemas.Ranking.model_validate(told)
    assert [one["index"] for one in told["results"]] == [one.index for one in expected]
    np.testing.assert_allclose(
        [one["relevance_score"] for one in told["results"]], [one.score for one in expected], rtol=1e-4
    )
    assert told["results"][0]["document"]["text"]
    tei = ask(client, "/rerank", query="pain in the chest", texts=["swollen calf", "chest pain"])
    assert {one["index"] for one in tei} == {0, 1}


def test_a_server_without_ranking_says_what_it_lacks(serve: Any) -> None:
    status, message = refusal(serve(), "/v1/rerank", {"query": "a", "documents": ["b"]})
    assert (status, "--late-interaction" in message) == (501, True)


def test_a_truth_value_is_no_weight_and_a_whole_number_is_one(client: TestClient) -> None:
    assert refusal(client, "/v1/search", {"query": "fever", "hybrid": {"weight": False}})[0] == 422
    assert ask(client, "/v1/search", query="fever", hybrid={"weight": 1})["results"][0]["hits"]


def test_what_is_not_there_and_what_is_open(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/nothing/here").status_code == 404
    assert client.get("/v1/embeddings").status_code == 405
    assert client.post("/v1/embeddings", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    models = schemas.Models.model_validate(client.get("/v1/models").json())
    assert models.corpora == ["notes"]
    assert "medembed_requests_total" in client.get("/metrics").text


def test_the_openapi_document_names_every_route_and_resolves(client: TestClient) -> None:
    told = client.get("/openapi.json").json()
    assert set(told["paths"]) >= {"/v1/embeddings", "/v1/rerank", "/v1/search", "/embed", "/rerank", "/info", "/health"}
    known = told["components"]["schemas"]

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [*([value["$ref"]] if "$ref" in value else []), *(r for v in value.values() for r in references(v))]
        return [r for v in value for r in references(v)] if isinstance(value, list) else []

    assert {reference.rsplit("/", 1)[1] for reference in references(told)} <= set(known)


def test_the_page_asks_nothing_of_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text
    assert "connect-src 'self'" in page.headers["content-security-policy"]
