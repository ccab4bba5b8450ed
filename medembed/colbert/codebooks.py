"""Short vectors as one byte for every few dimensions.

This is product quantization (Jégou, Douze and Schmid 2011, doi:10.1109/TPAMI.2010.57).

Dimensions of token vectors vary together. A byte that stands for one of 256 points in four dimensions uses that, four numbers of
two bits do not.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

# points a byte can name
POINTS = 256
# vectors compared at a time: their products with the points of a group, 1 MB, stay in the cache
CHUNK = 1_024
# passes of k-means over the sample: as many as in the experiment that chose this code (docs/experiments.md)
PASSES = 12


def learn_basis(sample: Floats, width: int) -> Floats:
    """Orthonormal directions that spread variance evenly over groups of ``width`` coordinates.

    The principal directions of the sample, dealt out so that the products of the groups' variances are alike (Ge et al. 2013,
    doi:10.1109/CVPR.2013.379, "parametric solution").

    Args:
        sample: Vectors as they will be encoded. *Shape:* ``(n, dim)``.
        width: Coordinates per group.

    Returns:
        One direction per column. float32, *Shape:* ``(dim, dim)``.
    """
    wide = sample.astype(np.float64)
    variances, directions = np.linalg.eigh(wide.T @ wide / max(1, len(sample)))
    groups: list[list[int]] = [[] for _ in range(len(variances) // width)]
    weights = np.zeros(len(groups))
    # a variance of nought has no logarithm; below a millionth of the largest none matters
    logs = np.log(np.maximum(variances, max(variances[-1], 1e-30) * 1e-6))
    logs -= logs.min()
    for direction in np.argsort(-logs, kind="stable").tolist():
        place = min((i for i, group in enumerate(groups) if len(group) < width), key=lambda i: weights[i])
        groups[place].append(direction)
        weights[place] += logs[direction]
    return np.ascontiguousarray(directions[:, np.concatenate(groups).astype(np.intp)], dtype=np.float32)


def learn_points(sample: Floats, width: int) -> Floats:
    """The points that each byte chooses from.

    They are found by k-means (Lloyd 1982), begun at even ranks of the first coordinate.

    Args:
        sample: Vectors as they will be encoded. *Shape:* ``(n, dim)``.
        width: Coordinates per byte.

    Returns:
        float32, *Shape:* ``(dim / width, 256, width)``.
    """
    found = []
    ranks = ((np.arange(POINTS) + 0.5) * len(sample) / POINTS).astype(np.intp)
    for start in range(0, sample.shape[1], width):
        part = np.ascontiguousarray(sample[:, start : start + width])
        points = part[np.argsort(part[:, 0], kind="stable")[ranks]]
        for _ in range(PASSES):
            owners = _nearest(part, points)
            counts = np.bincount(owners, minlength=POINTS)[:, None]
            sums = np.stack([np.bincount(owners, part[:, i], minlength=POINTS) for i in range(width)], axis=1)
            points = np.where(counts > 0, sums / np.maximum(counts, 1), points).astype(np.float32)
        found.append(points)
    return np.stack(found)


def encode(rows: Floats, points: Floats) -> Bytes:
    """The nearest point of every group. uint8, *Shape:* ``(n, groups)``.

    Args:
        rows: *Shape:* ``(n, dim)``.
        points: From :func:`learn_points`.
    """
    width = points.shape[2]
    out = np.empty((len(rows), len(points)), dtype=np.uint8)
    for place, some in enumerate(points):
        out[:, place] = _nearest(rows[:, place * width : (place + 1) * width], some)
    return out


def decode(codes: Bytes, points: Floats) -> Floats:
    """The points that were chosen, side by side. float32, *Shape:* ``(n, dim)``."""
    groups, _, width = points.shape
    places = codes + np.arange(0, groups * POINTS, POINTS, dtype=np.int32)
    return points.reshape(-1, width).take(places, axis=0).reshape(len(codes), groups * width)


def _nearest(rows: Floats, points: Floats) -> NDArray[np.intp]:
    """The nearest point of each row, by squared distance. For it r · p − |p|² / 2 is largest."""
    if points.shape[1] == 1:  # points on a line lie in order
        return np.searchsorted((points[1:, 0] + points[:-1, 0]) / 2, rows[:, 0])
    extended = np.ones((len(rows), points.shape[1] + 1), dtype=np.float32)
    extended[:, :-1] = rows
    against = np.concatenate([points, -(points * points).sum(axis=1, keepdims=True) / 2], axis=1).T
    out = np.empty(len(rows), dtype=np.intp)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        (extended[part] @ against).argmax(axis=1, out=out[part])
    return out
