"""Which pairs are trained on, and how often: caps and weights by source. Pure; mining and the training rows agree on it."""

import fnmatch
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from medembed.recipes.records import Pair, content_id
from medembed.recipes.schema import Triplets


def weigh(pairs: Iterable[Pair], settings: Triplets, seed: int) -> list[tuple[Pair, int]]:
    """Apply caps, weights and the limit, and shuffle; everything by hashes, so that the order of the input does not matter.

    A pattern such as ``"onto:*"`` caps all sources it matches together, and the first pattern that matches counts. A weight
    of 0.25 keeps a quarter of a source, one of 2 takes every row twice. Another ``draw`` takes other rows of a capped source.

    Returns:
        Pairs with the number of copies to train on, in training order.
    """
    drawn = f"{seed}/{settings.draw}" if settings.draw else str(seed)
    taken: Counter[str] = Counter()
    kept: list[tuple[Pair, int]] = []
    for key, pair in sorted((content_id(drawn, pair.pair_id), pair) for pair in _unique(pairs)):
        pattern = _pattern(settings.caps, pair.source)
        if pattern is not None and taken[pattern] >= settings.caps[pattern]:
            continue
        weight = settings.weights.get(_pattern(settings.weights, pair.source) or "", 1.0)
        copies = math.floor(weight) + (int(key[:8], 16) < (weight % 1) * 2**32)
        if copies:
            taken[pattern or ""] += 1
            kept.append((pair, copies))
    in_order = sorted(kept, key=lambda item: content_id("order", drawn, item[0].pair_id))
    return in_order[: settings.max_rows]


def _unique(pairs: Iterable[Pair]) -> Iterator[Pair]:
    seen: set[str] = set()
    for pair in pairs:
        if pair.pair_id not in seen:
            seen.add(pair.pair_id)
            yield pair


def _pattern(table: dict[str, Any], source: str) -> str | None:
    return next((pattern for pattern in table if fnmatch.fnmatchcase(source, pattern)), None)
