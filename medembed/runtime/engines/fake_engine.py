"""Deterministic vectors from a hash of the tokens: for tests, documentation and dry runs. No weights, no model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medembed.runtime.engines.interface import Precision, TokenIds

# large odd constants spread neighboring ids over all 64 bits (Steele et al. 2014, SplitMix64)
GAMMA, MIX_A, MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class FakeEngine:
    """An engine without a model: each token id has a fixed pseudo-random vector, a text is the mean of its tokens'.

    Texts that share words therefore come out alike, so search over fake vectors behaves sensibly in tests.

    Args:
        dimension: Length of a vector.
        concurrency: Batches it takes at the same time.

    Example:
        >>> FakeEngine(dimension=4).pooled([[101, 102]]).shape
        (1, 4)
    """

    name = "fake"
    device = "cpu"
    precision: Precision = "fp32"
    max_batch_tokens = 4096
    width_multiple = 1

    def __init__(self, dimension: int = 384, concurrency: int = 1) -> None:
        """Remember the shape. There is nothing to load."""
        self.dimension = dimension
        self.concurrency = concurrency

    def pooled(self, ids: TokenIds, *, alone: bool = False) -> NDArray[np.float32]:
        """Mean of the tokens' vectors, as ``Engine.pooled`` gives it. *Shape:* ``(n, dimension)``."""
        del alone  # there is only one thread
        return (
            np.stack([states.mean(axis=0) for states in self.tokens(ids)])
            if len(ids)
            else np.empty((0, self.dimension), np.float32)
        )

    def tokens(self, ids: TokenIds, *, attended: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """The tokens' vectors, as ``Engine.tokens`` gives them. One array per row, *Shape:* ``(len(ids[i]), dimension)``."""
        del attended  # a token's vector depends on no other
        return [self._states(np.asarray(row, dtype=np.uint64)) for row in ids]

    def _states(self, row: NDArray[np.uint64]) -> NDArray[np.float32]:
        columns = np.arange(1, self.dimension + 1, dtype=np.uint64)
        mixed: NDArray[np.uint64] = row[:, None] * np.uint64(self.dimension) + columns
        mixed = mixed * np.uint64(GAMMA)  # numpy's integer arrays wrap around silently, as the mixer needs
        mixed = np.bitwise_xor(mixed, np.right_shift(mixed, np.uint64(30))) * np.uint64(MIX_A)
        mixed = np.bitwise_xor(mixed, np.right_shift(mixed, np.uint64(27))) * np.uint64(MIX_B)
        # the upper 24 bits fill a float32 exactly
        upper = np.right_shift(mixed, np.uint64(40)).astype(np.float32)
        return np.asarray(upper / np.float32(1 << 23) - 1, dtype=np.float32)

    def close(self) -> None:
        """Nothing to give back."""
