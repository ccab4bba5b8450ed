"""The engine of medembed-kernels, an optional package: BERT in bf16 on CPUs with AMX, and no token is padding."""

import functools
import importlib
import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints.checkpoint import Checkpoint
from medembed.errors import EngineError
from medembed.runtime.engines.bert_shape import BertShape, fitting, is_plain
from medembed.runtime.engines.interface import Precision, TokenIds, engine_pooling
from medembed.runtime.engines.slots import Slots

PACKAGE = "medembed_kernels"
# of the package; another one may take other arguments
INTERFACE = 1


def installed() -> bool:
    """Tell whether the package is there."""
    return importlib.util.find_spec(PACKAGE) is not None


@functools.cache
def _package() -> tuple[ModuleType | None, str]:
    """The package, or None and why it cannot be used on this machine."""
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        return None, f"it cannot be imported ({error})"
    if package.INTERFACE != INTERFACE:
        return (
            None,
            f"its interface is {package.INTERFACE}, this medembed takes {INTERFACE}: install the two that belong together",
        )
    missing = package.missing()
    return (package, "") if missing is None else (None, missing)


def missing(config: Mapping[str, Any]) -> str | None:
    """Tell why the package does not run a model here.

    Args:
        config: The model's ``config.json``.

    Returns:
        The reason, or None where it runs.
    """
    package, why = _package()
    if package is None:
        return why
    if not is_plain(config):
        return "it runs BERT with absolute positions only"
    activation, shape = config.get("hidden_act", "gelu"), BertShape(config)
    if activation != "gelu":
        return f"it has no {activation}"
    if not package.fits(hidden=shape.hidden, heads=shape.heads, inner=shape.inner):
        return "it has no heads of this width"
    return None


class KernelEngine:
    """BERT on the CPU, one single-threaded stream per core.

    Args:
        checkpoint: A model of which ``missing`` says None.
        threads: CPU threads in all.

    Raises:
        BadWeightsError: Weights that do not fit the configuration.
    """

    name = "kernels"
    device = "cpu"
    precision: Precision = "bf16"
    # The matrices of a layer are read from the last cache once a batch: see docs/experiments.md for other sizes.
    max_batch_tokens = 1024
    width_multiple = 1

    def __init__(self, checkpoint: Checkpoint, threads: int) -> None:
        """Read, check and pack the weights."""
        package = importlib.import_module(PACKAGE)
        shape = BertShape(checkpoint.config)
        weights = fitting(checkpoint.files.weights().read(), shape, str(checkpoint.folder))
        self._bert = package.Bert(
            weights,
            hidden=shape.hidden,
            heads=shape.heads,
            layers=shape.layers,
            inner=shape.inner,
            epsilon=shape.epsilon,
        )
        self._failure: type[Exception] = package.KernelError
        self._spec = checkpoint.spec
        self.concurrency = threads
        self.dimension = checkpoint.width
        self._workspaces: Slots[Any] = Slots(package.Workspace() for _ in range(threads))

    def pooled(self, ids: TokenIds, *, alone: bool = False) -> NDArray[np.float32]:
        """Pooled vectors, not normalized. *Shape:* ``(n, dimension)``. A lone batch takes one thread too."""
        del alone
        return self._run(ids, engine_pooling(self._spec), None)

    def tokens(self, ids: TokenIds, *, attended: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """Final states. One array per row, *Shape:* ``(len(ids[i]), dimension)``."""
        states = self._run(ids, None, attended)
        ends = itertools.accumulate(map(len, ids))
        return [states[end - len(row) : end].copy() for row, end in zip(ids, ends, strict=True)]

    def _run(self, ids: TokenIds, pooling: str | None, attended: Sequence[int] | None) -> NDArray[np.float32]:
        slot = self._workspaces.next()
        with slot.lock:
            try:
                states: NDArray[np.float32] = self._bert.run(slot.thing, ids, pooling=pooling, attended=attended)
            except self._failure as error:
                raise EngineError(f"medembed-kernels failed on a batch of {len(ids)} rows: {error}") from error
        return states

    def close(self) -> None:
        """Drop the workspaces. The packed matrices go with the engine."""
        self._workspaces = Slots()
