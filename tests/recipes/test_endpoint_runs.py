"""Whole runs of the stage that writes pairs, against servers that are killed, refuse, or answer nonsense."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from medembed.errors import PairWriterError
from medembed.recipes import pipeline
from medembed.recipes.records import Pair, read_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from tests.recipes.conftest import CONDITIONS
from tests.recipes.endpoint_server import Answer, Server, completion, good
from tests.recipes.test_endpoint import withdrawn_after

pytestmark = pytest.mark.thorough

Loaded = Callable[..., tuple[Recipe, Places]]
Serve = Callable[..., Server]
Start = Callable[..., "subprocess.Popen[str]"]

ENDPOINT = "pairs.writer=openai_endpoint"
BUSY: Answer = (429, b'{"error": {"message": "slow down"}}')


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medembed.recipes.writers.pacing.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("medembed.recipes.writers.pacing.LONGEST_WAIT_S", 0.1)


def pairs_of(built: pipeline.Built) -> list[Pair]:
    return list(read_parquet(built.artifact.parts("pairs"), Pair))


def test_a_server_killed_and_restarted_costs_no_answer_and_asks_nothing_twice(
    serve: Serve, loaded: Loaded, tmp_path: Path
) -> None:
    """The run stops when the server dies and, run again, asks only for what is missing."""
    settings = [ENDPOINT, "execution.retries=1", "execution.concurrency=4", "execution.patience_s=1"]
    whole = serve(lambda note, attempt: good(note))
    undisturbed = pipeline.build(
        *loaded(*settings, f"execution.endpoint={whole.url}", f"execution.work={tmp_path / 'w1'}"), "pairs"
    )[-1]

    answered = Counter[str]()

    def dies(note: str, attempt: int) -> Answer:
        if len(answered) >= 20:
            return 503, b"{}"
        answered[note] += 1
        return good(note)

    dying = serve(dies)
    with pytest.raises(PairWriterError):
        pipeline.build(*loaded(*settings, f"execution.endpoint={dying.url}"), "pairs")
    restarted = serve(lambda note, attempt: good(note))
    resumed = pipeline.build(*loaded(*settings, f"execution.endpoint={restarted.url}"), "pairs")[-1]
    assert not set(restarted.asked) & set(answered)
    assert len(restarted.asked) == 48 - len(answered)
    assert resumed.step.fingerprint == undisturbed.step.fingerprint
    assert resumed.artifact.manifest["files"] == undisturbed.artifact.manifest["files"]
    assert len(pairs_of(resumed)) == 48


@pytest.mark.parametrize("status", [401, 403, 404, 400, 422])
def test_a_run_that_was_refused_and_is_repaired_asks_for_every_note(serve: Serve, loaded: Loaded, status: int) -> None:
    refusing, repaired = serve(lambda note, attempt: (status, b"{}")), serve(lambda note, attempt: good(note))
    with pytest.raises(PairWriterError, match=str(status)):
        pipeline.build(*loaded(ENDPOINT, f"execution.endpoint={refusing.url}"), "pairs")
    built = pipeline.build(*loaded(ENDPOINT, f"execution.endpoint={repaired.url}"), "pairs")[-1]
    assert not built.reused
    assert len(pairs_of(built)) == len(repaired.asked) == 48


def test_a_note_without_an_answer_is_asked_again_by_the_same_command(
    serve: Serve, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medembed.recipes.stages.pairs.NOTES_A_BLOCK", 24)
    put_off: set[str] = set()

    def busy(note: str, attempt: int) -> Answer:
        time.sleep(0.04)
        put_off.update([] if put_off else [note])
        return BUSY if note in put_off else good(note)

    first, second = serve(busy), serve(lambda note, attempt: good(note))
    settings = [ENDPOINT, "execution.concurrency=2", "execution.patience_s=0.4"]
    with pytest.raises(
        PairWriterError, match=r"1 of 48 notes got no answer, while others did \(server answered 429: 1\)"
    ):
        pipeline.build(*loaded(*settings, f"execution.endpoint={first.url}"), "pairs")
    assert len(first.asked) == 48  # the block after it, too
    built = pipeline.build(*loaded(*settings, f"execution.endpoint={second.url}"), "pairs")[-1]
    assert set(second.asked) == put_off
    assert len(pairs_of(built)) == 48


@pytest.mark.parametrize(
    "query",
    ["\ud800", "half \udfff of a pair", "\x00\x01", "\u2028", "\u202e", "x" * 300, "🩺"],
    ids=["high half", "low half", "control", "line", "direction", "long", "whole pair"],
)
def test_no_reply_makes_a_work_folder_unusable(serve: Serve, loaded: Loaded, query: str) -> None:
    def answer(note: str, attempt: int) -> Answer:
        text = json.loads(good(note)[1])["choices"][0]["message"]["content"]
        return completion(text.replace('"fever treatment"', json.dumps(query)))

    server = serve(answer)
    settings = [ENDPOINT, f"execution.endpoint={server.url}"]
    built = pipeline.build(*loaded(*settings), "pairs")[-1]
    assert sum(built.artifact.summary["failures"].values()) + built.artifact.summary["rows"] == 48
    assert pipeline.build(*loaded(*settings), "pairs")[-1].reused


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "torn end": lambda data: data[:-7],
    "flipped brace": lambda data: data.replace(b"{", b"[", 1),
    "zeros": lambda data: b"\0" * 40 + data[40:],
    "other fields": lambda data: b'{"note_id": 1}\n' + data,
    "other kind": lambda data: b"[1, 2]\n" + data,
    "pairs that are none": lambda data: data.replace(b'"pairs": [', b'"pairs": [3, ', 1),
    "half a pair": lambda data: data.replace(b"fever treatment", b"\\ud800", 1),
    "nested": lambda data: b"[" * 2000 + b"\n" + data,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_journal_costs_its_damaged_lines_alone(
    serve: Serve, loaded: Loaded, damage: str, tmp_path: Path
) -> None:
    server = serve(withdrawn_after(30, set()))
    with pytest.raises(PairWriterError):
        pipeline.build(*loaded(ENDPOINT, f"execution.endpoint={server.url}", "execution.concurrency=1"), "pairs")
    [journal] = (tmp_path / "work").glob("pairs/*/scratch/replies/*.jsonl")
    journal.write_bytes(DAMAGE[damage](journal.read_bytes()))
    repaired = serve(lambda note, attempt: good(note))
    built = pipeline.build(*loaded(ENDPOINT, f"execution.endpoint={repaired.url}"), "pairs")[-1]
    assert len(pairs_of(built)) == 48
    assert len(repaired.asked) <= 19


SERVE = """
import sys, time
from tests.recipes.test_endpoint import withdrawn_after
from tests.recipes.endpoint_server import Server, good

def answer(note, attempt):
    time.sleep(0.1)
    with open(sys.argv[2], "a") as file:
        file.write("answered\\n")
    return good(note)

Server(answer, int(sys.argv[1]))
time.sleep(600)
"""


def test_a_server_killed_and_restarted_under_a_run_is_waited_for(
    serve: Serve, loaded: Loaded, start: Start, tmp_path: Path
) -> None:
    """The server is a process that gets SIGKILL; the run goes on by itself once another listens at its port."""
    settings = [ENDPOINT, "execution.concurrency=2", "execution.retries=12"]
    whole = serve(lambda note, attempt: good(note))
    undisturbed = pipeline.build(
        *loaded(*settings, f"execution.endpoint={whole.url}", f"execution.work={tmp_path / 'whole'}"), "pairs"
    )[-1]
    whole.stop()
    journal = tmp_path / "answers.txt"

    def serving() -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", SERVE, str(whole.port), str(journal)])

    first = serving()
    run = start(*settings, f"execution.endpoint={whole.url}", until="pairs")
    deadline = time.monotonic() + 120
    while not journal.exists() or len(journal.read_text().splitlines()) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.kill()
    first.wait()
    answered = len(journal.read_text().splitlines())
    assert answered < len(CONDITIONS) * 2
    second = serving()
    try:
        assert run.wait(timeout=120) == 0
    finally:
        second.kill()
        second.wait()
    resumed = pipeline.build(*loaded(*settings), "pairs")[-1]
    assert resumed.reused
    assert resumed.artifact.manifest["files"] == undisturbed.artifact.manifest["files"]
    # what was in flight when it died is asked again, nothing else
    assert len(journal.read_text().splitlines()) <= len(CONDITIONS) * 2 + 2


def test_note_text_never_reaches_the_logs(
    serve: Serve,
    loaded: Loaded,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    server = serve(
        lambda note, attempt: (400, json.dumps({"error": {"message": note}}).encode()) if "gout" in note else good(note)
    )
    settings = [ENDPOINT, f"execution.endpoint={server.url}", "execution.concurrency=4"]
    pipeline.build(*loaded(*settings), "pairs")
    said = capfd.readouterr()
    logs = "".join(path.read_text() for path in (tmp_path / "work" / "runs").iterdir())
    everything = said.out + said.err + logs + caplog.text
    assert '"failures"' in logs
    assert "pain and of tiredness" not in everything
