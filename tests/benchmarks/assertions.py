"""Passages in the order of what they assert, and finding what they assert: CPU time of one process."""

import time
from collections.abc import Callable, Sequence
from statistics import median

from medembed import MedEmbed
from medembed.clinical.asked import asked
from medembed.clinical.assertions import scopes
from medembed.clinical.hits import DEPTH, packed, reordered, unpacked
from medembed.storage.tables import Hit
from tests.benchmarks import texts
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.runner import Watch
from tests.benchmarks.sizes import Size

PASSAGES = 400
QUERIES = [
    "patient with cancer", "patient without infection", "mother with breast cancer", "history of diabetes", "no evidence of heart disease",
]  # fmt: skip
FOUND, STORED = "found while searching", "in the column"


def order(size: Size, engines: Sequence[str] = ()) -> Result:
    """Of 400 passages those that say most of a query's words: as a search brings them."""
    del engines  # a comparison of ways, not of engines
    passages = texts.load("passages", PASSAGES)
    turns = 3 * size.rounds
    watch = Watch()
    seconds = {(query, way): spent for query in QUERIES for way, spent in _ordering(query, passages, turns).items()}
    finding = _cpu_s(lambda: [scopes(text) for text in passages], turns)
    with MedEmbed(max_seq_length=texts.MAX_SEQ_LENGTH) as model:
        encoding = _cpu_s(lambda: model.encode(passages), size.rounds)
    slowest = {way: max(spent for (_, of), spent in seconds.items() if of == way) for way in (FOUND, STORED)}
    return Result(
        "assertions",
        f"{DEPTH} passages in the order of what they assert",
        {"passages": DEPTH, "characters": sum(map(len, passages)) // PASSAGES, "turns": turns},
        [{"query": query, "scopes": way, "median ms": 1000 * spent} for (query, way), spent in seconds.items()],
        [
            Claim(f"100 passages in order, scopes {FOUND}, ms", 1000 * slowest[FOUND], at_most=15.0),
            Claim(f"100 passages in order, scopes {STORED}, ms", 1000 * slowest[STORED], at_most=15.0),
            Claim("finding scopes, share of the time of encoding", finding / encoding, at_most=0.1),
        ],
        watch.other_load(),
    )


def _ordering(query: str, passages: Sequence[str], turns: int) -> dict[str, float]:
    """Seconds to judge and sort, by where the scopes are from."""
    wishes = asked(query)
    best = sorted(passages, key=lambda text: -sum(wish.stem in text.lower() for wish in wishes))[:DEPTH]
    hits = [Hit(str(place), 1 - place / DEPTH, text, "", 0, {}) for place, text in enumerate(best)]
    columns = [packed(scopes(text)) for text in best]
    return {
        FOUND: _cpu_s(lambda: reordered(hits, wishes, [None] * len(hits)), turns),
        STORED: _cpu_s(lambda: reordered(hits, wishes, [unpacked(column) for column in columns]), turns),
    }


def _cpu_s(work: Callable[[], object], turns: int) -> float:
    """CPU seconds of the process, the median of some turns after one that is not counted."""
    spent = []
    for _ in range(turns + 1):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return median(spent[1:])
