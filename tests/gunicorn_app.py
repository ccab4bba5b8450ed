"""A WSGI application whose model is loaded once, before gunicorn forks its workers (``--preload``)."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from medembed import EmbeddedCorpus, MedEmbed

model = MedEmbed(os.environ["MODEL_FOLDER"], threads=2)
corpus = EmbeddedCorpus.open(os.environ["CORPUS_FOLDER"], model)
# used before the fork: threads and requests are there for the workers to inherit
expected = model.encode(["pain"] * 200)[0]
corpus.search("pain", k=1)


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Encode and search once, and say in which process."""
    row = model.encode(["pain"] * 200)[0]
    answer = {"pid": os.getpid(), "cosine": float(row @ expected), "best": corpus.search("pain", k=1)[0].id}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
