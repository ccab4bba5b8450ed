"""One engine in a process of its own: loads, says so, then does one job a line until its standard input closes.

`python -m tests.benchmarks.worker ENGINE FOLDER THREADS DEVICE` speaks JSON lines. Only one worker of a comparison has a
job at any time; the others sleep on their pipe.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import texts
from tests.benchmarks.engines import ENGINES, Encode, Place

PACKAGES = (
    "medembed", "medembed-kernels", "openvino", "torch", "transformers", "sentence-transformers", "tokenizers", "numpy",
    "optimum-intel", "optimum-onnx", "onnxruntime", "fastembed",
)  # fmt: skip


def main() -> None:
    """Serve jobs; what libraries print goes to standard error, so that the protocol stays clean."""
    engine, folder, threads, device = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    started = time.perf_counter()
    encode = ENGINES[engine].load(Place(Path(folder), int(threads), device))
    encode(["a first text starts what starts lazily", "a second one"])
    ready = {"ready_s": time.perf_counter() - started, "versions": _versions(), "peak_mib": peak_mib()}
    print(json.dumps(ready), file=answers)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(JOBS[job.pop("do")](encode, **job)), file=answers)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_mib() -> float:
    """The most memory this process ever held. Not `ru_maxrss` on Linux: that one starts at the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _encode(encode: Encode, kind: texts.Kind, n: int, prompt: str = "", save: str = "") -> dict[str, Any]:
    """Encode ``n`` texts in one call; ``save`` keeps the vectors."""
    passages = texts.load(kind, n)
    started, cpu = time.perf_counter(), time.process_time()
    vectors = encode(passages, prompt=prompt)
    taken = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    if save:
        np.save(save, np.asarray(vectors, dtype=np.float32))
    return {**taken, "peak_mib": peak_mib()}


def _one_by_one(encode: Encode, kind: texts.Kind, n: int, save: str = "") -> dict[str, Any]:
    """Encode ``n`` texts each in a call of its own, as a search service does."""
    taken, vectors, cpu = [], [], time.process_time()
    for text in texts.load(kind, n):
        started = time.perf_counter()
        vector = encode([text])
        taken.append(time.perf_counter() - started)
        vectors.append(vector)
    if save:
        np.save(save, np.concatenate(vectors).astype(np.float32))
    return {"each_s": taken, "seconds": sum(taken), "cpu_s": time.process_time() - cpu, "peak_mib": peak_mib()}


JOBS: dict[str, Callable[..., dict[str, Any]]] = {"encode": _encode, "one_by_one": _one_by_one}


if __name__ == "__main__":
    main()
