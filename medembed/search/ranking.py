"""Measures of a ranking, and scores of unlike kinds made comparable. Pure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def ndcg(ranking: Sequence[str], relevance: Mapping[str, int], k: int = 10) -> float:
    """Normalized discounted cumulative gain with linear gain, as trec_eval computes it.

    DCG = Σ rel(i) / log2(i + 1) over the first k ranks i = 1 ...; divided by that of the ideal order.

    Example:
        >>> round(ndcg(["b", "a"], {"a": 1}), 4)
        0.6309
    """
    gain = sum(relevance.get(key, 0) / math.log2(place + 2) for place, key in enumerate(ranking[:k]))
    ideal = sorted(relevance.values(), reverse=True)[:k]
    best = sum(value / math.log2(place + 2) for place, value in enumerate(ideal))
    return gain / best if best > 0 else 0.0


def weighted(scores: Floats, others: Floats, share: float) -> Floats:
    """Two kinds of scores of one query's candidates as one.

    The first kind counts ``(1 - share)``, the others count ``share``.

    Each kind is stretched to 0…1 over the candidates first, so that their units do not matter.

    Example:
        >>> weighted(np.array([2.0, 6.0], np.float32), np.array([0.9, 0.5], np.float32), 0.25).tolist()
        [0.25, 0.75]
    """
    return np.float32(1 - share) * _stretched(scores) + np.float32(share) * _stretched(others)


def _stretched(scores: Floats) -> Floats:
    if not len(scores):
        return scores
    low, high = scores.min(), scores.max()
    if high == low:  # nothing to tell rows apart by; no word in common is still worth nothing
        return np.full(len(scores), high > 0, dtype=np.float32)
    return np.asarray((scores - low) / (high - low), dtype=np.float32)
