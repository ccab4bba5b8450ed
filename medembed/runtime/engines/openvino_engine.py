"""The CPU engine: OpenVINO, one single-threaded stream per core, so that no core ever waits for another."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints.checkpoint import Checkpoint
from medembed.errors import EngineError, PrecisionError
from medembed.runtime import hardware
from medembed.runtime.engines import bert_graph
from medembed.runtime.engines.bert_shape import WORDS, BertShape, Weights, fitting, is_plain, with_scaled_queries
from medembed.runtime.engines.interface import Precision, TokenIds, engine_pooling
from medembed.runtime.engines.padding import pad
from medembed.runtime.engines.signal_stack import signal_stack_kept
from medembed.runtime.engines.silent_openvino import ov
from medembed.runtime.engines.slots import Slots

Requests = Slots[Any]
"""Inference requests; using one is using its threads."""

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
# Weights and activations are quantized in groups of this many inputs. Measured on mini and medical passages, in CPU time
# of bf16 and mean cosine to fp32: groups of 32 0.94 and 0.9997, 64 0.75 and 0.9996, 128 0.83 and 0.9993.
INT8_GROUP = 64
# Parts made for one shape of batch that a stream keeps. OpenVINO's own 5,000 keep those of every shape. Measured on MiniLM with
# two streams (AMD, AVX512-BF16), after 4,000 passages and 8,000 queries: 5,000 445 MiB, 256 401, 128 387; 256 cost under 1% of the
# CPU time where calls of 72 passages meet many shapes, 128 2.5%, and neither anything in a call of 2,000.
PARTS_KEPT = {"CPU_RUNTIME_CACHE_CAPACITY": 256}


def can_run(config: Mapping[str, Any]) -> bool:
    """Tell whether this engine can build a model's graph from its ``config.json``."""
    return is_plain(config) and config.get("hidden_act", "gelu") in ACTIVATIONS


def cpu_has_bf16() -> bool:
    """Tell whether this CPU multiplies bf16 natively (AMX or AVX-512)."""
    with signal_stack_kept():
        return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine:
    """BERT-family encoders on the CPU.

    Two ways to run the same graph, each compiled when first needed: *streams*, one single-threaded request per core, for
    bulk work, where no core ever waits for another; and *wide*, one request over all cores, for a batch that comes alone.

    Args:
        checkpoint: A model that ``can_run`` accepts.
        precision: ``"fp32"``, ``"bf16"`` or ``"int8"``.
        threads: CPU threads in all.

    Raises:
        BadWeightsError: Weights that do not fit the configuration.
        PrecisionError: ``"int8"`` for a model whose layers cannot be cut into groups.
    """

    name = "openvino"
    device = "cpu"
    # Measured on MiniLM in CPU seconds per text: 512 tokens per batch cost 23% less than 4096 on passages of mixed
    # length (less padding), widths in steps of 4 cost 8% less than 8 on short queries; finer steps gain nothing more.
    max_batch_tokens = 512
    width_multiple = 4

    def __init__(self, checkpoint: Checkpoint, precision: Precision, threads: int) -> None:
        """Read and check the weights. Compiling waits for the first batch."""
        self._shape = BertShape(checkpoint.config)
        widths = (self._shape.hidden, self._shape.inner)
        if precision == "int8" and any(width % INT8_GROUP for width in widths):
            raise PrecisionError(
                f"precision 'int8' needs layers whose widths are multiples of {INT8_GROUP}, but {checkpoint.spec.name!r} has {widths}: use 'auto'"
            )
        self.precision: Precision = precision
        # Measured on an AVX2 CPU in CPU seconds: queries 10%, passages 5% less, and the memory of packed matrices halved
        self._bare = precision == "fp32"
        self.concurrency = threads
        self.dimension = checkpoint.width
        self._checkpoint = checkpoint
        self._weights: Weights | None = self._read()
        # a slot and no plain lock: a fork waits for a compilation too
        self._compiling = Slots([None])
        self._requests: dict[tuple[bool, bool], Requests] = {}

    def _read(self) -> Weights:
        # in bf16 a scale would be rounded before it restores a row: there the table comes as floats, which are rounded once
        as_stored = () if self._in_bf16() else (WORDS,)
        weights = self._checkpoint.files.weights().read(as_stored=as_stored)
        found = fitting(weights, self._shape, str(self._checkpoint.folder))
        return with_scaled_queries(found, self._shape) if self._bare else found

    def _ready(self, *, wide: bool, pooled: bool) -> Requests:
        """The requests of one way to run, compiled by whoever asks first."""
        wide = wide or self.concurrency == 1
        with self._compiling.next().lock:
            if (wide, pooled) not in self._requests:
                self._requests[wide, pooled] = self._compile(wide=wide, pooled=pooled)
            return self._requests[wide, pooled]

    def _in_bf16(self) -> bool:
        """Tell whether what is not int8 runs in bf16.

        Int8 concerns the layers' matrices. The rest takes the fastest format at hand.
        """
        wanted = self.precision == "bf16" or (self.precision == "int8" and not hardware.cpu_loses_by_bf16())
        return wanted and cpu_has_bf16()

    def _compile(self, *, wide: bool, pooled: bool) -> Requests:
        weights = self._weights or self._read()
        # a float graph holds these arrays as they are, so a second one shares them; an int8 graph holds arrays of its own
        self._weights = None if self.precision == "int8" else weights
        pooling = engine_pooling(self._checkpoint.spec) if pooled else None
        int8_group = INT8_GROUP if self.precision == "int8" else 0
        graph = bert_graph.build(weights, self._shape, pooling, int8_group=int8_group, bare=self._bare)
        streams = 1 if wide else self.concurrency
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self._in_bf16() else "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": int8_group,
            "INFERENCE_NUM_THREADS": self.concurrency,
            "NUM_STREAMS": streams,
            # pinned streams of two processes would share one core while others idle
            "ENABLE_CPU_PINNING": False,
        }
        with signal_stack_kept():
            core = ov.Core()
            if not wide:
                _keep_fewer_parts(core)
            compiled = core.compile_model(graph, "CPU", settings)
        return Slots(compiled.create_infer_request() for _ in range(streams))

    def pooled(self, ids: TokenIds, *, alone: bool = False) -> NDArray[np.float32]:
        """Pooled vectors, not normalized. *Shape:* ``(n, dimension)``."""
        padded, lengths = pad(ids, multiple=self.width_multiple)
        requests = self._ready(wide=alone, pooled=True)
        if alone and requests.busy:  # another caller's lone batch has all the cores: share them as streams instead
            requests = self._ready(wide=False, pooled=True)
        return self._infer(requests, padded, lengths)

    def tokens(self, ids: TokenIds, *, attended: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """Final states. One array per row, *Shape:* ``(len(ids[i]), dimension)``."""
        padded, lengths = pad(ids, multiple=self.width_multiple)
        # the graph masks keys from a row's length on and computes a state for every place: what ``attended`` asks for
        seen = lengths if attended is None else np.asarray(attended, dtype=np.int32)
        states = self._infer(self._ready(wide=False, pooled=False), padded, seen)
        return [states[row, :length].copy() for row, length in enumerate(lengths)]

    def _infer(self, requests: Requests, padded: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[np.float32]:
        slot = requests.next()
        with slot.lock:
            try:
                slot.thing.infer({0: padded, 1: lengths}, share_inputs=True)
                return np.array(slot.thing.get_output_tensor(0).data, dtype=np.float32)
            except RuntimeError as error:
                raise EngineError(
                    f"OpenVINO failed on a batch of {padded.shape[0]} × {padded.shape[1]} tokens: {error}"
                ) from error

    def close(self) -> None:
        """Drop the compiled graphs. Their threads and memory go with them."""
        with self._compiling.next().lock:
            self._requests, self._weights = {}, None


def _keep_fewer_parts(core: Any) -> None:
    """Bound the memory of a stream, where this OpenVINO knows the setting: it is none of its documented ones."""
    core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")  # loads the plug-in: before that any setting is taken
    with suppress(RuntimeError):
        core.set_property("CPU", PARTS_KEPT)
