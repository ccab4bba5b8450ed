"""Token pooling: alike tokens of a document → their mean.

The document then takes fewer vectors. Clavié et al. 2024, arXiv:2409.14683.
"""

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.errors import SettingError
from medembed.extras import require

Floats = NDArray[np.float32]


def pool_tokens(tokens: Floats, factor: float, *, protected: int = 1, normalize: bool = True) -> Floats:
    """Merge a document's tokens by Ward's hierarchical clustering of their cosine distances.

    Args:
        tokens: Vectors of unit length. *Shape:* ``(tokens, dim)``.
        factor: About ``1 / factor`` of the tokens are kept; 1 keeps all.
        protected: First tokens left alone, usually ``[CLS]``; they come first in the result.
        normalize: Scale the result to unit length.

    Returns:
        float32, *Shape:* ``(protected + max(1, (tokens - protected) // factor), dim)``; fewer where tokens are equal.

    Raises:
        SettingError: ``factor`` below 1 or ``protected`` below 0.
        MissingExtraError: scipy is not installed.
        VectorError: Not finite floats.

    Example:
        >>> east, north = [1.0, 0.0], [0.0, 1.0]
        >>> pool_tokens(np.array([east, north, east, north, east], dtype=np.float32), 2)
        array([[1., 0.],
               [0., 1.],
               [1., 0.]], dtype=float32)
    """
    check_factor(factor)
    if protected < 0:
        raise SettingError(f"protected={protected}: give 0 or more")
    tokens = vectors.as_floats(tokens)
    rest = tokens[protected:]
    clusters = max(int(len(rest) // factor), 1)
    pooled = np.asarray(tokens, dtype=np.float32)
    if clusters < len(rest):
        pooled = np.concatenate([tokens[:protected], _means(rest, clusters)]).astype(np.float32)
    return vectors.normalize(pooled) if normalize else pooled


def check_factor(factor: float) -> None:
    """Refuse a factor that would add tokens.

    Raises:
        SettingError: Below 1.
    """
    if not factor >= 1:
        raise SettingError(f"pool_factor={factor}: give 1 (keep every token) or more; 2 keeps half")


def _means(tokens: Floats, clusters: int) -> Floats:
    require("scipy")
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    distances = np.clip(1 - tokens @ tokens.T, 0, 2)
    tree = hierarchy.linkage(squareform(distances, checks=False), method="ward")
    _, owners = np.unique(hierarchy.fcluster(tree, t=clusters, criterion="maxclust"), return_inverse=True)
    sums = np.zeros((owners.max() + 1, tokens.shape[1]), dtype=np.float32)
    np.add.at(sums, owners, tokens)
    return np.asarray(sums / np.bincount(owners)[:, None], dtype=np.float32)
