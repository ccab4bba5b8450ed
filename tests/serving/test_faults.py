"""Clients that are slow, rude or gone, engines that fail, and too much of everything: an answer or an end, never a wait."""

import asyncio
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest
from uvicorn.server import ServerState

from medembed import EmbeddedCorpus, MedEmbed
from medembed.errors import EngineError
from medembed.runtime.encoding import Encoded
from medembed.serving import corpora, run
from medembed.serving.app import application
from medembed.serving.settings import Limits, Serving
from tests.serving.conftest import WORDS, Listening, build, listening, rows

pytestmark = pytest.mark.thorough

# what is slow here is the machine: only the hasty server's patience is short
LIMITS = Limits(body_bytes=100_000, header_s=30, body_s=30, answer_s=60, queue_s=1.0, requests=40, stop_s=5)
HASTY = replace(LIMITS, header_s=0.5, body_s=0.5, answer_s=2.0)
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
BULK = ["pain and fever " * 20] * 200


@pytest.fixture(scope="module")
def server(tiny_folder: Path) -> Iterator[Listening]:
    with listening(Serving(str(tiny_folder), threads=1, limits=LIMITS)) as one:
        yield one


@pytest.fixture(scope="module")
def hasty(tiny_folder: Path) -> Iterator[Listening]:
    """A server that waits for half a second."""
    with listening(Serving(str(tiny_folder), threads=1, limits=HASTY)) as one:
        yield one


@pytest.fixture
def fine(server: Listening) -> Iterator[Listening]:
    """The server, which has to be well afterwards."""
    yield server
    assert httpx.post(f"{server.address}/v1/embeddings", json={"input": "pain"}).status_code == 200
    assert server.served.running == 0


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    got = b""
    while part := _received(connection):
        got += part
    return got


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("sent", [b"", b"POST /v1/emb", HEAD], ids=["nothing", "half a line", "half a head"])
def test_a_head_that_does_not_come_ends_the_connection(hasty: Listening, sent: bytes) -> None:
    with hasty.connect() as connection:
        connection.sendall(sent)
        started = time.monotonic()
        assert until_closed(connection) == b""
        assert time.monotonic() - started < 10


def test_neither_does_a_drop_at_a_time_help(hasty: Listening) -> None:
    with hasty.connect() as connection:
        connection.sendall(HEAD)
        for number in range(200):
            try:
                connection.sendall(b"x-%d: 1\r\n" % number)
            except OSError:
                break
            time.sleep(0.02)
        else:
            pytest.fail("a slow head was waited for")


def test_nor_a_second_request_that_does_not_come(hasty: Listening) -> None:
    with hasty.connect() as connection:
        body = b'{"input": "a"}'
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert b"200 OK" in connection.recv(65536)
        time.sleep(0.1)
        connection.sendall(b"POST /v1")
        started = time.monotonic()
        until_closed(connection)
        assert time.monotonic() - started < 10


def test_a_request_refused_before_its_body_leaves_the_connection_usable(fine: Listening) -> None:
    body = json.dumps({"input": "a" * 90_000}).encode()
    with fine.connect() as connection:
        for host, status in ((b"evil.example.org", b"403"), (b"localhost", b"200")):
            connection.sendall(HEAD.replace(b"localhost", host) + b"content-length: %d\r\n\r\n" % len(body))
            for start in range(0, len(body), 30_000):
                time.sleep(0.05)
                connection.sendall(body[start : start + 30_000])
            assert status in connection.recv(65536).split(b"\r\n")[0]


def test_an_endless_head_is_cut(fine: Listening) -> None:
    sent = 0
    with fine.connect() as connection:
        connection.sendall(HEAD)
        try:
            while sent < 100_000_000:
                connection.sendall(b"x: " + b"y" * 9_995 + b"\r\n")
                sent += 10_000
        except OSError:
            pass
    assert sent < 20_000_000


def test_a_slow_body_is_refused(hasty: Listening) -> None:
    with hasty.connect() as connection:
        connection.sendall(HEAD + b"content-length: 100\r\n\r\n{")
        assert b"408" in until_closed(connection).split(b"\r\n")[0]


GIGABYTE = {
    "in chunks": (b"transfer-encoding: chunked", b"10000\r\n" + b"a" * 65536 + b"\r\n"),
    "as it is said": (b"content-length: %d" % (1 << 30), b"a" * 65536),
}


@pytest.mark.parametrize(("told", "piece"), GIGABYTE.values(), ids=GIGABYTE)
def test_a_gigabyte_is_cut_at_the_limit(fine: Listening, told: bytes, piece: bytes) -> None:
    sent, before = 0, psutil.Process().memory_info().rss
    with fine.connect() as connection:
        connection.sendall(HEAD + told + b"\r\n\r\n")
        try:
            while sent < 1 << 30:
                connection.sendall(piece)
                sent += 65536
        except OSError:
            pass
    assert sent < 32 << 20
    assert psutil.Process().memory_info().rss < before + (64 << 20)
    answer = httpx.post(f"{fine.address}/v1/embeddings", json={"input": "a" * 200_000})
    assert (answer.status_code, "100,000 bytes" in answer.text) == (413, True)


BAD_BODIES = {
    "no JSON": b"pain",
    "cut JSON": b'{"input": "pain',
    "no UTF-8": b'{"input": "pain \xff\xfe"}',
    "not a number": b'{"input": NaN}',
    "deep": b'{"input": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "empty": b"",
    "zero bytes": b"\x00" * 100,
    "a number of many digits": b'{"input": ' + b"9" * 50_000 + b"}",
}


@pytest.mark.parametrize("content", BAD_BODIES.values(), ids=BAD_BODIES)
def test_what_is_no_json_is_a_bad_request(fine: Listening, content: bytes) -> None:
    answer = httpx.post(f"{fine.address}/v1/embeddings", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, "pain" in answer.text) == (400, False)


def test_half_a_surrogate_pair_is_read_as_encode_reads_it(fine: Listening, tiny: MedEmbed) -> None:
    content = b'{"input": "pain \\ud800"}'
    answer = httpx.post(f"{fine.address}/v1/embeddings", content=content, headers={"content-type": "application/json"})
    assert answer.json()["data"][0]["embedding"] == pytest.approx(tiny.encode("pain �").tolist(), abs=1e-6)


def test_half_closed_connections_are_given_up(fine: Listening) -> None:
    for sent in (b"", HEAD, HEAD + b"content-length: 100\r\n\r\n{"):
        with fine.connect() as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert b"200 OK" not in until_closed(connection)


def test_a_client_that_says_no_more_after_its_request_gets_all_of_the_answer_or_nothing(fine: Listening) -> None:
    body = b'{"input": "pain"}'
    for _ in range(10):
        with fine.connect() as connection:
            connection.sendall(HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            connection.shutdown(socket.SHUT_WR)
            got = until_closed(connection)
            assert got == b"" or len(json.loads(got.partition(b"\r\n\r\n")[2])["data"]) == 1


class Stuck(asyncio.Transport):
    """A transport whose client does not read."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_a_client_that_does_not_read_is_given_up(server: Listening) -> None:
    config = run._config(
        application(lambda: server.served), Serving("model", limits=replace(LIMITS, answer_s=0.05)), None
    )
    config.load()
    states: Any = (config, ServerState(), {})
    reads, stuck = Stuck(), Stuck()
    for transport in (reads, stuck):
        made = config.http_protocol_class(*states)
        made.connection_made(transport)
        made.pause_writing()
        if transport is reads:
            made.resume_writing()
    await asyncio.sleep(0.2)
    assert (reads.aborted, stuck.aborted) == (False, True)


Replace = Callable[[Any], None]


@pytest.fixture
def encoding(fine: Listening, monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Puts something in the place of the model's encode_counted."""
    return lambda other: monkeypatch.setattr(fine.served.model, "encode_counted", other)


def test_an_engine_that_fails_under_load_is_an_answer_to_each(fine: Listening, encoding: Replace) -> None:
    calls: list[int] = []

    def failing(texts: list[str], **_: Any) -> Encoded:
        calls.append(len(texts))
        raise EngineError("out of memory") if len(calls) % 2 else ValueError("secret")

    encoding(failing)
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda i: httpx.post(f"{fine.address}/v1/embeddings", json={"input": [f"t{i}"] * (1 + i % 50)}),
                range(64),
            )
        )
    assert {answer.status_code for answer in answers} == {500}
    assert not any("secret" in answer.text for answer in answers)


def test_an_engine_that_hangs_is_given_up(hasty: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    own = hasty.served.model.encode_counted
    monkeypatch.setattr(hasty.served.model, "encode_counted", lambda texts, **how: free.wait(60) and own(texts, **how))
    answer = httpx.post(f"{hasty.address}/v1/embeddings", json={"input": "a"}, timeout=60)
    free.set()
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert "within 2 seconds" in answer.text


def slowed(server: Listening, seconds: float) -> Any:
    own = server.served.model.encode_counted

    def slow(texts: list[str], **how: Any) -> Encoded:
        time.sleep(seconds)
        return own(texts, **how)

    return slow


async def test_overload_is_refused_with_a_time_to_come_again(fine: Listening, encoding: Replace) -> None:
    encoding(slowed(fine, 0.3))
    async with httpx.AsyncClient(base_url=fine.address, timeout=30) as client:

        async def one() -> tuple[int, float, int]:
            started = time.monotonic()
            answer = await client.post("/v1/embeddings", json={"input": BULK})
            return answer.status_code, time.monotonic() - started, int(answer.headers.get("retry-after", 0))

        await one()  # the server knows how fast it is
        answers = [answer for _ in range(3) for answer in await asyncio.gather(*(one() for _ in range(24)))]
    assert {status for status, _, _ in answers} == {200, 429}
    assert all(1 <= again <= 60 for status, _, again in answers if status == 429)
    assert all(seconds < 30 for _, seconds, _ in answers)  # and none waited for its time-out, which is a 503


async def test_a_short_text_overtakes_bulk(fine: Listening, encoding: Replace) -> None:
    own = fine.served.model.encode_counted

    def slow(texts: list[str], **how: Any) -> Encoded:
        time.sleep(0.0005 * sum(map(len, texts)) / 4)  # half a millisecond a token
        return own(texts, **how)

    encoding(slow)
    async with httpx.AsyncClient(base_url=fine.address, timeout=30) as client:
        bulk = asyncio.create_task(client.post("/v1/embeddings", json={"input": BULK}))
        await asyncio.sleep(0.1)
        answer = await client.post("/v1/embeddings", json={"input": "swollen calf", "input_type": "query"})
        assert answer.status_code == 200
        assert not bulk.done()
        bulk.cancel()


async def test_too_many_at_a_time_are_refused(fine: Listening, encoding: Replace) -> None:
    encoding(slowed(fine, 0.2))
    async with httpx.AsyncClient(
        base_url=fine.address, timeout=30, limits=httpx.Limits(max_connections=None)
    ) as client:
        answers = await asyncio.gather(*(client.post("/v1/embeddings", json={"input": f"a{i}"}) for i in range(80)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 503}
    assert codes.count(200) >= LIMITS.requests
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)


async def test_what_nobody_waits_for_is_not_done(fine: Listening, encoding: Replace) -> None:
    done: list[int] = []
    slow = slowed(fine, 0.3)

    def counted(texts: list[str], **how: Any) -> Encoded:
        done.append(len(texts))
        return slow(texts, **how)

    encoding(counted)
    many = 320 * BULK[:1]  # four batches, of which two run at a time
    body = json.dumps({"input": many}).encode()
    with fine.connect() as connection:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        await asyncio.sleep(0.15)
    await asyncio.sleep(0.9)
    assert 0 < sum(done) < len(many)
    assert fine.served.dense._batchers["bulk"].waiting == 0


async def test_a_clock_that_jumps_changes_no_answer(
    tiny_folder: Path, tiny: MedEmbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patience, the look at a corpus and the queue go by a clock that only goes on; the log alone tells the time of day."""
    folder, own, jumps = build(tmp_path / "notes", tiny, rows()), time.time, itertools.cycle((0, 1e8, -1e8, 3e9, -1e9))
    audit = tmp_path / "audit.jsonl"
    monkeypatch.setattr(corpora, "LOOK_S", 0.01)
    with listening(Serving(str(tiny_folder), {"notes": folder}, threads=1, limits=HASTY, audit=audit)) as server:
        monkeypatch.setattr(time, "time", lambda: own() + next(jumps))
        async with httpx.AsyncClient(base_url=server.address, timeout=30) as client:
            for number in range(20):
                told = await client.post("/v1/embeddings", json={"input": f"pain {number}"})
                assert (told.status_code, "retry-after" in told.headers) == (200, False)
                found = await client.post("/v1/search", json={"query": "fever", "k": 50})
                assert len(found.json()["results"][0]["hits"]) == (40 if number <= 10 else 30)
                if number == 10:
                    with EmbeddedCorpus.open(folder, tiny) as corpus:
                        corpus.delete([f"n{i}" for i in range(10)])
                    await asyncio.sleep(0.05)
        with server.connect() as connection:
            connection.sendall(HEAD + b"content-length: 100\r\n\r\n{")
            assert b"408" in (await asyncio.to_thread(until_closed, connection)).split(b"\r\n")[0]
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert len(lines) == 41
    assert all(0 <= line["ms"] < 60_000 for line in lines)


def deleted_and_added(corpus: EmbeddedCorpus) -> None:
    corpus.delete([f"n{i}" for i in range(10)])
    corpus.compact()
    corpus.append([{**row, "id": f"m{row['id']}"} for row in rows()])


def synced(corpus: EmbeddedCorpus) -> None:
    """By night the corpus holds other rows; every state in between is one of the two."""
    for night in range(3):
        kept = rows()[10:] if night % 2 == 0 else rows()
        more = [{**row, "id": f"m{row['id']}"} for row in rows()] if night % 2 == 0 else []
        corpus.sync([*kept, *more], limit=1.0)


CHANGES: dict[str, tuple[Callable[[EmbeddedCorpus], None], set[int]]] = {
    "deleted, compacted, added to": (deleted_and_added, {40, 30, 70}),
    "synced": (synced, {40, 70}),
}


@pytest.mark.parametrize(("change", "states"), CHANGES.values(), ids=CHANGES)
async def test_a_corpus_that_is_replaced_while_it_is_searched(
    tiny_folder: Path,
    tiny: MedEmbed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[EmbeddedCorpus], None],
    states: set[int],
) -> None:
    monkeypatch.setattr(corpora, "LOOK_S", 0.01)
    folder = build(tmp_path / "notes", tiny, rows())
    seen: set[int] = set()
    with listening(Serving(str(tiny_folder), {"notes": folder}, threads=1)) as server:
        async with httpx.AsyncClient(base_url=server.address, timeout=30) as client:

            async def ask() -> None:
                answer = await client.post("/v1/search", json={"query": "swollen calf", "k": 100})
                assert answer.status_code == 200, answer.text
                hits = answer.json()["results"][0]["hits"]
                assert len({hit["id"] for hit in hits}) == len(hits)
                assert all(hit["text"].partition(" on day")[0] in WORDS for hit in hits)
                seen.add(len(hits))

            def changed() -> None:
                with EmbeddedCorpus.open(folder, tiny) as corpus:
                    change(corpus)

            await ask()
            changing = asyncio.create_task(asyncio.to_thread(changed))
            while not changing.done():
                await asyncio.gather(ask(), ask(), asyncio.sleep(0.05))
            await changing
            await asyncio.sleep(0.05)
            await ask()
    assert {40, 70} <= seen <= states
