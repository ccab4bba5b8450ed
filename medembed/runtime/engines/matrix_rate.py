"""The rate of plain matrix products on this machine, which no encoder on it can exceed."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from medembed.runtime.engines.bert_shape import BertShape
from medembed.runtime.engines.interface import Precision
from medembed.runtime.engines.signal_stack import signal_stack_kept
from medembed.runtime.engines.silent_openvino import op, ov

# tokens of a batch, as the CPU engine packs them, and pairs of products in a row, so that a call's own cost does not count
ROWS, PAIRS = 512, 12
# a 256-level format of activations that needs no look at data: its scale does not change the speed
LEVELS, BOUND = 256, 4.0


def forward_operations(hidden: int, layers: int, inner: int, lengths: Sequence[int]) -> float:
    """Floating-point operations that a forward pass cannot do without.

    Padding does not count, and a multiplication with its addition counts as two.

    Args:
        hidden: Width of a token's state, h.
        layers: Their number.
        inner: Width inside of a layer, f.
        lengths: Tokens of each text.

    Returns:
        Sum over texts of length n and layers of 2·n·(4h² + 2hf) for the projections and 4·n²·h for attention.
    """
    projections = 2 * (4 * hidden**2 + 2 * hidden * inner)
    return float(sum(layers * (n * projections + 4 * n**2 * hidden) for n in lengths))


def matrix_rate(shape: BertShape, precision: Precision, threads: int, *, rounds: int = 5) -> float:
    """Operations a second of products alone, of a model's widest matrices.

    OpenVINO multiplies 512 rows with matrices of hidden × inner and inner × hidden, one stream per thread.

    Args:
        shape: Whose matrices.
        precision: Number format of the products; int8 with constant scales.
        threads: Threads that compute.
        rounds: Times of a tenth of a second each; the best counts, as other processes may take the rest.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "ENABLE_CPU_PINNING": False,
    }
    with signal_stack_kept():
        compiled = ov.Core().compile_model(_chain(shape, precision), "CPU", settings)
    requests = [compiled.create_infer_request() for _ in range(threads)]
    rows = np.random.default_rng(0).standard_normal((ROWS, shape.hidden), dtype=np.float32)
    operations = 2 * ROWS * 2 * shape.hidden * shape.inner * PAIRS * threads
    with ThreadPoolExecutor(threads) as pool:
        repeats = max(1, round(0.1 / _seconds(pool, requests, rows, 1)))
        rates = [operations * repeats / _seconds(pool, requests, rows, repeats) for _ in range(rounds)]
    return max(rates)


def _seconds(pool: ThreadPoolExecutor, requests: Sequence[Any], rows: Any, repeats: int) -> float:
    def run(request: Any) -> None:
        for _ in range(repeats):
            request.infer({0: rows}, share_inputs=True)

    started = time.perf_counter()
    list(pool.map(run, requests))
    return time.perf_counter() - started


def _chain(shape: BertShape, precision: Precision) -> Any:
    rng = np.random.default_rng(0)
    x = rows = op.parameter([ROWS, shape.hidden], np.float32)
    for _ in range(PAIRS):
        for width, other in ((shape.hidden, shape.inner), (shape.inner, shape.hidden)):
            matrix = rng.standard_normal((other, width), dtype=np.float32) / np.float32(np.sqrt(width))
            x = op.matmul(*((_levels(x), _bytes(matrix)) if precision == "int8" else (x, matrix)), False, True)
    return ov.Model([op.result(x)], [rows], "products")


def _levels(x: Any) -> Any:
    low, high = (op.constant(np.full((), value, dtype=np.float32)) for value in (-BOUND, BOUND))
    return op.fake_quantize(x, low, high, low, high, LEVELS)


def _bytes(matrix: Any) -> Any:
    scale = np.abs(matrix).max(axis=1, keepdims=True) / np.float32(127)
    return op.multiply(op.convert(op.constant(np.rint(matrix / scale).astype(np.int8)), "f32"), op.constant(scale))
