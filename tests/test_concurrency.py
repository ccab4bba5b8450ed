"""Threads, forks, pickles, event loops."""

import asyncio
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from medembed import FakeEngine, MedEmbed
from medembed.errors import InputTypeError
from medembed.runtime.engines.interface import TokenIds

TOKENIZERS = tuple(int(part) for part in tokenizers.__version__.split(".")[:3])
TEXTS = [f"finding {i}: {'pain ' * (i % 40)}" for i in range(60)]


def test_many_threads_get_their_own_vectors(tiny: MedEmbed) -> None:
    expected = tiny.encode(TEXTS)

    def work(turn: int) -> float:
        mine = TEXTS[turn % 30 : turn % 30 + 20]
        return float((tiny.encode(mine) * expected[turn % 30 : turn % 30 + 20]).sum(axis=1).min())

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(work, range(64))) > 0.9999


def test_a_pickle_holds_settings_not_weights(tiny_folder: Path, tiny: MedEmbed) -> None:
    embedder = MedEmbed(tiny_folder, threads=1, truncate_dim=32, overlong="chunk")
    stored = pickle.dumps(embedder)
    assert len(stored) < 2000
    copy = pickle.loads(stored)
    assert (copy.dimension, repr(copy)) == (32, repr(embedder))
    np.testing.assert_array_equal(copy.encode("pain"), embedder.encode("pain"))


def test_a_pickle_with_an_engine_of_ones_own() -> None:
    copy = pickle.loads(pickle.dumps(MedEmbed(engine=FakeEngine(dimension=8))))
    assert copy.encode("pain").shape == (8,)


def encode_in_child(folder: Path, out: "multiprocessing.SimpleQueue[list[float]]") -> None:
    out.put(MedEmbed(folder, threads=1).encode("pain").tolist())


def test_a_spawned_process_works(tiny_folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    out = context.SimpleQueue()
    child = context.Process(target=encode_in_child, args=(tiny_folder, out))
    child.start()
    assert len(out.get()) == 64
    child.join(30)
    assert child.exitcode == 0


FORK = """
import os, sys, time, warnings
from medembed import MedEmbed
model = MedEmbed(sys.argv[1], threads=2)
texts = ["pain " * (i % 30) for i in range(400)]
before = model.encode(texts)
warnings.simplefilter("ignore")  # Python 3.12 warns of any fork with threads
pid = os.fork()
if pid == 0:
    same = abs(model.encode(texts) - before).max() < 1e-2 and model.encode("pain").shape == (64,)
    sys.exit(0 if same else 3)
for _ in range(600):
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        break
    time.sleep(0.1)
else:
    os.kill(pid, 9)
    sys.exit("the child hangs")
assert os.waitstatus_to_exitcode(status) == 0, status
assert abs(model.encode(texts) - before).max() < 1e-2
print("parent and child agree")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_starts_its_own_engine(tiny_folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    ran = subprocess.run(
        [sys.executable, "-c", FORK, str(tiny_folder)],
        capture_output=True,
        text=True,
        timeout=90,
        env=environment,
        check=False,
    )
    assert ran.stdout.strip() == "parent and child agree", ran.stderr
    # before 0.22.2 tokenizers took one text for parallel work, and says four lines of its own at a fork
    told = [line for line in ran.stderr.splitlines() if "TOKENIZERS_PARALLELISM" in line]
    assert len(ran.stderr.splitlines()) == (4 if told and TOKENIZERS < (0, 22, 2) else 0), ran.stderr


class Slow(FakeEngine):
    """Takes a while, and counts its batches."""

    def __init__(self) -> None:
        super().__init__(dimension=8)
        self.calls: list[int] = []

    def pooled(self, ids: TokenIds, *, alone: bool = False) -> np.ndarray:
        self.calls.append(len(ids))
        time.sleep(0.05)
        return super().pooled(ids, alone=alone)


class Waiting(FakeEngine):
    """Goes on only after the event loop has turned."""

    def __init__(self) -> None:
        super().__init__(dimension=8)
        self.turned, self.batches = threading.Event(), 0

    def pooled(self, ids: TokenIds, *, alone: bool = False) -> np.ndarray:
        self.batches += 1
        self.turned.clear()
        assert self.turned.wait(5), "the event loop stood still while a batch ran"
        return super().pooled(ids, alone=alone)


async def test_async_gives_the_same_vectors(tiny: MedEmbed) -> None:
    np.testing.assert_allclose(await tiny.aencode_document(TEXTS), tiny.encode_document(TEXTS), atol=1e-6)
    np.testing.assert_allclose(await tiny.aencode_query("pain"), tiny.encode_query("pain"), atol=1e-6)


async def test_calls_at_once_share_batches() -> None:
    engine = Slow()
    embedder = MedEmbed(engine=engine)
    rows = await asyncio.gather(*(embedder.aencode(text) for text in TEXTS))
    assert len(engine.calls) < 10
    assert sum(engine.calls) == len(TEXTS)
    np.testing.assert_allclose(np.stack(rows), MedEmbed(engine=FakeEngine(dimension=8)).encode(TEXTS), atol=1e-6)


async def test_the_event_loop_is_never_blocked() -> None:
    """Every batch waits for the event loop to turn, which it could not while a batch ran on it."""
    engine = Waiting()
    embedder = MedEmbed(engine=engine)
    done = False

    async def turn() -> None:
        while not done:
            await asyncio.sleep(0.001)
            engine.turned.set()

    turning = asyncio.create_task(turn())
    try:
        await asyncio.gather(*(embedder.aencode(text) for text in TEXTS[:5]), embedder.aencode(TEXTS))
    finally:
        done = True
        await turning
    assert engine.batches > 0


async def test_a_cancelled_call_leaves_the_others_and_the_model_usable() -> None:
    embedder = MedEmbed(engine=Slow())
    calls = [asyncio.create_task(embedder.aencode(text)) for text in TEXTS[:10]]
    await asyncio.sleep(0.01)
    calls[3].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[3], asyncio.CancelledError)
    assert all(isinstance(row, np.ndarray) for i, row in enumerate(results) if i != 3)
    assert (await embedder.aencode("pain")).shape == (8,)


async def test_one_bad_text_fails_alone(tiny_folder: Path) -> None:
    embedder = MedEmbed(tiny_folder, threads=1, overlong="error")
    results = await asyncio.gather(
        *(embedder.aencode(text) for text in ("pain", "pain " * 100, "fever")), return_exceptions=True
    )
    assert [type(result).__name__ for result in results] == ["ndarray", "OverlongTextError", "ndarray"]


async def test_async_refuses_what_sync_refuses(tiny: MedEmbed) -> None:
    with pytest.raises(InputTypeError, match="text 0 is a NoneType"):
        await tiny.aencode([None])  # type: ignore[list-item]
