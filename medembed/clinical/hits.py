"""Hits of a store in the order of what they assert.

The column of scopes makes that fast.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.clinical.agreement import Verdict, lowered, verdict
from medembed.clinical.asked import Assertion, Wish, asked
from medembed.clinical.assertions import KINDS, RULES, Scope, scopes
from medembed.errors import CorpusError, InputTypeError
from medembed.extras import require
from medembed.storage.manifest import Manifest
from medembed.storage.shards import SCOPES, Job
from medembed.storage.tables import Asserted, Hit, Store

log = logging.getLogger("medembed")

# rows that are put in a new order
DEPTH = 100
# numbers of a scope in the column: kind, start, length, and where its phrase begins and how long it is
WIDTH = 5
Integers = NDArray[np.int64]


def scope_columns(job: Job, manifest: Manifest[Any]) -> dict[str, Any]:
    """The column of scopes of a shard's texts, where its store keeps one."""
    if not manifest.assertions:
        return {}
    arrow = require("pyarrow")
    found = [packed(scopes(text)) for text in job.rows.column("text").to_pylist()]
    return {SCOPES: arrow.array(found, type=arrow.list_(arrow.int32()))}


def packed(found: Sequence[Scope]) -> list[int]:
    """Scopes as numbers, :data:`WIDTH` each."""
    return [
        number
        for scope in found
        for number in (
            KINDS.index(scope.kind),
            scope.start,
            scope.end - scope.start,
            scope.trigger_start,
            scope.trigger_end - scope.trigger_start,
        )
    ]


def unpacked(numbers: Sequence[int]) -> list[Scope]:
    """Scopes of numbers."""
    return [
        Scope(start, start + length, KINDS[kind], trigger, trigger + trigger_length)
        for kind, start, length, trigger, trigger_length in zip(*[iter(numbers)] * WIDTH, strict=True)
    ]


def wishes_of(
    queries: Sequence[str] | NDArray[Any], assertion: Assertion | None, manifest: Manifest[Any]
) -> list[list[Wish]]:
    """What each query asks to be asserted.

    Raises:
        InputTypeError: An assertion is named for vectors, which have no words.
        CorpusError: An assertion is named, and the store holds no texts.
    """
    named = assertion not in (None, "any")
    if isinstance(queries, np.ndarray):
        if named:
            raise InputTypeError(
                f"assertion={assertion!r} needs the queries' texts, not their vectors: it compares words"
            )
        return [[] for _ in queries]
    if not manifest.text_stored:
        if named:
            raise CorpusError(
                f"assertion={assertion!r} reads the texts, and this store holds none: index again with --store-text"
            )
        return [[] for _ in queries]
    return [asked(query, assertion) for query in queries]


def deep_enough(wishes: Sequence[Sequence[Wish]], k: int) -> int:
    """How many rows are looked for so that ``k`` are left after a new order."""
    return max(k, DEPTH) if any(wishes) else k


def hits_of(
    store: Store[Any],
    rows: Sequence[Integers],
    scores: Sequence[NDArray[np.float32]],
    wishes: Sequence[Sequence[Wish]],
    k: int,
) -> list[list[Hit]]:
    """Rows of several queries as hits, the best ``k`` of each: those first that assert what is asked.

    Args:
        store: The store.
        rows: Numbers of rows for each query, best first.
        scores: Their scores.
        wishes: From :func:`wishes_of`.
        k: How many hits a query keeps.
    """
    rows = [found if wished else found[:k] for found, wished in zip(rows, wishes, strict=True)]
    answers = store.hits(rows, [some[: len(found)] for some, found in zip(scores, rows, strict=True)])
    return [
        reordered(hits, wished, _stored(store, found))[:k] if wished else hits
        for hits, wished, found in zip(answers, wishes, rows, strict=True)
    ]


def reordered(hits: Sequence[Hit], wishes: Sequence[Wish], found: Sequence[Sequence[Scope] | None]) -> list[Hit]:
    """Hits in the order of what they assert, with what they say of the query's words.

    Args:
        hits: With their texts.
        wishes: What the query asks.
        found: The scopes of each text; None to find them here.
    """
    judged = [verdict(wishes, hit.text or "", some) for hit, some in zip(hits, found, strict=True)]
    again = [
        replace(hit, score=lowered(hit.score, told.wrong), asserts=_asserted(hit.text or "", told))
        for hit, told in zip(hits, judged, strict=True)
    ]
    return sorted(again, key=lambda hit: -hit.score)


def _stored(store: Store[Any], rows: Integers) -> list[list[Scope] | None]:
    manifest = store.manifest
    if manifest.assertions and manifest.assertion_rules == RULES:
        return [unpacked(numbers) for numbers in store.values(rows, SCOPES)]
    if manifest.assertions:
        _tell_of_other_rules(store.path)
    return [None] * len(rows)


@cache
def _tell_of_other_rules(path: Path) -> None:
    """Log once that a column is of no use."""
    log.warning(
        "%s: its scopes were found by the rules of another version. They are found anew while searching, which takes twice as long. "
        "To store them, index it again with --assertions --overwrite",
        path,
    )


def _asserted(text: str, told: Verdict) -> tuple[Asserted, ...]:
    parts = []
    for scope in told.scopes:
        start, end = min(scope.start, scope.trigger_start), max(scope.end, scope.trigger_end)
        parts.append(Asserted(scope.kind, text[start:end], start, end))
    return tuple(parts)
