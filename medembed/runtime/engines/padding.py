"""Rows of ids → one padded matrix, as engines that cannot run ragged rows need it."""

import numpy as np
from numpy.typing import NDArray

from medembed.runtime.engines.interface import TokenIds


def pad(ids: TokenIds, *, pad_id: int = 0, multiple: int = 1) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pad rows at the right to one width.

    Args:
        ids: Rows of token ids.
        pad_id: What fills the rest of a row.
        multiple: The width is rounded up to a multiple of this.

    Returns:
        Ids, *Shape:* ``(n, width)``, and real lengths, *Shape:* ``(n,)``; both int32.
    """
    lengths = np.fromiter(map(len, ids), dtype=np.int32, count=len(ids))
    width = -(-max(1, int(lengths.max(initial=1))) // multiple) * multiple
    padded = np.full((len(ids), width), pad_id, dtype=np.int32)
    for row, tokens in enumerate(ids):
        padded[row, : len(tokens)] = tokens
    return padded, lengths
