"""Small models, a corpus of two patients, and servers of them: in this process, or as a command."""

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("pyarrow")

import uvicorn
from starlette.testclient import TestClient

from medembed import Columns, EmbeddedCorpus, MedEmbed, Settings
from medembed.serving import run
from medembed.serving.app import application
from medembed.serving.served import Served
from medembed.serving.settings import Limits, Serving
from tests.colbert import folders

ADDRESS = re.compile(r"on (https?://[\d.:]+)")
WORDS = ("chest pain", "swollen calf", "itchy rash", "dry cough", "high fever")


@pytest.fixture(scope="session")
def colbert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stanford's layout; read-only by agreement."""
    return folders.stanford(tmp_path_factory.mktemp("colbert") / "model")


def rows() -> list[dict[str, Any]]:
    """Forty notes of two patients, on two wards."""
    return [
        {
            "id": f"n{i}",
            "text": f"{WORDS[i % len(WORDS)]} on day {i}",
            "patient": f"p{i % 2}",
            "ward": "icu" if i % 4 < 2 else "er",
        }
        for i in range(40)
    ]


def build(folder: Path, model: MedEmbed, some: list[dict[str, Any]]) -> Path:
    """A corpus of notes that keeps patient and ward."""
    columns = Columns(kept={"patient": "string", "ward": "string"})
    EmbeddedCorpus.build(folder, some, model, Settings(columns=columns))
    return folder


@pytest.fixture(scope="session")
def notes(tiny: MedEmbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus ``notes``; read-only by agreement."""
    return build(tmp_path_factory.mktemp("corpora") / "notes", tiny, rows())


Serve = Callable[..., TestClient]


@pytest.fixture(scope="session")
def serve(tiny_folder: Path) -> Iterator[Serve]:
    """Makes a client of a server in this process. The arguments are those of ``Serving``."""
    with ExitStack() as stack:

        def make(*, limits: Limits | None = None, **settings: Any) -> TestClient:
            serving = Serving(str(tiny_folder), threads=1, limits=limits or Limits(), **settings)
            app = application(partial(Served, serving), origins=serving.origins)
            return stack.enter_context(TestClient(app, base_url="http://localhost", raise_server_exceptions=True))

        yield make


@pytest.fixture(scope="session")
def client(serve: Serve, notes: Path, colbert_folder: Path) -> TestClient:
    """A server of everything, without keys."""
    return serve(corpora={"notes": notes}, late_interaction=str(colbert_folder))


@dataclass(frozen=True)
class Listening:
    """A server in a thread, reached over a socket."""

    served: Served
    port: int

    @property
    def address(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@contextmanager
def listening(serving: Serving) -> Iterator[Listening]:
    """A server in a thread, until the end of the block."""
    served = Served(serving)
    server = uvicorn.Server(run._config(application(lambda: served), serving, None))
    listener = run.listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Listening(served, listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    process: "subprocess.Popen[str]"
    address: str

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.address.rsplit(":", 1)[1])


@contextmanager
def running(*words: str, wait_s: float = 60) -> Iterator[Running]:
    """`medembed serve` with these words, on a free port, until the end of the block."""
    command = [sys.executable, "-m", "medembed", "serve", *words, "--port", "0", "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    try:
        told = ""
        while (found := ADDRESS.search(told)) is None:
            line = process.stderr.readline()
            assert line, f"the server ended: {told}"
            told += line
        yield Running(process, found[1])
    finally:
        process.terminate()
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()
