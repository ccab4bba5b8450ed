"""Replies of a hostile endpoint: each costs its own note at most, and every other note is answered.

``run(count)`` has a server on loopback answer one note of three with a changed reply: the completion, or what the model is said
to have written.
"""

import json
import random
from typing import Any

from tests.hostile import model_folders as tables
from tests.hostile.watched import Tally, Watched

COUNT = 400
NOTES = [f"Fever number {number} went down. It did not come back." for number in range(3)]
DOCUMENTS = ("completion", "content")


def _document(which: str) -> Any:
    """The good reply to the note that is attacked: whole, or the text in it."""
    from tests.recipes.endpoint_server import good

    completion = json.loads(good(NOTES[1])[1])
    return completion if which == "completion" else json.loads(completion["choices"][0]["message"]["content"])


def changes() -> list[tuple[str, str, str]]:
    """Document, place and value of every change; a place of ``"*"`` is all of it."""
    found = []
    for which in DOCUMENTS:
        places = [".".join(map(str, at)) for at in tables.places(_document(which))]
        found += [(which, place, label) for place in places for label in (*tables.VALUES, "removed")]
        found += [(which, "*", label) for label in tables.RAW]
    return found


def _reply(which: str, place: str, label: str) -> bytes:
    from tests.recipes.endpoint_server import completion

    document = _document(which)
    if place == "*":
        content = tables.RAW[label]
    else:
        at = tuple(int(part) if part.isdigit() else part for part in place.split("."))
        tables.put(document, at, tables.VALUES.get(label), remove=label == "removed")
        content = json.dumps(document).encode()
    return content if which == "completion" else completion(content.decode(errors="replace"))[1]


def prepare() -> None:
    """Wait as little between tries as a test can."""
    from medembed.recipes.writers import pacing

    pacing.FIRST_WAIT_S, pacing.LONGEST_WAIT_S = 0.01, 0.1


def attempt(line: str) -> str:
    """Have three notes answered, the second by the change of this number."""
    from medembed.errors import MedEmbedError
    from medembed.recipes.execution import Execution
    from medembed.recipes.llm import Llm
    from medembed.recipes.records import Note, content_id
    from medembed.recipes.writers.openai_endpoint import EndpointWriter
    from tests.recipes.endpoint_server import Server, good

    hostile = _reply(*changes()[int(line)])
    notes = [Note(content_id(text), f"d{number}", "s", "", "", text) for number, text in enumerate(NOTES)]
    server = Server(lambda note, tried: (200, hostile) if note == NOTES[1] else good(note))
    try:
        writer = EndpointWriter(
            Llm(model="m"), Execution(endpoint=server.url, timeout_s=5.0, retries=1, concurrency=1), seed=7
        )
        try:
            written = {item.note_id: item for item in writer.write(notes)}
        finally:
            writer.close()
    except MedEmbedError:
        return "wrong: all notes are lost"
    except BaseException as error:  # noqa: BLE001 - what this is for
        return f"raw {type(error).__name__}"
    finally:
        server.stop()
    if set(written) != {note.note_id for note in notes} or not all(written[notes[i].note_id].pairs for i in (0, 2)):
        return "wrong: another note is lost"
    mine = written[notes[1].note_id]
    for pair in mine.pairs:
        if pair.passage != NOTES[1][pair.start : pair.end]:
            return "wrong passage"
        (pair.query + pair.passage).encode()
    return "right" if mine.pairs else "refused"


def run(count: int, seed: int = 0) -> dict[str, Any]:
    """Meet ``count`` hostile replies."""
    told = changes()
    order = list(range(len(told)))
    random.Random(seed).shuffle(order)
    tally, watched = Tally(), Watched(__name__)
    honest = 0
    for number in range(count):
        place = order[number % len(order)]
        tally.add(" ".join(told[place]), watched(str(place)))
        honest = honest or watched.peak
    watched.close()
    return tally.counts(watched.peak / honest if honest else None)
