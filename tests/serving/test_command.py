"""`medembed serve` as a process: signals, TLS, workers."""

import asyncio
import datetime as dt
import ipaddress
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx2 as httpx
import numpy as np
import psutil
import pytest

from medembed import MedEmbed
from medembed.serving import keys, run
from tests.serving.conftest import Running, running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")

BULK = {"input": ["pain and fever " * 20] * 1500}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def keyed(key_file: Path, tiny_folder: Path) -> Iterator[tuple[Running, str]]:
    key = keys.add(key_file, "first", corpora=None, scope={}, may=keys.USES)
    with running(str(tiny_folder), "--keys", str(key_file)) as server:
        yield server, key


def ask(server: Running, key: str, content: Any = None) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(
        f"{server.address}/v1/embeddings", json=content or {"input": "pain"}, headers=headers, timeout=60
    ).status_code


def test_keys_are_read_again_at_sighup_and_a_broken_file_changes_nothing(
    keyed: tuple[Running, str], key_file: Path
) -> None:
    server, first = keyed
    second = keys.add(key_file, "second", corpora=None, scope={}, may=keys.USES)
    assert (ask(server, first), ask(server, second)) == (200, 401)
    server.process.send_signal(signal.SIGHUP)
    _until(lambda: ask(server, second) == 200)
    kept = key_file.read_text()
    key_file.write_text("{")
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert (ask(server, first), ask(server, second)) == (200, 200)
    key_file.write_text(kept)
    keys.remove(key_file, "second")
    server.process.send_signal(signal.SIGHUP)
    _until(lambda: ask(server, second) == 401)


def test_sigterm_finishes_what_runs_and_takes_nothing_new(tiny_folder: Path) -> None:
    with running(str(tiny_folder)) as server:
        answers: list[httpx.Response] = []
        thread = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{server.address}/v1/embeddings", json=BULK, timeout=60))
        )
        thread.start()
        metrics = f"{server.address}/metrics"
        _until(lambda: "medembed_requests_running 2.0" in httpx.get(metrics).text, pause=0.001)
        server.process.send_signal(signal.SIGTERM)
        thread.join(60)
        assert server.process.wait(60) in (0, -signal.SIGTERM)
        (answer,) = answers
        assert answer.status_code == 200
        assert len(answer.json()["data"]) == 1500
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.address}/health")


def test_tls(tiny_folder: Path, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with running(str(tiny_folder), "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        assert server.address.startswith("https://")
        context = ssl.create_default_context(cafile=str(cert))
        told = httpx.post(f"{server.address}/v1/embeddings", json={"input": "pain"}, verify=context)
        assert told.status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/health")


class Load:
    """Clients that each ask for the vector of a text of their own, again and again."""

    def __init__(self, server: Running, key: str, expected: dict[str, Any]) -> None:
        self.right, self.wrong, self.failed = 0, 0, 0
        self.statuses: set[int] = set()
        self._server, self._key, self._expected = server, key, expected
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(text,)) for text in expected]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, text: str) -> None:
        headers = {"authorization": f"Bearer {self._key}"}
        while not self._over.is_set():
            try:
                answer = httpx.post(
                    f"{self._server.address}/v1/embeddings", json={"input": text}, headers=headers, timeout=60
                )
            except httpx.HTTPError:
                self.failed += 1
                continue
            self.statuses.add(answer.status_code)
            if answer.status_code == 200:
                vector = np.array(answer.json()["data"][0]["embedding"])
                near = np.allclose(vector, self._expected[text], atol=1e-5)
                self.right, self.wrong = self.right + near, self.wrong + (not near)


def workers_of(server: Running) -> list[int]:
    """Ids of the processes that answer."""
    found = []
    for one in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie is one of these
            found += [one.pid] if "spawn_main" in " ".join(one.cmdline()) else []
    return found


@pytest.mark.slow
def test_a_worker_killed_under_load_costs_what_it_was_doing_alone(
    tiny_folder: Path, tiny: MedEmbed, tmp_path: Path
) -> None:
    """Afterwards the keys change: a file that can be read counts for every worker, and one that cannot for none."""
    file = tmp_path / "keys.json"
    first = keys.add(file, "first", corpora=None, scope={}, may=keys.USES)
    expected = {f"chest pain on day {day}": tiny.encode(f"chest pain on day {day}") for day in range(8)}
    with running(str(tiny_folder), "--workers", "2", "--keys", str(file)) as server:
        _until(lambda: _answers(server), 300)  # two processes start, on a machine that may be busy
        _until(lambda: len(workers_of(server)) == 2)
        with Load(server, first, expected) as load:
            _until(lambda: load.right >= 50, 120)
            killed = workers_of(server)[0]
            os.kill(killed, signal.SIGKILL)
            _until(lambda: len(set(workers_of(server)) - {killed}) == 2, 120)
            before = load.right
            _until(lambda: load.right >= before + 100, 120)
        assert (load.wrong, load.statuses) == (0, {200})
        assert load.failed <= len(expected)
        headers = {"authorization": f"Bearer {first}"}
        assert "medembed_requests_total" in httpx.get(f"{server.address}/metrics", headers=headers).text
        old = set(workers_of(server))
        second = keys.add(file, "second", corpora=None, scope={}, may=keys.USES)
        server.process.send_signal(signal.SIGHUP)
        _until(lambda: not old & set(workers_of(server)), 300)  # each is replaced once the next one answers
        assert {ask(server, second) for _ in range(20)} == {200}
        file.write_text("{")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(5)
        assert {ask(server, key) for key in (first, second) for _ in range(10)} == {200}


def _answers(server: Running) -> bool:
    try:
        return httpx.get(f"{server.address}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _until(holds: Any, seconds: float = 20, pause: float = 0.05) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(pause)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1, signed by itself, and its key."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    no = serialization.NoEncryption()
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no))
    return cert_path, key_path


async def test_an_answer_does_not_wait_for_the_clients_acknowledgment() -> None:
    """Nagle's delay held the second packet of each answer back for 40 ms."""
    held_back: list[bool] = []

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held_back.append(not writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(note, sock=run.listen("127.0.0.1", 0)) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await reader.read()
        writer.close()
    assert held_back == [False]
