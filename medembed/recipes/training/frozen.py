"""Training a projection over a frozen encoder: its token states are computed once, kept as float16, and read in every epoch.

An epoch then costs a matrix product a token and the scores: about a fiftieth of tuning the encoder with it.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medembed.checkpoints.checkpoint import Checkpoint
from medembed.recipes import models
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.execution import Execution
from medembed.recipes.reporting import Task
from medembed.recipes.training import directions
from medembed.runtime.batching import plan_batches
from medembed.runtime.engines import load_engine
from medembed.runtime.streams import Streams
from medembed.storage.durable import SHORT

# tokens of a file of states, and computed again at most after a crash: 50 MB at 384 dimensions
TOKENS_A_PART = 1 << 16
ROWS_AT_A_TIME = 256

# a row of token ids as the bytes of an int32 array: a key of 4 bytes a token, where a tuple of numbers takes 36
Ids = bytes


class TokenStates:
    """Token states by token ids, memory-mapped.

    Args:
        rows: Distinct rows of token ids.
        parts: Files of states, one row after the other. float16, *Shape:* ``(tokens, width)`` each.
    """

    def __init__(self, rows: Sequence[Ids], parts: Sequence[Path]) -> None:
        """Map the files."""
        self._parts: list[NDArray[np.float16]] = [np.load(path, mmap_mode="r") for path in parts]
        self._places: dict[Ids, tuple[int, int]] = {}
        for number, some in enumerate(_cut(rows)):
            start = 0
            for row in some:
                self._places[row] = (number, start)
                start += _length(row)

    @property
    def n_tokens(self) -> int:
        """States in all."""
        return sum(len(part) for part in self._parts)

    def padded(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States of a padded batch. They are zero where it is padded.

        Args:
            ids: Token ids. *Shape:* ``(rows, width)``.
            mask: 1 for tokens, 0 for padding. *Shape:* ``(rows, width)``.

        Returns:
            float32, *Shape:* ``(rows, width, dimension)``.
        """
        found = []
        for row in rows_of(ids, mask):
            number, start = self._places[row]
            found.append(self._parts[number][start : start + _length(row)])
        states = torch.from_numpy(np.concatenate(found).astype(np.float32))
        out = torch.zeros(*ids.shape, states.shape[1], device=ids.device)
        out[mask.bool()] = states.to(ids.device)
        return out

    def principal_directions(self, count: int) -> NDArray[np.float32]:
        """The orthonormal directions that hold most of the states' squared length. *Shape:* ``(count, width)``."""
        width = self._parts[0].shape[1]
        moments = np.zeros((width, width))
        for part in self._parts:
            states = part.astype(np.float32)
            moments += states.T @ states
        return np.ascontiguousarray(directions.principal(moments)[:, :count].T)


def distinct_rows(data: Any, collator: Any) -> list[Ids]:
    """Every row of token ids that training will see, longest first, as the trainer's own collator makes them.

    Args:
        data: The trainer's data: a table, or one a source.
        collator: The trainer's.
    """
    found: set[Ids] = set()
    for table in data.values() if isinstance(data, Mapping) else [data]:
        for start in range(0, len(table), ROWS_AT_A_TIME):
            batch = collator(list(table.select(range(start, min(start + ROWS_AT_A_TIME, len(table))))))
            for name in [name for name in batch if name.endswith("_input_ids")]:
                mask = batch[name.removesuffix("_input_ids") + "_attention_mask"]
                found.update(rows_of(batch[name], mask))
    return sorted(found, key=lambda row: (-len(row), row))


def rows_of(ids: torch.Tensor, mask: torch.Tensor) -> Iterator[Ids]:
    """The rows of a padded batch without their padding."""
    flat = ids[mask.bool()].cpu().numpy().astype(np.int32)
    ends = np.cumsum(mask.sum(dim=1).cpu().numpy())
    return (row.tobytes() for row in np.split(flat, ends[:-1]))


def compute_states(
    rows: Sequence[Ids], encoder: Checkpoint, out: ArtifactWriter, execution: Execution, precision: Any, task: Task
) -> TokenStates:
    """Run the encoder over every row, but for those of files that an earlier run has left.

    Args:
        rows: From :func:`distinct_rows`.
        encoder: The frozen model.
        out: Where files of states are kept.
        execution: Device and threads.
        precision: Number format, as for ``load_engine``.
        task: Where to log.

    Returns:
        The states, mapped.
    """
    started = time.perf_counter()
    kind = f"states-{hashlib.sha256(b'-'.join(rows)).hexdigest()[:SHORT]}"
    engine = load_engine(encoder, device=execution.device, precision=precision, threads=execution.threads)
    parts: list[Path] = []
    with closing(Streams(engine)) as streams:
        for number, some in enumerate(_cut(rows)):
            parts.append(models.array_part(out, kind, number, partial(_states, some, streams, engine)))
    found = TokenStates(rows, parts)
    task.log("token_states", rows=len(rows), tokens=found.n_tokens, seconds=round(time.perf_counter() - started, 1))
    return found


def freeze(model: Any, states: TokenStates, start: Literal["random", "principal"]) -> None:
    """Leave only the projection to be trained, and have training read the encoder's states instead of computing them.

    Args:
        model: A ``MultiVectorEncoder``.
        states: Of every row of the training data.
        start: What the projection begins as: as it is, or the principal directions of the states.
    """
    encoder, projection = model[0], model[1].linear
    encoder.requires_grad_(False)
    compute = encoder.forward

    def forward(features: dict[str, Any], **options: Any) -> dict[str, Any]:
        if not encoder.training:  # development sets hold other texts
            return compute(features, **options)  # type: ignore[no-any-return]
        return {**features, "token_embeddings": states.padded(features["input_ids"], features["attention_mask"])}

    encoder.forward = forward
    if start == "principal":
        with torch.no_grad():
            projection.weight.copy_(torch.from_numpy(states.principal_directions(len(projection.weight))))


def _states(rows: Sequence[Ids], streams: Streams, engine: Any) -> NDArray[np.float16]:
    ids = [np.frombuffer(row, dtype=np.int32).tolist() for row in rows]
    out: list[NDArray[np.float16]] = [np.empty((0, 0), dtype=np.float16)] * len(ids)

    def run(batch: Sequence[int]) -> None:
        for index, states in zip(batch, engine.tokens([ids[i] for i in batch]), strict=True):
            out[index] = states.astype(np.float16)

    streams.run(run, plan_batches([len(row) for row in ids], engine.max_batch_tokens, multiple=engine.width_multiple))
    return np.concatenate(out)


def _cut(rows: Iterable[Ids]) -> Iterator[list[Ids]]:
    """Rows in runs of at most ``TOKENS_A_PART`` tokens."""
    some: list[Ids] = []
    tokens = 0
    for row in rows:
        if some and tokens + _length(row) > TOKENS_A_PART:
            yield some
            some, tokens = [], 0
        some.append(row)
        tokens += _length(row)
    if some:
        yield some


def _length(row: Ids) -> int:
    return len(row) // 4
