"""The CPU engine: OpenVINO, one single-threaded stream per core, so that no core ever waits for another."""

import queue
from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from medembed import tensors
from medembed.checkpoint import Checkpoint
from medembed.engines import bert_graph
from medembed.engines.interface import Precision, TokenIds
from medembed.engines.padding import pad
from medembed.errors import EngineError

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def can_run(config: Mapping[str, Any]) -> bool:
    """Whether this engine can build a model's graph from its ``config.json``."""
    return (
        config.get("model_type") == "bert"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and config.get("hidden_act", "gelu") in ACTIVATIONS
        and not config.get("is_decoder", False)
    )


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 natively (AMX or AVX-512)."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine:
    """BERT-family encoders on the CPU.

    Args:
        checkpoint: A model that :func:`can_run` accepts.
        precision: ``"fp32"``, ``"bf16"`` or ``"int8"``.
        threads: Streams, each of one thread.

    Raises:
        BadWeightsError: Weights that do not fit the configuration.
    """

    name = "openvino"
    device = "cpu"
    width_multiple = 8

    def __init__(self, checkpoint: Checkpoint, precision: Precision, threads: int) -> None:
        """Build the graph and compile it."""
        self.precision: Precision = precision
        self.concurrency = threads
        self.dimension = checkpoint.spec.dimension
        self.max_batch_tokens = 4096
        self._checkpoint = checkpoint
        self._pooled: queue.SimpleQueue[ov.InferRequest] = self._compile(pooled=True)
        self._tokens: queue.SimpleQueue[ov.InferRequest] | None = None

    def _compile(self, *, pooled: bool) -> "queue.SimpleQueue[ov.InferRequest]":
        shape = bert_graph.BertShape(self._checkpoint.config)
        weights = bert_graph.fitting(tensors.read_tensors(self._checkpoint.folder), shape, str(self._checkpoint.folder))
        graph = bert_graph.build(weights, shape, self._checkpoint.spec.pooling if pooled else None)
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "INFERENCE_NUM_THREADS": self.concurrency,
            "NUM_STREAMS": self.concurrency,
            # pinned streams of two processes would share one core while others idle
            "ENABLE_CPU_PINNING": False,
        }
        compiled = ov.Core().compile_model(graph, "CPU", settings)
        requests: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()
        for _ in range(self.concurrency):
            requests.put(compiled.create_infer_request())
        return requests

    def pooled(self, ids: TokenIds) -> NDArray[np.float32]:
        """Pooled vectors, not normalised. *Shape:* ``(n, dimension)``."""
        padded, lengths = pad(ids, multiple=self.width_multiple)
        return self._infer(self._pooled, padded, lengths)

    def tokens(self, ids: TokenIds) -> list[NDArray[np.float32]]:
        """Final states. One array per row, *Shape:* ``(len(ids[i]), dimension)``. Compiles a second graph when first used."""
        if self._tokens is None:
            self._tokens = self._compile(pooled=False)
        padded, lengths = pad(ids, multiple=self.width_multiple)
        states = self._infer(self._tokens, padded, lengths)
        return [states[row, :length].copy() for row, length in enumerate(lengths)]

    def _infer(
        self, requests: "queue.SimpleQueue[ov.InferRequest]", padded: NDArray[np.int32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        request = requests.get()
        try:
            request.infer({0: padded, 1: lengths}, share_inputs=True)
            return np.array(request.get_output_tensor(0).data, dtype=np.float32)
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO failed on a batch of {padded.shape[0]} × {padded.shape[1]} tokens: {error}"
            ) from error
        finally:
            requests.put(request)

    def close(self) -> None:
        """Drop the compiled graphs; their threads and memory go with them."""
        self._pooled, self._tokens = queue.SimpleQueue(), None
