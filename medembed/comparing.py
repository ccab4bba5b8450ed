"""The four similarities of sentence-transformers, under its names. Pure numpy."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.per_process import computing

Floats = NDArray[np.float32]
Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
# vectors of the second side at a time, for distances: as many differences are held at once
ROWS = 4096


def every(a: Floats, b: Floats, similarity: Similarity) -> Floats:
    """Compare every vector of ``a`` with every vector of ``b``.

    Args:
        a: *Shape:* ``(n, dim)`` or ``(dim,)``.
        b: *Shape:* ``(m, dim)`` or ``(dim,)``.
        similarity: ``"cosine"``, ``"dot"``, or the negative distance ``"euclidean"`` or ``"manhattan"``.

    Returns:
        *Shape:* ``(n, m)``, float32. Higher is more alike.

    Raises:
        VectorError: Vectors of different lengths, of integers, or that are not finite.

    Example:
        >>> every(np.array([3.0, 4.0]), np.array([[3.0, 0.0], [0.0, 4.0]]), "manhattan").tolist()
        [[-4.0, -3.0]]
    """
    left, right = np.atleast_2d(vectors.as_floats(a)), np.atleast_2d(vectors.as_floats(b))
    if similarity in ("cosine", "dot"):
        scores = vectors.similarity(left, right)
        if similarity == "cosine":
            scores /= _lengths(left)[:, None]
            scores /= _lengths(right)
        return scores
    vectors.similarity(left[:1], right[:1])  # refuses columns that differ
    distances = _euclidean if similarity == "euclidean" else _manhattan
    scores = np.empty((len(left), len(right)), dtype=np.float32)
    for start in range(0, len(right), ROWS):
        block = slice(start, start + ROWS)
        scores[:, block] = -distances(left, right[block])
    return scores


def pairwise(a: Floats, b: Floats, similarity: Similarity) -> Floats:
    """Compare each vector of ``a`` with the one at the same place of ``b``.

    Args:
        a: *Shape:* ``(n, dim)`` or ``(dim,)``.
        b: The same shape.
        similarity: As for :func:`every`.

    Returns:
        *Shape:* ``(n,)``, float32. Higher is more alike.

    Raises:
        VectorError: Shapes that differ, vectors of integers, or values that are not finite.

    Example:
        >>> pairwise(np.array([3.0, 4.0]), np.array([0.0, 0.0]), "euclidean").tolist()
        [-5.0]
    """
    scores = vectors.similarity_pairwise(a, b)
    left, right = np.atleast_2d(vectors.as_floats(a)), np.atleast_2d(vectors.as_floats(b))
    if similarity == "dot":
        return scores
    if similarity == "cosine":
        return scores / _lengths(left) / _lengths(right)
    apart = left - right
    distances = _lengths(apart, 0) if similarity == "euclidean" else np.abs(apart).sum(axis=1)
    return np.asarray(-distances, dtype=np.float32)


def _lengths(rows: Floats, at_least: float = 1e-12) -> Floats:
    """Length of each vector, bounded so that a zero vector has the cosine 0. *Shape:* ``(n,)``."""
    return np.asarray(np.maximum(np.sqrt(np.einsum("ij,ij->i", rows, rows)), at_least), dtype=np.float32)


def _euclidean(left: Floats, right: Floats) -> NDArray[np.float64]:
    # in doubles: products of floats would put equal vectors 0.001 apart
    first, second = left.astype(np.float64), right.astype(np.float64)
    with computing():
        products = first @ second.T
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1) - 2 * products
    return np.asarray(np.sqrt(np.maximum(squares, 0)), dtype=np.float64)


def _manhattan(left: Floats, right: Floats) -> Floats:
    distances = np.empty((len(left), len(right)), dtype=np.float32)
    for number, row in enumerate(left):
        distances[number] = np.abs(right - row).sum(axis=1)
    return distances
