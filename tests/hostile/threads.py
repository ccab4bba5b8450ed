"""Thirty-two threads for minutes, over everything that is public: every answer is right, and none is waited for.

``run(seconds)`` encodes, searches and awaits in all threads at once, while one more changes a store.
"""

import asyncio
import random
import resource
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests import tiny_bert
from tests.colbert import folders
from tests.hostile import stores
from tests.hostile.watched import LONGEST_SECONDS

COUNT = 600
THREADS = 32
TEXTS = [f"finding {number}: {'pain ' * (number % 30)}" for number in range(60)]
Work = Callable[[random.Random], bool]


@contextmanager
def _things(place: Path) -> Iterator[dict[str, Work]]:
    """What the threads do; each piece of work says whether its answer was right."""
    from medembed import EmbeddedCorpus, MedColBERT, MedEmbed, TokenIndex
    from medembed.corpus.embed import Settings

    model = MedEmbed(tiny_bert.make(place / "tiny"), threads=2)
    late = MedColBERT(folders.stanford(place / "late"), threads=2)
    corpus = EmbeddedCorpus.build(place / "corpus", stores.ROWS, model)
    tokens = TokenIndex.build(place / "tokens", stores.ROWS, late)
    changed = EmbeddedCorpus.build(place / "changed", stores.ROWS, model, Settings(shard_rows=8))
    expected = model.encode(TEXTS)
    late_expected = late.encode_query(TEXTS[:5])
    found = {id(store): [_ids(store.search(query, 5)) for query in stores.QUERIES] for store in (corpus, tokens)}

    def encode(rng: random.Random) -> bool:
        start, length = rng.randrange(len(TEXTS)), rng.randint(1, 20)
        return bool(
            np.allclose(model.encode(TEXTS[start : start + length]), expected[start : start + length], atol=0.03)
        )

    def awaited(rng: random.Random) -> bool:
        chosen = rng.sample(range(len(TEXTS)), 4)

        async def together() -> list[Any]:
            return await asyncio.gather(*(model.aencode(TEXTS[number]) for number in chosen))

        return bool(np.allclose(np.stack(asyncio.run(together())), expected[chosen], atol=0.03))

    def late_query(rng: random.Random) -> bool:
        number = rng.randrange(5)
        return bool(np.allclose(late.encode_query(TEXTS[number]), late_expected[number], atol=0.03))

    def search(store: Any) -> Work:
        def work(rng: random.Random) -> bool:
            number = rng.randrange(len(stores.QUERIES))
            return _ids(store.search(stores.QUERIES[number], 5))[0] == found[id(store)][number][0]

        return work

    def read_changed(rng: random.Random) -> bool:
        hits = changed.search("fever", 5)
        return len(hits) == 5 and len(set(_ids(hits))) == 5

    with corpus, tokens, changed, late, model:
        yield {
            "encode": encode, "await": awaited, "late query": late_query, "search corpus": search(corpus), "search tokens": search(tokens),
            "search a corpus that changes": read_changed,
        }  # fmt: skip


def _ids(hits: Any) -> list[str]:
    return [hit.id for hit in hits]


def _change(place: Path, until: float) -> None:
    """Change a store as another process would: with an opening of its own."""
    from medembed import EmbeddedCorpus, MedEmbed

    with MedEmbed(place / "tiny", threads=1) as model, EmbeddedCorpus.open(place / "changed", model) as store:
        number = 0
        while time.monotonic() < until:
            number += 1
            store.upsert([{"id": f"w{number % 6}", "text": f"fever in version {number}"}])
            if number % 5 == 0:
                store.compact()
            time.sleep(0.2)


class _Watch:
    """Counts answers, and sees what no answer comes from."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.faults: dict[str, str] = {}
        self.since: dict[int, tuple[str, float]] = {}
        self.hangs = 0
        self._lock = threading.Lock()

    def work(self, things: dict[str, Work], seed: int, until: float) -> None:
        """One thread's life."""
        rng = random.Random(seed)
        while time.monotonic() < until:
            name = rng.choice(sorted(things))
            self.since[seed] = name, time.monotonic()
            used = time.process_time()
            try:
                outcome = "right" if things[name](rng) else "wrong"
            except BaseException as error:  # noqa: BLE001 - what this is for
                outcome = f"raw {type(error).__name__}"
            # where others have the processor, no call ends: that is no hang
            took = min(time.monotonic() - self.since.pop(seed)[1], time.process_time() - used)
            with self._lock:
                self.done[outcome.partition(" ")[0]] += 1
                if outcome != "right":
                    self.faults[name] = outcome
                if took > LONGEST_SECONDS:
                    self.hangs += 1
                    self.faults[name] = f"hang of {took:.0f} s"


def run(seconds: float, seed: int = 0) -> dict[str, Any]:
    """Work with 32 threads for so many seconds; ``memory`` is the peak beside that of the first tenth."""
    warnings.simplefilter("ignore")
    watch = _Watch()
    with tempfile.TemporaryDirectory() as name, _things(Path(name)) as things:
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=watch.work, args=(things, seed + number, until), daemon=True)
            for number in range(THREADS)
        ]
        threads.append(threading.Thread(target=_change, args=(Path(name), until), daemon=True))
        for thread in threads:
            thread.start()
        time.sleep(seconds / 10)
        honest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for thread in threads:
            thread.join(max(0.1, until - time.monotonic()) + 6 * LONGEST_SECONDS)
        for name_of, began in watch.since.copy().values():
            watch.hangs += 1
            watch.faults[name_of] = f"hang of {time.monotonic() - began:.0f} s, not over"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "threads": THREADS, "calls": sum(watch.done.values()), "right": watch.done["right"], "raw": watch.done["raw"],
        "wrong": watch.done["wrong"], "hangs": watch.hangs, "memory": round(peak / honest, 2), "faults": watch.faults,
    }  # fmt: skip
