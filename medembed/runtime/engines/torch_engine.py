"""The torch engine: CUDA, MPS, and on the CPU the architectures OpenVINO's builder does not know."""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed import border
from medembed.checkpoints.checkpoint import Checkpoint
from medembed.errors import CorruptFileError, DeviceError, EngineError, PrecisionError
from medembed.extras import require
from medembed.runtime.engines import transformers_model
from medembed.runtime.engines.bert_shape import BertShape, fitting
from medembed.runtime.engines.interface import Precision, TokenIds, engine_pooling
from medembed.runtime.engines.padding import pad
from medembed.runtime.engines.ragged_bert import Attention, RaggedBert, varlen_attention
from medembed.runtime.engines.slots import Slots

log = logging.getLogger("medembed")

Tensor = Any
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
# while one batch computes, a second thread tokenizes and pads the next
BATCHES_IN_FLIGHT = 2
# padded tokens that keep a large GPU busy; halved by itself when memory runs out
GPU_BATCH_TOKENS = 65_536
CPU_BATCH_TOKENS = 4096
LEAST_BATCH_TOKENS = 512
# the process that first imported this module, which may be the parent of this one
FIRST_PROCESS = os.getpid()
# MPS keeps a compiled kernel per shape for ever: widths in steps of 64 and rows in powers of two keep them few
MPS_WIDTH_MULTIPLE = 64


class TorchEngine:
    """Any transformers encoder, on one device or several.

    Args:
        checkpoint: The model.
        devices: ``["cpu"]``, ``["mps"]``, ``["cuda"]`` or several ``"cuda:N"``.
        precision: Number format; None for the best of the device.
        threads: CPU threads, used when the device is the CPU.

    Raises:
        DeviceError: A device that torch cannot use.
        PrecisionError: A precision that torch does not run on this device.
        CheckpointError: An architecture or weights that do not load.
    """

    name = "torch"

    def __init__(
        self, checkpoint: Checkpoint, devices: Sequence[str], precision: Precision | None, threads: int | None
    ) -> None:
        """Load one replica of the model on each device."""
        self._torch = require("torch")
        require("transformers")
        self._kind = devices[0].partition(":")[0]
        self._forked = _is_forked()
        if self._forked:
            _prepare_child(self._torch, self._kind)
        for device in devices:
            _check_device(self._torch, device)
        self.device = ",".join(devices)
        self.precision: Precision = self._precision(precision)
        self.dimension = checkpoint.width
        self.width_multiple = MPS_WIDTH_MULTIPLE if self._kind == "mps" else 1
        self.max_batch_tokens = CPU_BATCH_TOKENS if self._kind == "cpu" else GPU_BATCH_TOKENS
        self._pad_id = _pad_id(checkpoint.config)
        self._spec = checkpoint.spec
        self._budget_lock = threading.Lock()
        replicas = [self._replica(checkpoint, device) for device in devices]
        turns = (threads or 1) if self._kind == "cpu" else BATCHES_IN_FLIGHT
        self._replicas = Slots(replicas * turns)
        self.concurrency = len(replicas) * turns

    def _precision(self, asked: Precision | None) -> Precision:
        if asked is None:
            best = {"cpu": "fp32", "mps": "fp16"}.get(self._kind)
            return best or ("bf16" if self._torch.cuda.is_bf16_supported() else "fp16")  # type: ignore[return-value]
        if asked == "int8" or (self._kind == "cpu" and asked != "fp32"):
            raise PrecisionError(f"the torch engine does not run {asked!r} on {self._kind}: use 'auto' or 'fp32'")
        return asked

    def _replica(self, checkpoint: Checkpoint, device: str) -> "_Replica":
        dtype = getattr(self._torch, DTYPES[self.precision])
        attention = varlen_attention() if self._has_flash(device) else None
        if attention is not None and checkpoint.config.get("model_type") == "bert":
            return _Ragged(checkpoint, device, dtype, attention)
        return _Padded(checkpoint, device, dtype)

    def _has_flash(self, device: str) -> bool:
        """Flash attention takes half precision and needs compute capability 8 (Ampere) or newer."""
        return (
            self._kind == "cuda"
            and self.precision != "fp32"
            and self._torch.cuda.get_device_capability(device) >= (8, 0)
        )

    def pooled(self, ids: TokenIds, *, alone: bool = False) -> NDArray[np.float32]:
        """Pooled vectors, not normalized. *Shape:* ``(n, dimension)``. Out of memory halves the batch and goes on."""
        run = partial(self._run_pooled, threads=self.concurrency if alone and not self._forked else 1)
        return np.concatenate([self._on_a_device(part, run) for part in self._parts(ids)])

    def tokens(self, ids: TokenIds, *, attended: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """Final states. One array per row, *Shape:* ``(len(ids[i]), dimension)``."""
        # each row carries its own number through the cutting and halving of batches
        rows = ids if attended is None else [_Row(row, seen) for row, seen in zip(ids, attended, strict=True)]
        return [states for part in self._parts(rows) for states in self._on_a_device(part, self._run_tokens)]

    def _parts(self, ids: TokenIds) -> list[TokenIds]:
        """The batch as planned, or in pieces where the budget has shrunk since it was planned."""
        width = max((len(row) for row in ids), default=1)
        rows = max(1, self.max_batch_tokens // max(1, width))
        return [ids[start : start + rows] for start in range(0, len(ids), rows)]

    def _on_a_device(self, ids: TokenIds, run: Any) -> Any:
        slot = self._replicas.next()
        try:
            with slot.lock:
                return run(slot.thing, ids)
        except self._torch.OutOfMemoryError:
            pass  # handled below, when the failed batch's tensors are gone with its traceback
        if len(ids) == 1:
            raise EngineError(
                f"out of memory on {self.device} for a single text of {len(ids[0])} tokens: use a smaller model or max_seq_length"
            )
        self._shrink(ids)
        halves = [self._on_a_device(part, run) for part in (ids[: len(ids) // 2], ids[len(ids) // 2 :])]
        return np.concatenate(halves) if isinstance(halves[0], np.ndarray) else halves[0] + halves[1]

    def _shrink(self, ids: TokenIds) -> None:
        tried = len(ids) * max(len(row) for row in ids)
        with self._budget_lock:
            self.max_batch_tokens = max(LEAST_BATCH_TOKENS, min(self.max_batch_tokens, tried // 2))
        if self._kind == "cuda":
            self._torch.cuda.empty_cache()
        log.warning(
            "out of memory on %s at %d tokens: going on with batches of %d", self.device, tried, self.max_batch_tokens
        )

    def _run_pooled(self, replica: "_Replica", ids: TokenIds, *, threads: int) -> NDArray[np.float32]:
        with self._torch.inference_mode(), self._threads(threads):
            vectors: NDArray[np.float32] = (
                replica.pooled(self._shaped(ids), engine_pooling(self._spec), self._pad_id, self.width_multiple)
                .float()
                .cpu()
                .numpy()
            )
        return vectors[: len(ids)]

    def _run_tokens(self, replica: "_Replica", ids: TokenIds) -> list[NDArray[np.float32]]:
        with self._torch.inference_mode(), self._threads(1):
            states = replica.states(self._shaped(ids), self._pad_id, self.width_multiple)
            return [row.float().cpu().numpy() for row in states[: len(ids)]]

    def _threads(self, threads: int) -> "_cpu_threads":
        return _cpu_threads(self._torch, threads, active=self._kind == "cpu" and not self._forked)

    def _shaped(self, ids: TokenIds) -> TokenIds:
        """Add rows on MPS up to the next power of two. See MPS_WIDTH_MULTIPLE. The extra rows are thrown away."""
        if self._kind != "mps":
            return ids
        return [*ids, *[ids[0]] * ((1 << (len(ids) - 1).bit_length()) - len(ids))]

    def close(self) -> None:
        """Drop the replicas. CUDA's memory goes back to the device."""
        self._replicas = Slots()
        if self._kind == "cuda":
            self._torch.cuda.empty_cache()


def _is_forked() -> bool:
    """Tell whether this process may have inherited torch without its threads.

    Torch then comes from the parent process.
    """
    return os.getpid() != FIRST_PROCESS


def _prepare_child(torch: Any, kind: str) -> None:
    """Keep torch usable in a forked child.

    Its pool of threads (OpenMP) does not survive the fork, and whatever asks more than one thread waits for ever. The number
    is set for the whole process, since another value would hang the next caller of torch too.

    Raises:
        DeviceError: CUDA, which no forked child can use.
    """
    if kind == "cuda":
        raise DeviceError(
            "CUDA cannot be used in a forked child: start processes with multiprocessing.get_context('spawn'), or load the model in each"
        )
    torch.set_num_threads(1)


def _check_device(torch: Any, device: str) -> None:
    kind, _, number = device.partition(":")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count or (number and not (number.isdigit() and int(number) < count)):
            raise DeviceError(
                f"device {device!r}: torch {torch.__version__} sees {count} CUDA devices here; use 'auto' or 'cpu', or install a CUDA build of torch"
            )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device 'mps': torch {torch.__version__} cannot use MPS here; use 'auto' or 'cpu'")


class _cpu_threads:  # noqa: N801 - reads as a statement
    """Torch's CPU threads for one batch: one in bulk work, where streams side by side beat threads that wait for each other."""

    def __init__(self, torch: Any, threads: int, *, active: bool) -> None:
        self._torch, self._active, self._threads = torch, active, threads

    def __enter__(self) -> None:
        if self._active:
            self._before = self._torch.get_num_threads()
            self._torch.set_num_threads(self._threads)

    def __exit__(self, *_: object) -> None:
        if self._active:
            self._torch.set_num_threads(self._before)


class _Row(list[int]):
    """A row of token ids of which only the first ``attended`` are attended to."""

    def __init__(self, ids: Sequence[int], attended: int) -> None:
        super().__init__(ids)
        self.attended = attended


def _attended(ids: TokenIds) -> list[int]:
    return [row.attended if isinstance(row, _Row) else len(row) for row in ids]


class _Ragged:
    """A BERT without padding."""

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: Any, attention: Attention) -> None:
        torch = require("torch")
        shape = BertShape(checkpoint.config)
        weights = fitting(checkpoint.files.weights().read(), shape, str(checkpoint.folder))
        on_device = {name: torch.from_numpy(weights[name]).to(device=device, dtype=dtype) for name in shape.expected()}
        self._bert = RaggedBert(on_device, checkpoint.config, attention)

    def states(self, ids: TokenIds, pad_id: int, multiple: int) -> list[Tensor]:
        del pad_id, multiple
        states, lengths = self._bert(ids, _attended(ids))
        return list(states.split(lengths))

    def pooled(self, ids: TokenIds, pooling: str, pad_id: int, multiple: int) -> Tensor:
        del pad_id, multiple
        torch = require("torch")
        states, lengths = self._bert(ids)
        counts = torch.tensor(lengths, device=states.device)
        if pooling == "cls":
            return states[counts.cumsum(0) - counts]
        owners = torch.repeat_interleave(torch.arange(len(lengths), device=states.device), counts)
        summed = torch.zeros(len(lengths), states.shape[1], device=states.device).index_add_(0, owners, states.float())
        return summed / counts[:, None]


class _Padded:
    """Any transformers encoder, padded, with torch's own attention kernels."""

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: Any) -> None:
        self._device = device
        self._model = transformers_model.load(checkpoint).to(device=device, dtype=dtype).eval()

    def _forward(self, ids: TokenIds, pad_id: int, multiple: int) -> tuple[Tensor, Tensor]:
        torch = require("torch")
        padded, _ = pad(ids, pad_id=pad_id, multiple=multiple)
        inputs = torch.from_numpy(padded).to(self._device).long()
        mask = (
            torch.arange(padded.shape[1], device=self._device)[None]
            < torch.tensor(_attended(ids), device=self._device)[:, None]
        )
        return self._model(input_ids=inputs, attention_mask=mask.long()).last_hidden_state, mask

    def states(self, ids: TokenIds, pad_id: int, multiple: int) -> list[Tensor]:
        states, _ = self._forward(ids, pad_id, multiple)
        return [states[row, : len(tokens)] for row, tokens in enumerate(ids)]

    def pooled(self, ids: TokenIds, pooling: str, pad_id: int, multiple: int) -> Tensor:
        states, mask = self._forward(ids, pad_id, multiple)
        if pooling == "cls":
            return states[:, 0]
        weights = mask[:, :, None].float()
        return (states.float() * weights).sum(1) / weights.sum(1)


_Replica = _Ragged | _Padded


def _pad_id(config: Mapping[str, Any]) -> int:
    value = config.get("pad_token_id")
    value = 0 if value is None or value == -1 else value
    return border.whole_number(
        value, named="pad_token_id of config.json", least=0, most=1 << 24, error=CorruptFileError
    )
