"""Shorter vectors: in directions that a model brings for it, or by their first components where it brings none.

Directions lose less: a matrix learnt after training puts what tells texts apart into its first columns, and full vectors stay
what they are (docs/decisions/0043-short-vectors.md).
"""

from pathlib import Path

import numpy as np

from medembed import vectors
from medembed.checkpoints import tensor_files, tensors
from medembed.checkpoints.files import SHORT_VECTORS
from medembed.errors import BadWeightsError
from medembed.per_process import computing
from medembed.vectors import Floats

# in a model's folder: one tensor, *shape* (dimension, dimension); its first k columns make vectors of k dimensions
FILE, TENSOR = SHORT_VECTORS, "directions"


def read(folder: Path, dimension: int) -> Floats | None:
    """The directions a model brings along.

    Args:
        folder: The model's.
        dimension: Of its vectors.

    Returns:
        float32, *Shape:* ``(dimension, dimension)``; None where the folder has none.

    Raises:
        CorruptFileError: The file cannot be read.
        BadWeightsError: It holds something else, or belongs to a model of another dimension.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    directions = tensors.read_file(path).get(TENSOR)
    if directions is None or directions.shape != (dimension, dimension) or not np.isfinite(directions).all():
        shape = None if directions is None else directions.shape
        raise BadWeightsError(
            f"{path} should hold finite {TENSOR!r} of shape {(dimension, dimension)}, and holds {shape}: it belongs to another model; "
            "delete it to shorten vectors by their first components"
        )
    return np.asarray(directions, dtype=np.float32)


def write(directions: Floats, folder: Path) -> None:
    """Put directions into a model's folder, as float16."""
    tensor_files.write({TENSOR: directions.astype(np.float16)}, folder / FILE)


def shorten(rows: Floats, dimension: int, directions: Floats | None) -> Floats:
    """Vectors of fewer dimensions, of unit length.

    Args:
        rows: A model's whole vectors. *Shape:* ``(dim,)`` or ``(n, dim)``.
        dimension: Dimensions to keep, from 1 to ``dim``.
        directions: From :func:`read`; None keeps the first components.

    Returns:
        float32, *Shape:* ``(dimension,)`` or ``(n, dimension)``; ``rows`` themselves where nothing is left out.

    Raises:
        VectorError: ``dimension`` is below 1 or above what there is.

    Example:
        >>> swapped = np.array([[0, 1], [1, 0]], dtype=np.float32)
        >>> shorten(np.array([0.6, -0.8], dtype=np.float32), 1, swapped)
        array([-1.], dtype=float32)
    """
    if dimension == rows.shape[-1]:
        return rows
    if directions is None or not 1 <= dimension < rows.shape[-1]:
        return vectors.cut(rows, dimension)
    with computing():
        return vectors.normalize(rows @ directions[:, :dimension])
