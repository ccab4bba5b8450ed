"""How good a ranking is."""

import math
from collections.abc import Mapping, Sequence


def ndcg(ranking: Sequence[str], relevance: Mapping[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain with linear gain, as trec_eval computes it.

    DCG = Σ rel(i) / log2(i + 1) over the first k ranks i = 1 ...; divided by that of the ideal order.

    Example:
        >>> round(ndcg(["b", "a"], {"a": 1}), 4)
        0.6309
    """
    gain = sum(relevance.get(key, 0) / math.log2(place + 2) for place, key in enumerate(ranking[:k]))
    ideal = sorted(relevance.values(), reverse=True)[:k]
    best = sum(value / math.log2(place + 2) for place, value in enumerate(ideal))
    return gain / best if best > 0 else 0.0
