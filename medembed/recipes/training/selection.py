"""Caps by source: the pairs that are trained on. Pure.

A file of its own because two stages, mining and the training rows, must agree on it.
"""

import fnmatch
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from medembed.recipes.records import Pair, content_id
from medembed.recipes.schema import Triplets


def select(pairs: Iterable[Pair], settings: Triplets, seed: int) -> list[Pair]:
    """Apply caps and shuffle. Everything goes by hashes, so that the order of the input does not matter.

    A pattern such as ``"onto:*"`` caps all sources it matches together, and the first pattern that matches counts. Another
    ``draw`` takes other rows of a capped source.

    Returns:
        Pairs in training order.
    """
    drawn = f"{seed}/{settings.draw}" if settings.draw else str(seed)
    taken: Counter[str] = Counter()
    kept: list[Pair] = []
    for pair in sorted(_unique(pairs), key=lambda pair: content_id(drawn, pair.pair_id)):
        pattern = _pattern(settings.caps, pair.source)
        if pattern is not None:
            if taken[pattern] >= settings.caps[pattern]:
                continue
            taken[pattern] += 1
        kept.append(pair)
    return sorted(kept, key=lambda pair: content_id("order", drawn, pair.pair_id))


def _unique(pairs: Iterable[Pair]) -> Iterator[Pair]:
    seen: set[str] = set()
    for pair in pairs:
        if pair.pair_id not in seen:
            seen.add(pair.pair_id)
            yield pair


def _pattern(table: dict[str, Any], source: str) -> str | None:
    return next((pattern for pattern in table if fnmatch.fnmatchcase(source, pattern)), None)
