"""Token vectors → centroids, by spherical k-means. The work is matrix products, which a CPU computes fast.

scipy's ``kmeans2`` is as fast, but holds the distance of every token to every centroid: 8 GB where an index is begun with
262,144 tokens and 8,192 centroids.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.errors import VectorError

Floats = NDArray[np.float32]

# similarities held at a time: 64 MB
SIMILARITIES = 16 << 20
ITERATIONS = 4


def find_centroids(tokens: Floats, count: int, *, seed: int = 0, iterations: int = ITERATIONS) -> Floats:
    """Directions that token vectors gather around.

    Args:
        tokens: Vectors of unit length, a sample. *Shape:* ``(tokens, dim)``.
        count: Centroids wanted.
        seed: Chooses the first centroids among the tokens.
        iterations: Passes over the sample.

    Returns:
        Unit vectors, float32, *Shape:* ``(count, dim)``.

    Raises:
        VectorError: Fewer tokens than centroids.
    """
    if len(tokens) < count or count < 1:
        raise VectorError(
            f"{count} centroids cannot be made from {len(tokens)} tokens: give more tokens or ask for fewer"
        )
    rng = np.random.default_rng(seed)
    centroids = np.array(tokens[rng.choice(len(tokens), count, replace=False)], dtype=np.float32)
    for _ in range(iterations):
        owners = nearest(tokens, centroids)
        order = np.argsort(owners, kind="stable")
        found, starts = np.unique(owners[order], return_index=True)
        centroids[found] = np.add.reduceat(tokens[order], starts, axis=0, dtype=np.float32)
        lost = np.setdiff1d(np.arange(count), found)
        # a centroid that nobody is nearest to starts again at a token
        centroids[lost] = tokens[rng.choice(len(tokens), len(lost), replace=False)]
        centroids = vectors.normalize(centroids)
    return centroids


def nearest(tokens: Floats, centroids: Floats) -> NDArray[np.int32]:
    """For each token the centroid of the highest dot product. *Shape:* ``(tokens,)``."""
    out = np.empty(len(tokens), dtype=np.int32)
    for part in _parts(len(tokens), max(1, SIMILARITIES // len(centroids))):
        out[part] = (tokens[part] @ centroids.T).argmax(axis=1)
    return out


def _parts(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
