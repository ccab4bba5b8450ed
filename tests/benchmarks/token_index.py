"""A token index of many passages: bytes a token, time to build, time a query.

Embedding 100,000 passages would be measuring the encoder, which the other benchmarks do. So the committed passages are encoded
once, cut at 96 tokens, and repeated until there are enough, every token mixed with one of another passage: lists of centroids
are as long as with as many real passages, or longer, since copies gather at the same centroids.

The index stays in the system's folder for temporary files: building it takes minutes, and a run that is ended goes on where it was.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from medembed import MedColBERT, vectors
from medembed.colbert.index.store import TokenIndex
from medembed.storage.manifest import FORMAT
from medembed.vectors import Floats
from tests.benchmarks import texts
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.sizes import Size
from tests.benchmarks.token_vectors import Encoded

DOCUMENT_LENGTH, THREADS = 96, 2
# share of the other token: a copy's keeps a cosine of about 0.9 to the original's
MIXED_IN = 0.5
QUERIES = 100


class Repeated(Encoded):
    """Stands for a model whose vectors are there already: passage ``n`` is passage ``n % originals``, mixed with another."""

    def __init__(self, model: MedColBERT, originals: list[Floats]) -> None:
        super().__init__(model, originals)
        self.name = "repeated passages of mini"
        self._others = np.concatenate(originals)

    def one(self, number: int) -> Floats:
        original = self._documents[number % len(self._documents)]
        if number < len(self._documents):
            return original
        start = number * 7919 % (len(self._others) - len(original))
        return vectors.normalize(original + MIXED_IN * self._others[start : start + len(original)])


def index(size: Size, engines: Sequence[str] = ()) -> Result:
    """Build, open and search; the queries are the committed ones."""
    del engines  # there is but one index
    with MedColBERT(document_length=DOCUMENT_LENGTH, threads=THREADS) as model:
        originals = _encoded(model, size)
        queries = model.encode_query(texts.load("queries", QUERIES))
        repeated: Any = Repeated(model, originals)
    place = Path(tempfile.gettempdir()) / f"medembed-token-index-{FORMAT}-{size.late_passages}-{model.revision[-12:]}"
    resumed = (place / "shards").is_dir()
    rows = ({"id": str(number), "text": str(number)} for number in range(size.late_passages))
    started = time.perf_counter()
    built = TokenIndex.build(place, rows, repeated)
    build_s = time.perf_counter() - started
    before = psutil.Process().memory_info().rss
    opened = TokenIndex.open(place, repeated)
    open_s = _timed(lambda: opened.search_vectors(queries[:1]))
    spent = [_timed(lambda query=query: opened.search_vectors([query])) for query in queries]
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    row = {
        "passages": size.late_passages,
        "tokens": built.manifest.n_vectors,
        "build s": "built before" if resumed else build_s,
        "bytes a token": opened.bytes_a_token,
        "first query ms": 1000 * open_s,
        "p50 ms": 1000 * median(spent),
        "p95 ms": 1000 * float(np.quantile(spent, 0.95)),
        "MiB touched": grown,
    }
    claims = [
        Claim("bytes a token", row["bytes a token"], at_most=40.0),
        Claim("p50 of a query, ms", row["p50 ms"], at_most=100.0),
    ]
    settings = {"document length": DOCUMENT_LENGTH, "queries": len(queries), "threads": THREADS, "mixed in": MIXED_IN}
    return Result("token-index", "late-interaction index on disk", settings, [row], claims, raw={"seconds": spent})


def _encoded(model: MedColBERT, size: Size) -> list[Floats]:
    import warnings

    from medembed import TruncationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # cut on purpose
        return model.encode_document(texts.load("passages", size.late_originals), show_progress_bar=False)


def _timed(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
