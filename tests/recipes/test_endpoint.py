"""The endpoint writer against real servers on loopback that fail in every way servers fail."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from medembed.errors import PairWriterError, RecipeConfigError
from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.records import Note, content_id
from medembed.recipes.writers.interface import Written
from medembed.recipes.writers.openai_endpoint import PROBE, EndpointWriter
from tests.recipes.endpoint_server import Answer, Server, completion, good

Serve = Callable[..., Server]
Start = Callable[..., "subprocess.Popen[str]"]

BUSY: Answer = (429, b'{"error": {"message": "slow down"}}')


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medembed.recipes.writers.pacing.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("medembed.recipes.writers.pacing.LONGEST_WAIT_S", 0.1)


def writer(server: Server, llm: Llm | None = None, **execution: Any) -> EndpointWriter:
    settings: dict[str, Any] = {"endpoint": server.url, "timeout_s": 5.0, "retries": 3, "concurrency": 8} | execution
    return EndpointWriter(llm or Llm(model="m"), Execution(**settings), seed=7)


def written_by(writer: EndpointWriter, notes: list[Note]) -> list[Written]:
    try:
        written = list(writer.write(notes))
    finally:
        writer.close()
    assert sorted(item.note_id for item in written) == sorted(note.note_id for note in notes)
    return written


def outcome(writer: EndpointWriter, notes: list[Note]) -> tuple[int, Counter[str]]:
    written = written_by(writer, notes)
    assert not [item for item in written if item.unanswered]
    return sum(len(item.pairs) for item in written), Counter(
        failure.reason for item in written for failure in item.failures
    )


def many(count: int) -> list[Note]:
    texts = [f"Fever number {number} went down. It did not come back." for number in range(count)]
    return [Note(content_id(text), f"d{number}", "s", "", "", text) for number, text in enumerate(texts)]


def test_a_request_asks_for_the_schema_with_seed_and_sampling(serve: Serve, notes: list[Note]) -> None:
    server = serve(lambda note, attempt: good(note))
    assert outcome(writer(server, Llm(model="m", temperature=0.8)), notes) == (4, Counter())
    body = server.requests[0]
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["pairs"]
    assert (body["model"], body["seed"], body["temperature"]) == ("m", 7, 0.8)


# --------------------------------------------------------------- what passes: asked again until it is answered


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_a_passing_failure_is_asked_again(serve: Serve, notes: list[Note], status: int) -> None:
    server = serve(lambda note, attempt: good(note) if attempt > 2 else (status, b"{}"))
    assert outcome(writer(server), notes) == (4, Counter())
    assert set(server.asked.values()) == {3}


class Slots:
    """A server that answers so many requests at once, each after a time, and refuses the rest."""

    def __init__(self, slots: int, seconds: float) -> None:
        self.slots, self.seconds, self.now, self.answered = slots, seconds, 0, 0

    def __call__(self, note: str, attempt: int) -> Answer:
        if self.now >= self.slots:
            return BUSY
        self.now += 1
        try:
            time.sleep(self.seconds)
            return good(note)
        finally:
            self.now -= 1


@pytest.mark.parametrize("slots", [1, 3])
def test_a_server_of_few_slots_answers_every_note_at_the_default_concurrency(serve: Serve, slots: int) -> None:
    server = serve(Slots(slots, 0.01))
    assert outcome(writer(server, concurrency=Execution().concurrency, retries=0), many(120)) == (120, Counter())
    assert sum(server.asked.values()) < 2 * 120  # it is not overrun: most requests are answered


@pytest.mark.thorough
def test_a_queue_of_one_slot_is_not_filled_until_requests_time_out(serve: Serve) -> None:
    import threading

    slot = threading.Lock()

    def answer(note: str, attempt: int) -> Answer:
        with slot:
            time.sleep(0.05)
            return good(note)

    server = serve(answer)
    asking = writer(server, concurrency=64, timeout_s=0.6, retries=6)
    assert outcome(asking, many(80)) == (80, Counter())
    assert asking._pace.limit < 16


class Allowance:
    """So many requests in a window of time, as a rate limit has it; the refusal says when the window ends."""

    def __init__(self, requests: int, seconds: float, *, says_when: bool) -> None:
        self.requests, self.seconds, self.says_when = requests, seconds, says_when
        self.began, self.used, self.early = time.monotonic(), 0, 0
        self.closed_until = 0.0

    def __call__(self, note: str, attempt: int) -> tuple[int, bytes, dict[str, str]]:
        now = time.monotonic()
        if now - self.began >= self.seconds:
            self.began, self.used = now, 0
        if self.used >= self.requests:
            self.early += now < self.closed_until - 0.05
            self.closed_until = now + 1.0
            return *BUSY, {"Retry-After": "1"} if self.says_when else {}
        self.used += 1
        return *good(note), {}


@pytest.mark.parametrize("says_when", [True, False], ids=["Retry-After", "silent"])
def test_twenty_requests_a_minute_are_enough_for_every_note(serve: Serve, says_when: bool) -> None:
    """A minute is a second here, and so is what ``Retry-After`` asks for."""
    server = serve(Allowance(20, 1.0, says_when=says_when))
    started = time.monotonic()
    assert outcome(writer(server, concurrency=64, retries=0), many(58)) == (58, Counter())
    assert time.monotonic() - started > 1.9


@pytest.mark.parametrize("header", ["1", "1.0", "date"])
def test_nothing_is_sent_before_retry_after(serve: Serve, header: str) -> None:
    times: list[float] = []

    def answer(note: str, attempt: int) -> tuple[int, bytes, dict[str, str]]:
        times.append(time.monotonic())
        if len(times) == 1:
            when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))
            return *BUSY, {"Retry-After": when if header == "date" else header}
        return *good(note), {}

    server = serve(answer)
    assert outcome(writer(server, concurrency=1), many(3)) == (3, Counter())
    assert times[1] - times[0] > 0.9


@pytest.mark.parametrize("header", ["soon", "-1", "nan", "inf", "", "Mon, 99 Foo 2026"])
def test_a_retry_after_that_says_nothing_is_a_short_wait(serve: Serve, header: str) -> None:
    def answer(note: str, attempt: int) -> tuple[int, bytes, dict[str, str]]:
        return (*BUSY, {"Retry-After": header}) if attempt == 1 else (*good(note), {})

    assert outcome(writer(serve(answer)), many(3)) == (3, Counter())


def test_a_retry_after_beyond_the_patience_stops_the_run_at_once(serve: Serve) -> None:
    server = serve(lambda note, attempt: (*BUSY, {"Retry-After": "7200"}))
    with pytest.raises(
        PairWriterError, match=r"longer than execution\.patience_s=600 seconds.*Then run the same command"
    ):
        written_by(writer(server), many(3))


def test_no_more_requests_run_at_once_than_asked_for(serve: Serve) -> None:
    def answer(note: str, attempt: int) -> Answer:
        time.sleep(0.02)
        return good(note)

    server = serve(answer)
    outcome(writer(server, concurrency=3), many(30))
    assert server.most_at_once == 3


def test_a_server_that_bears_it_is_asked_as_much_at_once_as_allowed(serve: Serve) -> None:
    def answer(note: str, attempt: int) -> Answer:
        time.sleep(0.1)
        return good(note)

    server = serve(answer)
    outcome(writer(server, concurrency=24), many(120))
    assert server.most_at_once == 24


# ------------------------------------------------- what is the note's own: counted, and the others are answered

POISON: dict[str, tuple[Any, str]] = {
    "too long": (
        (400, b'{"error": {"message": "maximum context length is 8192"}}'),
        "prompt beyond the model's context",
    ),
    "too long by code": (
        (400, b'{"error": {"message": "no", "code": "context_length_exceeded"}}'),
        "prompt beyond the model's context",
    ),
    "bad request": ((400, b"{}"), "server answered 400"),
    "filtered by a gateway": ((403, b"<html>blocked</html>"), "server answered 403"),
    "too large": ((413, b""), "server answered 413"),
    "unprocessable": ((422, b'{"detail": [{"loc": ["body"], "msg": "no"}]}'), "server answered 422"),
    "crash": ((500, b"{}"), "server answered 500"),
    "time-out of a gateway": ((504, b"<html>"), "server answered 504"),
    "cut body": ((200, b'{"id": "1", "choi'), "answer is no chat completion"),
    "HTML": ((200, b"<html>Please log in</html>"), "answer is no chat completion"),
    "no choice": ((200, b'{"choices": []}'), "answer is no chat completion"),
    "list": ((200, b"[]"), "answer is no chat completion"),
    "null": ((200, b"null"), "answer is no chat completion"),
    "not UTF-8": ((200, b"\xff\xfe"), "answer is no chat completion"),
    "no number": ((200, b'{"choices": NaN}'), "answer is no chat completion"),
    "error in a success": ((200, b'{"error": {"code": 400, "message": "no"}}'), "server answered 400"),
    "crash in a success": ((200, b'{"error": "no"}'), "server answered 500"),
    "nested": ((200, b'{"choices": ' + b"[" * 1000 + b"]" * 1000 + b"}"), "answer is no chat completion"),
    "nested for ever": ((200, b"[" * 1_000_000), "answer is no chat completion"),
    "large": ((200, b'{"choices": "' + b"x" * (5 << 20) + b'"}'), "answer above 4 MB"),
    "cut reply": (completion('{"pairs": [{"query": "cut'), "reply is not JSON"),
    "empty": (completion(""), "empty reply"),
    "null text": (completion(None), "empty reply"),
    "other text": (completion({"pairs": []}), "empty reply"),
    "wrong types": (completion('{"pairs": [{"query": 1}]}'), "wrong types"),
    "nested reply": (completion("[" * 1000), "reply is not JSON"),
    "nested pair": (completion('{"pairs": [{"query": ' + "[" * 1000), "reply is not JSON"),
}


@pytest.mark.parametrize("concurrency", [1, 64])
@pytest.mark.parametrize("case", POISON)
def test_a_poisoned_note_stops_nothing_and_is_counted_by_its_reason(
    serve: Serve, notes: list[Note], case: str, concurrency: int
) -> None:
    answer, reason = POISON[case]
    poisoned = notes[0]  # nothing was answered before it
    server = serve(lambda note, attempt: answer if note == poisoned.text else good(note))
    assert outcome(writer(server, retries=1, concurrency=concurrency), notes) == (3, Counter({reason: 1}))
    assert server.asked[poisoned.text] <= 3  # twice, and once more alone
    assert {server.asked[note.text] for note in notes if note != poisoned} == {1}


@pytest.mark.parametrize("concurrency", [1, 64])
def test_a_note_that_makes_the_server_hang_stops_nothing(serve: Serve, notes: list[Note], concurrency: int) -> None:
    def answer(note: str, attempt: int) -> Answer:
        if note == notes[0].text:
            time.sleep(1.0)
        return good(note)

    server = serve(answer)
    found = outcome(writer(server, timeout_s=0.3, retries=5, concurrency=concurrency), notes)
    assert found == (3, Counter({"time-out": 1}))
    assert server.asked[notes[0].text] == 3  # each try costs the whole time-out


def test_a_note_that_cuts_its_connection_stops_nothing(serve: Serve, notes: list[Note]) -> None:
    server = serve(lambda note, attempt: None if note == notes[0].text else good(note))
    assert outcome(writer(server, retries=1, concurrency=1), notes) == (3, Counter({"connection cut": 1}))


def test_an_answer_that_drips_ends_with_the_time_out(serve: Serve, notes: list[Note]) -> None:
    def answer(note: str, attempt: int) -> Any:
        return ("drip", 0.02) if note == notes[0].text else good(note)

    started = time.monotonic()
    found = outcome(writer(serve(answer), timeout_s=0.5, retries=0, concurrency=4), notes)
    assert found == (3, Counter({"time-out": 1}))
    assert time.monotonic() - started < 5.0


def test_a_gigabyte_is_not_read(serve: Serve, notes: list[Note]) -> None:
    def answer(note: str, attempt: int) -> Any:
        return ("flood", 1 << 30) if note == notes[0].text else good(note)

    server = serve(answer)
    assert outcome(writer(server, retries=0), notes) == (3, Counter({"answer above 4 MB": 1}))
    assert server.flooded < 2 * (64 << 20)


@pytest.mark.parametrize("encoding", ["gzip", "br", "x"])
def test_a_compressed_answer_is_none(serve: Serve, notes: list[Note], encoding: str) -> None:
    def answer(note: str, attempt: int) -> Any:
        headers = {"Content-Encoding": encoding} if note == notes[0].text else {}
        return *good(note), headers

    assert outcome(writer(serve(answer), retries=0), notes) == (3, Counter({"answer is no chat completion": 1}))


def test_a_reply_in_parts_is_read_without_its_thoughts(serve: Serve, notes: list[Note]) -> None:
    def answer(note: str, attempt: int) -> Answer:
        text = json.loads(good(note)[1])["choices"][0]["message"]["content"]
        return completion([{"type": "thinking", "text": "Well"}, {"type": "text", "text": text}, "?", {"type": 3}])

    assert outcome(writer(serve(answer)), notes) == (4, Counter())


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"finish_reason": "content_filter", "message": {"content": ""}}, "model declined"),
        ({"finish_reason": "stop", "message": {"content": None, "refusal": "I cannot"}}, "model declined"),
        ({"finish_reason": "length", "message": {"content": ""}}, "reply cut at the token limit"),
    ],
    ids=["filter", "refusal", "all tokens thought"],
)
def test_what_a_server_says_of_an_empty_reply_is_its_reason(
    serve: Serve, notes: list[Note], choice: object, reason: str
) -> None:
    body = json.dumps({"choices": [choice]}).encode()
    server = serve(lambda note, attempt: (200, body) if note == notes[0].text else good(note))
    assert outcome(writer(server), notes) == (3, Counter({reason: 1}))


# --------------------------------------------------------------- what is the server's: the run stops and says why

REFUSALS: dict[str, tuple[Any, str]] = {
    "no key": ((401, b'{"error": {"message": "no key"}}'), r"401 \('no key'\)\. It wants a key"),
    "forbidden": ((403, b"{}"), "403.*It wants a key"),
    "wrong model": (
        (404, b'{"error": {"message": "no such model"}}'),
        r"404 \('no such model'\)\. It has no model 'm'",
    ),
    "wrong address": ((404, b"<html>"), "404.*no chat completions at this address"),
    "wrong method": ((405, b"{}"), "405"),
    "unpaid": ((402, b"{}"), "402.*is used up"),
    "spent": ((429, b'{"error": {"code": "insufficient_quota", "message": "x"}}'), "429.*is used up"),
    "limit's name": (
        (
            400,
            b'{"error": {"message": "Unsupported parameter: max_tokens. Use max_completion_tokens", "param": "max_tokens"}}',
        ),
        r"pairs\.llm\.limit_name=max_completion_tokens",
    ),
    "temperature": (
        (400, b'{"error": {"message": "temperature does not support 0.8"}}'),
        r"Leave pairs\.llm\.temperature out",
    ),
    "schema": ((400, b'{"error": "json_schema is unknown"}'), r"pairs\.llm\.response_format=json_object"),
    "schema, as llama-cpp-python says it": (
        (500, b"{\"error\": {\"message\": \"{'loc': ('body', 'response_format', 'type'), 'input': 'json_schema'}\"}}"),
        r"500 \('.*json_schema.*pairs\.llm\.response_format=json_object_schema",
    ),
    "form": ((422, b'{"detail": "response_format: extra"}'), r"pairs\.llm\.response_format"),
    "seed": ((422, b'{"detail": [{"loc": ["body", "seed"], "msg": "extra inputs"}]}'), r"pairs\.llm\.seed_name=none"),
    "bounds": ((400, b'{"error": {"message": "\'maxItems\' is not permitted"}}'), r"pairs\.llm\.schema_bounds=false"),
    "everything too long": (
        (400, b'{"error": {"message": "maximum context length is 64 tokens"}}'),
        "prompt beyond the model's context",
    ),
    "redirect": ((307, b"", {"Location": "http://127.0.0.1:9/"}), "307.*It redirects"),
    "HTML": ((200, b"<html>Please log in</html>"), "answer is no chat completion"),
    "crash": ((500, b"{}"), "server answered 500"),
}


@pytest.mark.parametrize("concurrency", [1, 64])
@pytest.mark.parametrize("case", REFUSALS)
def test_a_server_that_takes_no_request_stops_the_run_with_the_reason(
    serve: Serve, notes: list[Note], case: str, concurrency: int
) -> None:
    answer, said = REFUSALS[case]
    server = serve(lambda note, attempt: answer)
    with pytest.raises(PairWriterError, match=said) as caught:
        written_by(writer(server, retries=1, concurrency=concurrency), notes)
    assert str(caught.value).endswith("it asks only for what is missing")
    assert max(server.asked.values()) <= 3


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500])
def test_the_servers_words_are_those_about_our_own_text(serve: Serve, notes: list[Note], status: int) -> None:
    """A server may quote the note in its message: what it says of notes is never shown."""

    def answer(note: str, attempt: int) -> Answer:
        return status, json.dumps({"error": {"message": f"cannot take \x1b[31m{note}\u202e"}}).encode()

    with pytest.raises(PairWriterError) as caught:
        written_by(writer(serve(answer)), notes)
    assert PROBE.text[:40] in str(caught.value)
    assert str(caught.value).isprintable()
    assert not [note for note in notes if note.text[:12] in str(caught.value)]


def test_a_key_in_the_servers_words_is_not_shown(
    serve: Serve, notes: list[Note], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_KEY", "sk-mine")
    server = serve(lambda note, attempt: (401, b'{"error": {"message": "wrong key: sk-mine"}}'))
    with pytest.raises(PairWriterError, match=r"wrong key: \*\*\*'\)\. It refuses the key in CLINIC_KEY"):
        written_by(writer(server, api_key_env="CLINIC_KEY"), notes)


def withdrawn_after(count: int, answered: set[str]) -> Callable[[str, int], Answer]:
    """Answer so many notes, and take no key from then on."""

    def answer(note: str, attempt: int) -> Answer:
        if len(answered) >= count:
            return 401, b"{}"
        answered.add(note)
        return good(note)

    return answer


def test_a_key_withdrawn_midway_stops_the_run_soon(serve: Serve) -> None:
    answered: set[str] = set()
    server = serve(withdrawn_after(20, answered))
    asking = writer(server, concurrency=4)
    with pytest.raises(PairWriterError, match="401"):
        list(asking.write(many(60)))
    asking.close()
    assert len(answered) == 20
    assert len(server.asked) < 30


def test_a_server_that_is_not_there_stops_the_run_with_what_to_do(notes: list[Note]) -> None:
    gone = EndpointWriter(Llm(), Execution(endpoint="http://127.0.0.1:9/v1", retries=1, concurrency=2), seed=1)
    with pytest.raises(PairWriterError, match=r"no connection\. Start the server.*Then run the same command"):
        list(gone.write(notes))
    gone.close()


def test_a_server_that_only_says_it_is_busy_is_waited_for_as_long_as_the_patience(serve: Serve) -> None:
    server = serve(lambda note, attempt: BUSY)
    started = time.monotonic()
    with pytest.raises(PairWriterError, match="server answered 429, and no request was taken for"):
        written_by(writer(server, patience_s=0.5), many(4))
    assert 0.5 < time.monotonic() - started < 3.0


def test_an_answer_may_take_longer_than_the_patience(serve: Serve) -> None:
    """A slow model on a slow machine: the patience is for servers that take no request."""

    def answer(note: str, attempt: int) -> Any:
        time.sleep(0.5)
        return None if attempt == 1 else good(note)

    assert outcome(writer(serve(answer), patience_s=0.1, concurrency=1), many(2)) == (2, Counter())


def test_a_note_that_is_put_off_while_others_are_answered_stays_missing(serve: Serve) -> None:
    notes = many(40)

    def answer(note: str, attempt: int) -> Answer:
        time.sleep(0.05)
        return BUSY if note == notes[0].text else good(note)

    written = written_by(writer(serve(answer), concurrency=2, patience_s=0.6), notes)
    assert [item.note_id for item in written if item.unanswered] == [notes[0].note_id]
    assert sum(len(item.pairs) for item in written) == 39


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1:8000/v1",
        "ftp://host/v1",
        "file:///etc/passwd",
        "http://",
        "http://name:password@host/v1",
        "http://host:port/v1",
        "http://host/v1?x=1",
        "http://host/v1#x",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_shown(address: str) -> None:
    with pytest.raises(RecipeConfigError, match=r"execution\.endpoint is no address") as caught:
        EndpointWriter(Llm(), Execution(endpoint=address), seed=1)
    assert "password" not in str(caught.value)
