"""Token states → one vector per text, in numpy: the reference that engines are tested against."""

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints.registry import Pooling


def pool(states: NDArray[np.float32], mask: NDArray[np.bool_], pooling: Pooling) -> NDArray[np.float32]:
    """Pool token states into one vector per text.

    ``mean`` averages the states of real tokens, special tokens included; ``cls`` takes the first state.

    Args:
        states: Final hidden states. *Shape:* ``(n, tokens, dim)``.
        mask: True where a token is real. *Shape:* ``(n, tokens)``.
        pooling: ``"mean"`` or ``"cls"``.

    Returns:
        Vectors, not normalized. *Shape:* ``(n, dim)``, float32.
    """
    if pooling == "cls":
        return np.ascontiguousarray(states[:, 0], dtype=np.float32)
    weights = mask.astype(np.float32)[:, :, None]
    summed: NDArray[np.float32] = (states * weights).sum(axis=1, dtype=np.float32)
    # the smallest divisor is 1: a text of no tokens at all gives zeros, not NaN
    return np.asarray(summed / np.maximum(weights.sum(axis=1), 1.0), dtype=np.float32)
