"""Spans, with OpenTelemetry's own SDK and its exporter in memory. Run with `make test-serve`."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from medembed.serving import tracing
from tests.serving.conftest import Serve

SECRET = "unmistakable"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_server_that_nobody_traces_imports_nothing_of_it() -> None:
    program = (
        "import sys; from medembed.serving import app, served, tracing\n"
        "made = tracing.Tracing()\n"
        "with made.request('GET', '/health', {}) as one, made.part('encode') as two: assert one is two is tracing.OFF\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def exporter() -> Any:
    """Where spans end up."""
    sdk = "opentelemetry.sdk.trace"
    provider = pytest.importorskip(sdk, reason="the SDK is among the clients: make test-serve").TracerProvider()
    made = importlib.import_module(f"{sdk}.export.in_memory_span_exporter").InMemorySpanExporter()
    provider.add_span_processor(importlib.import_module(f"{sdk}.export").SimpleSpanProcessor(made))
    importlib.import_module("opentelemetry.trace").set_tracer_provider(provider)
    return made


@pytest.fixture
def traced(exporter: Any, serve: Serve, notes: Path, colbert_folder: Path) -> Iterator[TestClient]:
    """A server of everything in a process that is traced, and no span yet."""
    client = serve(corpora={"notes": notes}, late_interaction=str(colbert_folder))
    exporter.clear()
    yield client
    exporter.clear()


REQUESTS: dict[str, tuple[str, Any, int, list[str]]] = {
    "embeddings": ("/v1/embeddings", {"input": [SECRET, "pain"]}, 200, ["encode"]),
    "tei": ("/embed", {"inputs": SECRET}, 200, ["encode"]),
    "rerank": ("/v1/rerank", {"query": SECRET, "documents": [SECRET, "pain"]}, 200, ["rank"]),
    "search": ("/v1/search", {"query": SECRET, "k": 2, "filter": {"ward": "icu"}}, 200, ["search"]),
    "search in a new order": ("/v1/search", {"query": SECRET, "k": 2, "rerank": True}, 200, ["search", "rank"]),
    "refused": ("/v1/embeddings", {"input": [SECRET], SECRET: 1}, 422, []),
    "too long": ("/v1/embeddings", {"input": f"{SECRET} " * 400, "overlong": "error"}, 422, ["encode"]),
    "no such column": ("/v1/search", {"query": SECRET, "filter": {SECRET: SECRET}}, 422, ["search"]),
}


@pytest.mark.parametrize(("path", "body", "status", "parts"), REQUESTS.values(), ids=REQUESTS)
def test_a_request_is_a_span_with_its_parts_and_no_text(
    traced: TestClient, exporter: Any, path: str, body: Any, status: int, parts: list[str]
) -> None:
    answer = traced.post(path, json=body, headers={"traceparent": PARENT})
    assert answer.status_code == status
    *inside, whole = exporter.get_finished_spans()
    assert [span.name for span in inside] == parts
    assert {span.parent.span_id for span in inside} <= {whole.context.span_id}
    assert (whole.name, whole.kind.name) == (f"POST {path}", "SERVER")
    assert format(whole.context.trace_id, "032x") == PARENT.split("-")[1]
    assert whole.attributes == {
        "http.request.method": "POST",
        "http.route": path,
        "http.response.status_code": status,
    }
    for span in (*inside, whole):
        assert SECRET not in span.to_json()
        assert span.events == ()
    if status == 200:
        assert all(span.attributes["medembed.texts"] > 0 for span in inside)


def test_a_span_of_somebody_else_is_continued(exporter: Any) -> None:
    exporter.clear()
    tracer = importlib.import_module("opentelemetry.trace").get_tracer("proxy")
    made = tracing.Tracing()
    with tracer.start_as_current_span("outer") as outer, made.request("GET", "/health", {"traceparent": PARENT}):
        pass
    inner = exporter.get_finished_spans()[0]
    assert inner.parent.span_id == outer.get_span_context().span_id
    assert inner.kind.name == "INTERNAL"
