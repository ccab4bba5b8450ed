"""On a GPU: bge-large's shape against sentence-transformers, and how much of the measured matrix rate is used."""

import json
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

from medembed.runtime.engines.matrix_rate import forward_operations
from tests.benchmarks import models, texts
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.runner import Setting, in_turn
from tests.benchmarks.sizes import Size

FULL_PRECISION = "st-fp32"
# sentence-transformers with all that its users can choose without other software: the best of these is its best
HALF_PRECISION = ("st-bf16", "st-fp16", "st-bf16-batch128", "st-fp16-batch128")
OURS = "medembed"
# A square product this large keeps a data-centre GPU at its highest measured rate.
MATRIX = 8192


def present() -> bool:
    """Whether torch sees a CUDA device, asked in another process: this one stays free of torch."""
    probe = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def gpu(size: Size, engines: Sequence[str] = ()) -> Result:
    """Passages through bge-large's shape on the first CUDA device.

    Raises:
        RuntimeError: There is none.
    """
    if not present():
        raise RuntimeError("no CUDA device: the gpu benchmark needs one")
    return measure("cuda", "bge-large", size.gpu_passages, size.rounds, engines)


def measure(device: str, model: str, n: int, rounds: int, engines: Sequence[str] = ()) -> Result:
    """The comparison on any device and model, so that it can be tried without a GPU."""
    names = tuple(engines or (FULL_PRECISION, *HALF_PRECISION, OURS))
    found = in_turn(names, Setting(model=model, device=device), rounds, do="encode", kind="passages", n=n)
    lengths = texts.token_counts(models.folder(model), "passages", n)
    hidden, layers, _heads, inner = models.SHAPES[model]
    operations = forward_operations(hidden, layers, inner, lengths)
    rate = _matrix_rate(device)
    rows = []
    for name in names:
        seconds = median(found.seconds(name))
        row = {"engine": name, "seconds": seconds, "texts/s": n / seconds, "tokens/s": sum(lengths) / seconds}
        row["TFLOP/s"] = operations / seconds / 1e12
        rows.append({**row, "of the matrix rate": operations / seconds / rate})
    claims = []
    if OURS in names and FULL_PRECISION in names:
        claims += [Claim("times sentence-transformers' fp32", found.speedup(OURS, FULL_PRECISION), at_least=3.9)]
    halves = [found.speedup(OURS, name) for name in HALF_PRECISION if {OURS, name} <= set(names)]
    if halves:
        claims += [Claim("times its own best half precision", min(halves), at_least=1.3)]
    settings = {
        "model": model, "device": _device_name(device), "passages": n, "rounds": rounds,
        "bf16 matrix rate, TFLOP/s": round(rate / 1e12, 3),
    }  # fmt: skip
    raw = {"seconds": {name: found.seconds(name) for name in names}}
    return Result("gpu", "passages on a GPU", settings, rows, claims, found.other_load, found.versions, raw)


def _matrix_rate(device: str) -> float:
    return float(_ask_torch("rate", device))


def _device_name(device: str) -> str:
    return str(_ask_torch("name", device))


def _ask_torch(what: str, device: str) -> float | str:
    """Answered by this module in a process of its own: a CUDA context here would hold memory from the workers."""
    command = [sys.executable, "-m", "tests.benchmarks.gpu", what, device]
    answer: float | str = json.loads(
        subprocess.run(command, cwd=models.ROOT, capture_output=True, text=True, check=True).stdout
    )
    return answer


def main() -> None:
    """Print the device's name, or the rate of bf16 matrix products on it in operations a second."""
    import time

    import torch

    what, device = sys.argv[1:]
    on_cuda = device.startswith("cuda")
    if what == "name":
        print(json.dumps(torch.cuda.get_device_name(device) if on_cuda else "cpu"))
        return
    size = MATRIX if on_cuda else 512
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    rates = []
    for _ in range(12):
        started = time.perf_counter()
        for _ in range(10):
            a @ b
        if on_cuda:
            torch.cuda.synchronize()
        rates.append(10 * 2 * size**3 / (time.perf_counter() - started))
    print(json.dumps(median(rates[2:])))  # the first ones choose kernels and raise the clock


if __name__ == "__main__":
    main()
