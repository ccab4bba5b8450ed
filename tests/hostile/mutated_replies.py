"""Replies of an endpoint with changed bytes: pairs that stand in the note, or a reason; never a raw error, never lost.

``run(count)`` changes good replies so often in all. ``python -m tests.hostile.mutated_replies COUNT`` prints the counts.
"""

import json
import random
import sys
import threading
from collections import Counter
from typing import Any

import httpx2

from medembed.errors import PairWriterError
from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.records import Note, content_id
from medembed.recipes.writers.chat import Answered, ChatClient
from medembed.recipes.writers.interface import Written
from medembed.recipes.writers.openai_endpoint import PROBE, EndpointWriter
from medembed.recipes.writers.replies import parse_reply
from tests.recipes.endpoint_server import Server, good
from tests.rows.fuzz import mutated

MARKER = "zq9marker"
# of the changed replies, this share goes through a server on loopback, and the others straight to what reads them
SHARE_SERVED = 0.1
STATUSES = (*[200] * 20, 400, 401, 404, 422, 429, 500, 503)
SETTINGS = Llm(model="m")


def note(number: int) -> Note:
    """A note that no other is equal to."""
    text = f"{MARKER} has gout of toe {number}. Allopurinol helps. The pain went away at once. Drink water."
    return Note(content_id(text), f"doc-{number}", "made", "", "", text)


def content(text: str) -> str:
    """What a model says: three pairs."""
    sentences = [sentence.strip() + "." for sentence in text.split(".")[:3]]
    items = [
        {"query": f"{MARKER} toe", "query_type": "keyword", "passage": said, "relevance_score": 4} for said in sentences
    ]
    return json.dumps({"pairs": items})


def reply(said: str) -> bytes:
    """The answer of a server around what a model says."""
    message = {"role": "assistant", "content": said}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode()


def changed(text: str, chance: random.Random) -> bytes:
    """A good answer with changed bytes: in the whole, or in what the model says."""
    said = content(text)
    if chance.random() < 0.5:
        return mutated(reply(said), chance)
    return reply(mutated(said.encode(), chance).decode("utf-8", "replace"))


def check(asked: Note, written: Written) -> str:
    """What became of a reply: ``"pairs"``, ``"some pairs"`` or ``"a reason"``."""
    assert written.note_id == asked.note_id
    for pair in written.pairs:
        assert pair.passage == asked.text[pair.start : pair.end]
        assert pair.passage.strip()
        assert pair.query.strip()
    assert written.pairs or written.failures, "lost without a word"
    assert not any(MARKER in failure.reason for failure in written.failures), "a reason holds the data"
    return "a reason" if not written.pairs else "some pairs" if written.failures else "pairs"


def parsed(client: ChatClient, chance: random.Random, number: int) -> str:
    """Hand a changed answer to what reads it."""
    asked, status = note(number), chance.choice(STATUSES)
    response = httpx2.Response(status, headers={"retry-after": chance.choice(("1", "x", "-3", "nan"))})
    outcome = client._outcome(response, changed(asked.text, chance))
    if isinstance(outcome, Answered):
        return check(asked, parse_reply(asked, outcome.text, SETTINGS, cut=outcome.cut, declined=outcome.declined))
    assert MARKER not in outcome.reason, "a reason holds the data"
    return type(outcome).__name__.lower()


def served(count: int, seed: int) -> Counter[str]:
    """Have notes written by a server whose every first answer is changed: each note comes back once, whatever it said."""
    lock, chance = threading.Lock(), random.Random(f"{seed} served")
    notes = [note(number) for number in range(count)]

    def answer(text: str, attempt: int) -> Any:
        if text == PROBE.text or attempt > 1:
            return good(text)
        with lock:
            return 200, changed(text, chance)

    server = Server(answer)
    writer = EndpointWriter(SETTINGS, Execution(endpoint=server.url, retries=1), seed=1)
    found: Counter[str] = Counter()
    message = ""
    try:
        by_id = {item.note_id: item for item in notes}
        for written in writer.write(notes):
            found[check(by_id.pop(written.note_id), written)] += 1
        assert not by_id, f"{len(by_id)} notes never came back"
    except PairWriterError as error:
        message = str(error)
        found["stopped"] += 1
    finally:
        writer.close()
        server.stop()
    assert MARKER not in message, "a message holds the data"
    return found


def run(count: int, seed: int = 0) -> dict[str, Any]:
    """Change good replies.

    Args:
        count: How often in all.
        seed: The same seed gives the same changes.

    Returns:
        ``mutations``, counts by outcome, and ``faults``: what broke a rule, by number.
    """
    faults: dict[str, str] = {}
    counts: dict[str, Counter[str]] = {"parsed": Counter(), "served": Counter()}
    n_served = int(count * SHARE_SERVED)
    client = ChatClient(Execution())
    for number in range(count - n_served):
        try:
            counts["parsed"][parsed(client, random.Random(f"{seed} {number}"), number)] += 1
        except Exception as error:  # noqa: BLE001 - any error is what is looked for
            faults[str(number)] = f"{type(error).__name__}: {str(error)[:200]}"
    try:
        counts["served"] = served(n_served, seed)
    except Exception as error:  # noqa: BLE001 - as above
        faults["served"] = f"{type(error).__name__}: {str(error)[:200]}"
    return {
        "mutations": count,
        "seed": seed,
        "kinds": {kind: dict(sorted(found.items())) for kind, found in counts.items()},
        "faults": faults,
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1])), indent=1))
