"""The abilities of this machine, found out without importing any engine."""

import functools
import math
import os
import platform
import sys
from pathlib import Path


def usable_cores() -> int:
    """Physical cores this process may use: affinity, container limits and hyper-threads taken into account.

    Hyper-threads share one set of matrix units, so a second stream on the same core only adds contention.

    Returns:
        At least 1.
    """
    logical = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_core_of(cpu) for cpu in logical}
    quota = cgroup_cpu_quota()
    return max(1, len(cores) if quota is None else min(len(cores), math.ceil(quota)))


def _core_of(cpu: int) -> tuple[str, str]:
    """(package, core) of a logical CPU, or the CPU itself where the system does not tell."""
    folder = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        return (folder / "physical_package_id").read_text().strip(), (folder / "core_id").read_text().strip()
    except OSError:
        return "", str(cpu)


def cgroup_cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """CPUs that the container's limit allows, for cgroup v2 and v1.

    Args:
        root: Where the cgroup file system is mounted.

    Returns:
        CPUs, possibly a fraction; None without a limit.
    """
    try:
        limit, period = (root / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass  # not cgroup v2: ask v1
    try:
        limit_us = int((root / "cpu" / "cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu" / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return limit_us / period_us if limit_us > 0 else None


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the CPU as Linux names them (``amx_bf16``, ``avx512_bf16``, …). Empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.split())


def cpu_has_bf16() -> bool:
    """Tell whether the CPU multiplies bf16 natively.

    Where it does not, emulation is many times slower than fp32.
    """
    return not cpu_flags().isdisjoint(("amx_bf16", "avx512_bf16", "bf16"))


def cpu_loses_by_bf16() -> bool:
    """Tell whether the CPU knows bf16 but runs it slower than fp32.

    Such CPUs are Intel's with AVX512-BF16, where AMX is missing or hidden.
    MiniLM took 1.5 times as long in bf16 on such a Xeon, and a training step 1.3 times. AMD's have not been measured.
    """
    flags = cpu_flags()
    return "avx512_bf16" in flags and "amx_bf16" not in flags and cpu_name().startswith("Intel")


def cpu_name() -> str:
    """Marketing name of the CPU, or the machine type where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def accelerator() -> str | None:
    """The accelerator this machine seems to have, judged by its driver's traces only.

    Returns:
        ``"cuda"``, ``"mps"`` or None. Whether torch can use it is for the torch engine to say.
    """
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "mps"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    system_root = os.environ.get("SYSTEMROOT", r"C:\Windows")
    traces = ("/dev/nvidiactl", "/dev/dxg", f"{system_root}\\System32\\nvcuda.dll")
    return "cuda" if any(Path(trace).exists() for trace in traces) else None
