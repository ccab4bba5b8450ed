"""The endpoint writer for real: SmolLM2-135M-Instruct behind llama.cpp's own server on loopback (`make test-llamacpp`)."""

from collections.abc import Iterator
from typing import Literal

import pytest

from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.records import Note, content_id
from medembed.recipes.writers.interface import Written
from medembed.recipes.writers.openai_endpoint import EndpointWriter
from tests.recipes.llamacpp import MODEL, PYTHON, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists(), reason="llama.cpp's server has an environment of its own: make test-llamacpp"
    ),
]
TEXTS = [
    "The patient has had a cough for three weeks. He denies fever. An X-ray of the chest was normal.",
    "She takes lisinopril 10 mg daily for hypertension. Her blood pressure was 138/82 today. No edema.",
]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving() as address:
        yield address


def written(endpoint: str, llm: Llm) -> list[Written]:
    writer = EndpointWriter(llm, Execution(endpoint=endpoint, timeout_s=120.0, concurrency=2), seed=7)
    try:
        return list(
            writer.write([Note(content_id(text), f"d{place}", "s", "", "", text) for place, text in enumerate(TEXTS)])
        )
    finally:
        writer.close()


@pytest.mark.parametrize("dialect", ["json_schema", "json_object_schema"])
def test_a_small_model_writes_pairs_by_sentence(
    endpoint: str, dialect: Literal["json_schema", "json_object_schema"]
) -> None:
    llm = Llm(
        model=MODEL, pairs_per_note=2, max_tokens=400, temperature=0.0, response_format=dialect, passage="sentence"
    )
    found = written(endpoint, llm)
    assert not [item for item in found if item.unanswered or item.failures]
    pairs = [pair for item in found for pair in item.pairs]
    assert pairs
    assert all(TEXTS[int(pair.doc_id[1:])][pair.start : pair.end] == pair.passage for pair in pairs)


def test_a_reply_without_a_grammar_is_counted_by_what_is_wrong_with_it(endpoint: str) -> None:
    found = written(
        endpoint, Llm(model=MODEL, pairs_per_note=2, max_tokens=60, temperature=0.0, response_format="none")
    )
    assert not [item for item in found if item.unanswered]
    assert all(item.pairs or item.failures for item in found)
