"""All engines and all public objects under threads, forks, pickles and interrupts: one table."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medembed import EmbeddedCorpus, MedEmbed
from tests import process_program, tiny_bert
from tests.colbert import folders

pytestmark = pytest.mark.thorough

# half a minute each; what they have of their own is little beside the others
SLOW = ("openvino-int8", "late-interaction", "token-index")

# heads of 32 numbers, as medembed-kernels takes them
WIDE = {"num_attention_heads": 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_bert.make(folder / "bert")
    tiny_bert.make(folder / "wide", config=WIDE)
    folders.stanford(folder / "colbert")
    return folder


@pytest.fixture(scope="module")
def roberta(models: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tiny_bert.make(models / "roberta")
    config = transformers.RobertaConfig(
        vocab_size=30522,
        hidden_size=64,
        num_attention_heads=4,
        num_hidden_layers=2,
        intermediate_size=128,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    transformers.RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(
    "thing",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in process_program.OBJECTS],
)
def test_every_promise_holds(thing: str, models: Path, request: pytest.FixtureRequest) -> None:
    if thing == "torch":
        request.getfixturevalue("roberta")
    if thing == "kernels" and (reason := tiny_bert.without_kernels(WIDE)):
        pytest.skip(reason)
    # as users run it: torch's threads are what hangs
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM")}
    # Names are looked up before a signal handler needs them: the look-up saves all registers, 11 KB on a CPU with AMX, on the
    # stack of 8 KB that some libraries set aside for signals.
    environment["LD_BIND_NOW"] = "1"
    ran = subprocess.run(
        [sys.executable, "-m", "tests.process_program", thing, str(models)],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
        check=False,
    )
    assert ran.stdout.split() == process_program.acts(thing), ran.stderr


@contextlib.contextmanager
def _gunicorn(models: Path, corpus: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "3", "--bind", address]
    # so long that a worker which cannot end fails the test instead of being killed in time
    command += ["--timeout", "300", "--graceful-timeout", "300"]
    environment = {
        **os.environ,
        "HOME": str(corpus.parent),
        "MODEL_FOLDER": str(models / "bert"),
        "CORPUS_FOLDER": str(corpus),
    }
    with subprocess.Popen(
        [*command, "tests.gunicorn_app:application"], env=environment, stderr=subprocess.DEVNULL
    ) as server:
        try:
            yield f"http://{address}/"
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                # workers end through the interpreter's own end, where inherited engines used to hang
                assert server.wait(120) == 0
            finally:
                server.kill()


def _asked(address: str) -> dict[str, Any]:
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=60) as reply:
                answer: dict[str, Any] = json.load(reply)
                return answer
        except urllib.error.URLError:
            time.sleep(0.1)
    raise TimeoutError("no answer")


def test_workers_of_gunicorn_answer_from_a_preloaded_model(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    with MedEmbed(models / "bert", threads=1) as model:
        EmbeddedCorpus.build(tmp_path / "corpus", process_program.ROWS, model)
    with _gunicorn(models, tmp_path / "corpus") as address:
        answers = [_asked(address) for _ in range(24)]
    assert min(answer["cosine"] for answer in answers) > 0.999
    assert len({answer["best"] for answer in answers}) == 1
