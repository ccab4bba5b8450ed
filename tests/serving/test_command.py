"""`medembed serve` as a process: signals, TLS, workers."""

import datetime as dt
import ipaddress
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest

from medembed.serving import keys
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


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_the_other_goes_on(tiny_folder: Path) -> None:
    with running(str(tiny_folder), "--workers", "2") as server:
        _until(lambda: _answers(server), 300)  # two processes start, on a machine that may be busy
        workers = [
            one
            for one in psutil.Process(server.process.pid).children(recursive=True)
            if "spawn_main" in " ".join(one.cmdline())
        ]
        assert len(workers) == 2
        os.kill(workers[0].pid, signal.SIGKILL)
        answered: list[list[float]] = []
        failed, until = 0, time.monotonic() + 120  # the other may still be starting on a busy machine
        while len(answered) < 20 and time.monotonic() < until:
            try:
                told = httpx.post(f"{server.address}/v1/embeddings", json={"input": "pain"}, timeout=60).json()
                answered.append(told["data"][0]["embedding"])
            except (httpx.HTTPError, json.JSONDecodeError):
                failed += 1
        assert (len(answered), failed <= 3) == (20, True)
        assert all(row == answered[0] for row in answered)
        assert "medembed_requests_total" in httpx.get(f"{server.address}/metrics").text


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
