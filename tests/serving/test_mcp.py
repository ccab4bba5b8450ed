"""The tools of an assistant, tried with the SDK's own client: in memory, over standard input, over HTTP."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

import httpx2 as httpx
import uvicorn
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from pytest_asyncio import fixture

from medembed.serving import keys, mcp_server, run
from medembed.serving.keys import Key
from medembed.serving.served import Served
from medembed.serving.settings import Serving

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def served(tiny_folder: Path, notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    log = tmp_path_factory.mktemp("mcp") / "audit.jsonl"
    return Served(Serving(str(tiny_folder), {"notes": notes}, threads=1, audit=log))


async def call(client: Client, tool: str, **given: Any) -> Any:
    told = await client.call_tool(tool, given)
    assert not told.is_error, told.content
    return told.structured_content


async def refused(client: Client, tool: str, **given: Any) -> str:
    told = await client.call_tool(tool, given)
    assert told.is_error
    return str(told.content[0].text)  # type: ignore[union-attr]


def patients(told: Any) -> set[str]:
    return {hit["kept"]["patient"] for hit in told["hits"]}


async def test_an_assistant_searches_filters_and_reads(served: Served) -> None:
    async with Client(mcp_server.server(served, Key("test"), {})) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"search", "get_note", "list_filters"}
        columns = (await call(client, "list_filters"))["columns"]
        assert (columns["patient"], columns["ward"]) == ("string", "string")
        found = await call(client, "search", query="swollen calf", k=4, where=["ward=icu"], hybrid=True)
        assert [hit["kept"]["ward"] for hit in found["hits"]] == ["icu"] * 4
        note = await call(client, "get_note", id=found["hits"][0]["id"])
        assert note["text"] == found["hits"][0]["text"]
        assert "no row" in await refused(client, "get_note", id="nobody")
        assert "blank" in await refused(client, "search", query=" ")
        assert "nothing" not in await refused(client, "search", query="nothing", where=["nothing"])


async def test_a_scope_of_the_server_holds_for_every_tool(served: Served) -> None:
    async with Client(mcp_server.server(served, Key("test"), {"patient": ["p0"]})) as client:
        assert patients(await call(client, "search", query="fever", k=50)) == {"p0"}
        assert patients(await call(client, "search", query="fever", k=50, scope={"ward": "icu"})) == {"p0"}
        assert "does not reach" in await refused(client, "search", query="fever", scope={"patient": "p1"})
        assert (await call(client, "search", query="fever", where=["patient=p1"]))["hits"] == []
        assert (await call(client, "get_note", id="n0"))["id"] == "n0"
        assert "no row" in await refused(client, "get_note", id="n1")
        assert "does not reach" in await refused(client, "get_note", id="n1", scope={"patient": "p1"})


async def test_a_key_that_is_bound_has_to_name_its_scope(served: Served) -> None:
    async with Client(mcp_server.server(served, Key("bound", scope={"patient": ["p1"]}), {})) as client:
        assert (await call(client, "list_filters"))["scope"] == ["patient"]
        assert "bound to a scope" in await refused(client, "search", query="fever")
        assert "bound to a scope" in await refused(client, "get_note", id="n1")
        assert patients(await call(client, "search", query="fever", scope={"patient": "p1"})) == {"p1"}
        assert (await call(client, "get_note", id="n1", scope={"patient": "p1"}))["id"] == "n1"
    log = served.serving.audit
    assert log is not None
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[-1]["route"] == "mcp:get_note"
    assert lines[-1]["hits"] == [["n1"]]
    assert "fever" not in log.read_text()


async def test_over_standard_input(tiny_folder: Path, notes: Path) -> None:
    words = [
        "-m",
        "medembed",
        "mcp",
        "--corpus",
        str(notes),
        "--model",
        str(tiny_folder),
        "--scope",
        "patient=p1",
        "--threads",
        "1",
    ]
    async with Client(StdioServerParameters(command=sys.executable, args=words)) as client:
        assert patients(await call(client, "search", query="fever", k=50)) == {"p1"}
        assert "no row" in await refused(client, "get_note", id="n0")


@fixture
async def over_http(tiny_folder: Path, notes: Path, tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Address and key."""
    import asyncio

    key = keys.add(tmp_path / "keys.json", "ward", corpora=None, scope={"patient": ["p0"]}, may=["search"])
    serving = Serving(str(tiny_folder), {"notes": notes}, threads=1, keys=tmp_path / "keys.json")
    served = Served(serving)
    listener = run.listen("127.0.0.1", 0)
    server = uvicorn.Server(run._config(mcp_server.http_application(served, {}), serving, None))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", key
    server.should_exit = True
    await task
    served.close()


async def test_over_http_each_request_has_its_key(over_http: tuple[str, str]) -> None:
    address, key = over_http
    async with (
        httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=30) as http,
        Client(streamable_http_client(address, http_client=http)) as client,
    ):
        assert patients(await call(client, "search", query="fever", k=50, scope={"patient": "p0"})) == {"p0"}
        assert "bound to a scope" in await refused(client, "search", query="fever")
        assert "does not reach" in await refused(client, "search", query="fever", scope={"patient": "p1"})
    async with httpx.AsyncClient() as http:
        assert (await http.post(address, json={})).status_code == 401
