"""Near duplicates by MinHash over word shingles: pure numpy, one pass, memory in proportion to the number of texts."""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medembed.recipes.decontamination import normal_words

_HASHES = 64
_PRIME = np.uint64((1 << 61) - 1)
_SHINGLE = 3


def find(queries: Sequence[str], passages: Sequence[str], threshold: float) -> list[int]:
    """Indices of pairs that nearly equal an earlier one, in the query as well as in the passage.

    Args:
        queries: Query of each pair.
        passages: Passage of each pair. *Shape:* as ``queries``.
        threshold: Jaccard similarity from which two texts count as the same: of three-word shingles for passages, estimated
            from 64 hashes (standard error at most 0.063), and of words, exactly, for queries.

    Returns:
        Indices in growing order; the first pair of a group is never among them.
    """
    distinct = list(dict.fromkeys(passages))
    group = dict(zip(distinct, _groups(distinct, threshold), strict=True))
    kept: dict[int, list[frozenset[str]]] = {}
    found: list[int] = []
    for index, (query, passage) in enumerate(zip(queries, passages, strict=True)):
        words = frozenset(normal_words(query))
        others = kept.setdefault(group[passage], [])
        if any(len(words & other) >= threshold * len(words | other) for other in others):
            found.append(index)
        else:
            others.append(words)
    return found


def _groups(texts: Sequence[str], threshold: float) -> list[int]:
    """Index of the first text that each text nearly equals. It is the text's own index where there is none."""
    signatures = _signatures(texts)
    rows = _rows_a_band(threshold)
    buckets: dict[bytes, list[int]] = {}
    groups: list[int] = []
    for index, signature in enumerate(signatures):
        keys = [bytes([band]) + signature[band * rows : (band + 1) * rows].tobytes() for band in range(_HASHES // rows)]
        candidates = {other for key in keys for other in buckets.get(key, ())}
        same = [other for other in sorted(candidates) if np.mean(signatures[other] == signature) >= threshold]
        groups.append(same[0] if same else index)
        for key in keys if not same else ():
            held = buckets.setdefault(key, [])
            if len(held) < 16:  # bounds the work where thousands share a template; the first ones stand for the rest
                held.append(index)
    return groups


def _rows_a_band(threshold: float) -> int:
    """Rows of a band such that a pair at the threshold shares a band with a probability above 0.95."""
    for rows in (16, 8, 4, 2):
        if 1 - (1 - threshold**rows) ** (_HASHES // rows) > 0.95:
            return rows
    return 1


def _signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    """MinHash signatures. *Shape:* ``(n, 64)``."""
    random = np.random.default_rng(1)
    factors = random.integers(1, 2**31, _HASHES, dtype=np.uint64)
    offsets = random.integers(0, 2**31, _HASHES, dtype=np.uint64)
    signatures = np.zeros((len(texts), _HASHES), dtype=np.uint32)
    for index, text in enumerate(texts):
        words = normal_words(text)
        shingles = {" ".join(words[start : start + _SHINGLE]) for start in range(max(1, len(words) - _SHINGLE + 1))}
        hashed = np.fromiter(
            (zlib.crc32(shingle.encode()) for shingle in shingles), dtype=np.uint64, count=len(shingles)
        )
        mixed = (hashed[:, None] * factors + offsets) % _PRIME  # (shingles, 64); wraps in uint64, which mixes as well
        signatures[index] = mixed.min(axis=0) & np.uint64(0xFFFFFFFF)
    return signatures
