"""Token states → vectors, beyond the mean or the first state that engines compute themselves. In numpy."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.checkpoints.steps import TEXT, TOKENS, Cut, Dense, LayerNorm, Pool, Step, Unit, width_after
from medembed.errors import SettingError
from medembed.per_process import computing
from medembed.runtime.engines.interface import Engine, TokenIds

Floats = NDArray[np.float32]

# what engines pool by themselves
ENGINE_MODES = ("mean", "cls")
LAYER_NORM_EPSILON = 1e-5  # torch's default, which sentence-transformers keeps


class Head:
    """Pooling and all that follows it.

    Args:
        steps: What the model's folder asks for.
        width: Length of a token's state.
        engine: What computes the states.

    Raises:
        SettingError: The engine's states are of another length than the model's projections take.

    Attributes:
        dimension: Length of a vector.
    """

    def __init__(self, steps: Sequence[Step], width: int, engine: Engine) -> None:
        """Check that steps and engine fit."""
        place = next(i for i, step in enumerate(steps) if isinstance(step, Pool))
        pool = steps[place]
        assert isinstance(pool, Pool)  # noqa: S101 - found above
        self._before, self._pool, self._after = steps[:place], pool, steps[place + 1 :]
        if engine.dimension != width and any(isinstance(step, Dense | LayerNorm | Cut) for step in steps):
            raise SettingError(
                f"the {engine.name} engine gives states of {engine.dimension} numbers, but this model's modules take {width}"
            )
        self.dimension = width_after(steps, engine.dimension)
        self._engine_pools = pool.modes[0] in ENGINE_MODES and len(pool.modes) == 1 and not self._before

    def __call__(self, engine: Engine, ids: TokenIds, *, alone: bool, lead: int) -> Floats:
        """Vectors of a batch, not normalized.

        Args:
            engine: What computes.
            ids: Rows of token ids.
            alone: Whether no other batch waits.
            lead: Tokens of each row that belong to the prompt.

        Returns:
            *Shape:* ``(len(ids), dimension)``.
        """
        skipped = 0 if self._pool.include_prompt else lead
        if self._engine_pools and not skipped:
            rows = engine.pooled(ids, alone=alone)
        else:
            states = engine.tokens(ids)
            for step in self._before:
                states = [_applied(step, row) for row in states]
            rows = np.stack([pooled(row, self._pool.modes, skipped) for row in states])
        for step in self._after:
            if getattr(step, "source", TEXT) != TOKENS:
                rows = _applied(step, rows)
        return rows


def pooled(states: Floats, modes: Sequence[str], skipped: int = 0) -> Floats:
    """Pool one text's states as sentence-transformers does.

    Args:
        states: Final state of each token. *Shape:* ``(tokens, dim)``.
        modes: One or more of ``"mean"``, ``"cls"``, ``"max"``, ``"mean_sqrt_len_tokens"``, ``"weightedmean"``, ``"lasttoken"``.
        skipped: First tokens that are left out.

    Returns:
        *Shape:* ``(len(modes) * dim,)``, float32.
    """
    seen = states[skipped:].astype(np.float32, copy=False)
    parts = [_part(mode, states, seen, skipped) for mode in modes]
    return np.concatenate(parts).astype(np.float32, copy=False)


def _weighted_mean(seen: Floats, skipped: int) -> Floats:
    weights = np.arange(skipped + 1, skipped + len(seen) + 1, dtype=np.float32)[:, None]
    return np.asarray((seen * weights).sum(axis=0) / max(float(weights.sum()), 1e-9), dtype=np.float32)


def _mean(seen: Floats, divisor: float) -> Floats:
    return np.asarray(seen.sum(axis=0) / max(divisor, 1e-9), dtype=np.float32)


def _part(mode: str, states: Floats, seen: Floats, skipped: int) -> Floats:
    """One mode's vector, or zeros for a text of no tokens.

    Where all tokens belong to the prompt, "cls" takes the first of these and the others give zeros.
    """
    if mode == "cls" and len(states):
        first: Floats = seen[0] if len(seen) else states[0]
        return first
    if not len(seen):
        return np.zeros(states.shape[1], dtype=np.float32)
    if mode == "lasttoken":
        last: Floats = seen[-1]
        return last
    if mode == "max":
        return np.asarray(seen.max(axis=0), dtype=np.float32)
    if mode == "weightedmean":
        return _weighted_mean(seen, skipped)
    return _mean(seen, len(seen) if mode == "mean" else np.sqrt(len(seen)))


def _applied(step: Step, rows: Floats) -> Floats:
    if isinstance(step, Dense):
        return _projected(step, rows)
    if isinstance(step, LayerNorm):
        centered = rows - rows.mean(axis=1, keepdims=True)
        scaled = centered / np.sqrt((centered**2).mean(axis=1, keepdims=True) + LAYER_NORM_EPSILON)
        return np.asarray(scaled * step.weight + step.bias, dtype=np.float32)
    if isinstance(step, Unit):
        return vectors.normalize(rows)
    if isinstance(step, Cut):
        return rows[:, : step.dimension]
    raise TypeError(f"a {type(step).__name__} stands between the modules that pool once")


def _projected(step: Dense, rows: Floats) -> Floats:
    with computing():
        out = rows @ step.weight.T
        if step.bias is not None:
            out = out + step.bias
        out = _ACTIVATIONS[step.activation](out)
        if step.residual is not False:
            out = out + (rows if step.residual is True else rows @ np.asarray(step.residual).T)
        return np.asarray(out, dtype=np.float32)


def _gelu(rows: Floats) -> Floats:
    from math import erf, sqrt

    return np.asarray(rows * 0.5 * (1 + np.vectorize(erf)(rows / sqrt(2))), dtype=np.float32)


def _sigmoid(rows: Floats) -> Floats:
    # exp of a negative number never overflows
    small = np.exp(-np.abs(rows))
    return np.where(rows >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "Identity": lambda rows: rows,
    "Tanh": np.tanh,
    "ReLU": lambda rows: np.maximum(rows, 0),
    "GELU": _gelu,
    "Sigmoid": _sigmoid,
    "SiLU": lambda rows: rows * _sigmoid(rows),
    "LeakyReLU": lambda rows: np.where(rows >= 0, rows, rows * np.float32(0.01)),
    "ELU": lambda rows: np.where(rows >= 0, rows, np.expm1(np.minimum(rows, 0))),
    "Softplus": lambda rows: np.logaddexp(rows, 0),
    "Hardtanh": lambda rows: np.clip(rows, -1, 1),
}
