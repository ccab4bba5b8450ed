"""The endpoint writer against a real server on loopback that fails in every way servers fail."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medembed.errors import PairWriterError
from medembed.recipes import pipeline
from medembed.recipes.records import Note, Pair, read_parquet
from medembed.recipes.schema import Execution, Llm, Recipe
from medembed.recipes.sources import Places
from medembed.recipes.writers.openai_endpoint import EndpointWriter
from tests.recipes.conftest import CONDITIONS
from tests.recipes.endpoint_server import Answer, Server, completion, good

Loaded = Callable[..., tuple[Recipe, Places]]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medembed.recipes.writers.openai_endpoint._FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("medembed.recipes.writers.openai_endpoint._LONGEST_WAIT_S", 0.2)


def writer(server: Server, **execution: Any) -> EndpointWriter:
    settings: dict[str, Any] = {"endpoint": server.url, "timeout_s": 5.0, "retries": 3, "concurrency": 8} | execution
    return EndpointWriter(Llm(model="m"), Execution(**settings), seed=7)


def outcome(writer: EndpointWriter, notes: list[Note]) -> tuple[int, Counter[str]]:
    written = list(writer.write(notes))
    writer.close()
    assert sorted(item.note_id for item in written) == sorted(note.note_id for note in notes)
    return sum(len(item.pairs) for item in written), Counter(
        failure.reason for item in written for failure in item.failures
    )


def test_a_request_asks_for_the_schema_with_seed_and_sampling(serve: Callable[..., Server], notes: list[Note]) -> None:
    server = serve(lambda note, attempt: good(note))
    assert outcome(writer(server), notes) == (4, Counter())
    body = server.requests[0]
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["pairs"]
    assert (body["model"], body["seed"], body["temperature"]) == ("m", 7, 0.8)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_failure_is_tried_again(serve: Callable[..., Server], notes: list[Note], status: int) -> None:
    server = serve(lambda note, attempt: good(note) if attempt > 2 else (status, b"{}"))
    assert outcome(writer(server), notes) == (4, Counter())
    assert set(server.asked.values()) == {3}


@pytest.mark.parametrize(
    ("answer", "reason", "attempts"),
    [
        ((400, b'{"error": {"message": "maximum context length is 8192"}}'), "prompt beyond the model's context", 1),
        ((401, b"{}"), "server answered 401", 1),
        ((429, b"{}"), "server answered 429", 4),
        (completion('{"pairs": [{"query": "cut'), "reply is not JSON", 1),
        (completion(""), "empty reply", 1),
        (completion(None), "empty reply", 1),
        (completion({"pairs": []}), "empty reply", 1),
        ((200, b'{"choices": []}'), "empty reply", 1),
        ((200, b'{"id": "1", "choi'), "answer is no chat completion", 4),
        (completion('{"pairs": [{"query": 1}]}'), "wrong types", 1),
    ],
    ids=[
        "context",
        "forbidden",
        "busy",
        "cut reply",
        "empty",
        "null",
        "no text",
        "no choice",
        "cut body",
        "wrong types",
    ],
)
def test_a_lasting_failure_is_counted_by_its_reason(
    serve: Callable[..., Server], notes: list[Note], answer: Answer, reason: str, attempts: int
) -> None:
    server = serve(lambda note, attempt: answer if note == notes[0].text else good(note))
    assert outcome(writer(server), notes) == (3, Counter({reason: 1}))
    assert server.asked[notes[0].text] == attempts


def test_a_server_that_hangs_is_given_up_after_its_time(serve: Callable[..., Server], notes: list[Note]) -> None:
    def answer(note: str, attempt: int) -> Answer:
        if note == notes[0].text:
            time.sleep(1.0)
        return good(note)

    server = serve(answer)
    assert outcome(writer(server, timeout_s=0.2, retries=1), notes) == (3, Counter({"time-out": 1}))


def test_no_more_requests_run_at_once_than_asked_for(serve: Callable[..., Server], notes: list[Note]) -> None:
    def answer(note: str, attempt: int) -> Answer:
        time.sleep(0.03)
        return good(note)

    server = serve(answer)
    outcome(writer(server, concurrency=3), notes)
    assert server.most_at_once == 3


def test_a_server_that_is_not_there_stops_the_run_with_what_to_do(notes: list[Note]) -> None:
    gone = EndpointWriter(Llm(), Execution(endpoint="http://127.0.0.1:9/v1", retries=1, concurrency=2), seed=1)
    with pytest.raises(PairWriterError, match="Start the server, then run the same command"):
        list(gone.write(notes))
    gone.close()


def test_a_server_killed_and_restarted_costs_no_answer_and_asks_nothing_twice(
    serve: Callable[..., Server], loaded: Loaded, tmp_path: Path
) -> None:
    """The run stops when the server dies and, run again, asks only for what is missing."""
    settings = [
        "pairs.writer=openai_endpoint",
        "execution.retries=1",
        "execution.concurrency=4",
        "execution.timeout_s=2",
    ]
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
    assert len(list(read_parquet(resumed.artifact.parts("pairs"), Pair))) == 48


SERVE = """
import sys, time
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
    serve: Callable[..., Server], loaded: Loaded, start: Start, tmp_path: Path
) -> None:
    """The server is a process that gets SIGKILL; the run goes on by itself once another listens at its port."""
    settings = ["pairs.writer=openai_endpoint", "execution.concurrency=2", "execution.retries=12"]
    whole = serve(lambda note, attempt: good(note))
    undisturbed = pipeline.build(
        *loaded(*settings, f"execution.endpoint={whole.url}", f"execution.work={tmp_path / 'whole'}"), "pairs"
    )[-1]
    whole.stop()
    journal = tmp_path / "answers.txt"

    def serving() -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", SERVE, str(whole.port), str(journal)])

    first = serving()
    run = start(*settings, f"execution.endpoint={whole.url}", stage="pairs")
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
    serve: Callable[..., Server],
    loaded: Loaded,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    server = serve(
        lambda note, attempt: (400, json.dumps({"error": {"message": note}}).encode()) if "gout" in note else good(note)
    )
    settings = ["pairs.writer=openai_endpoint", f"execution.endpoint={server.url}", "execution.concurrency=4"]
    pipeline.build(*loaded(*settings), "pairs")
    said = capfd.readouterr()
    logs = "".join(path.read_text() for path in (tmp_path / "work" / "runs").iterdir())
    everything = said.out + said.err + logs + caplog.text
    assert '"failures"' in logs
    assert "pain and of tiredness" not in everything
