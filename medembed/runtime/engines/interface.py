"""The interface of an engine.

It stands between the public class and the libraries that compute.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints.registry import ModelSpec, Pooling
from medembed.errors import EngineError

Precision = Literal["fp32", "bf16", "fp16", "int8"]
"""Number format of an engine's matrix products; ``int8`` also stores weights as int8."""

TokenIds = Sequence[Sequence[int]]
"""Rows of token ids, special tokens included, unpadded, of any lengths."""


@runtime_checkable
class Engine(Protocol):
    """One way to run a model. Methods may be called from several threads at once.

    Attributes:
        name: ``"openvino"``, ``"torch"``, ``"fake"`` ...
        device: Where it computes: ``"cpu"``, ``"cuda:0"``, ``"cuda:0,cuda:1"``, ``"mps"``.
        precision: Number format of its matrix products.
        dimension: Length of a vector.
        concurrency: Batches worth running at the same time; more callers wait.
        max_batch_tokens: Padded tokens that make a good batch.
        width_multiple: Widths are padded to a multiple of this.
    """

    name: str
    device: str
    precision: Precision
    dimension: int
    concurrency: int
    max_batch_tokens: int
    width_multiple: int

    def pooled(self, ids: TokenIds, *, alone: bool = False) -> NDArray[np.float32]:
        """Pooled vectors, not normalized. *Shape:* ``(n, dimension)``, rows in the order of ``ids``.

        ``alone`` says that no other batch waits, so that all threads may work on this one; the vectors are the same.
        """
        ...

    def tokens(self, ids: TokenIds, *, attended: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """Final state of every token. One array per row, *Shape:* ``(len(ids[i]), dimension)``.

        ``attended`` says how many of each row's first tokens are attended to; those after them get a state, but none of
        the others sees them, as ColBERT expands its queries. None for all.
        """
        ...

    def close(self) -> None:
        """Give back memory and threads. Calling it twice is fine."""
        ...


def engine_pooling(spec: ModelSpec) -> Pooling:
    """The pooling of a model whose vectors engines pool themselves.

    Args:
        spec: The model.

    Returns:
        ``"mean"`` or ``"cls"``.

    Raises:
        EngineError: Another pooling, which ``medembed.runtime.head`` computes from token states.
    """
    if spec.pooling == "mean":
        return "mean"
    if spec.pooling == "cls":
        return "cls"
    raise EngineError(f"engines pool by 'mean' or 'cls', not by {spec.pooling!r}: ask for token states and pool these")
