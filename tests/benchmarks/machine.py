"""What machine the numbers come from: without it a speed means nothing."""

import os
import platform
import re
from pathlib import Path
from typing import Any

import psutil

# What decides the speed of matrix products, slowest first; the last one a CPU has is its class. Among CPUs with AVX512-BF16 and no AMX
# avx512_vp2intersect marks AMD's fifth generation of Zen, which computes 512 bits at once and not in two halves as the fourth.
VECTOR_UNITS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_vp2intersect", "amx_int8", "amx_bf16")
SHOWN = {"avx512_vp2intersect": "avx512_bf16 (Zen 5)"}


def describe() -> dict[str, Any]:
    """CPU, its vector units, cores, memory, system, Python, and the GPU where torch sees one."""
    info = _cpuinfo()
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "vector_units": [unit for unit in VECTOR_UNITS if unit in info.get("flags", "").split()],
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def slug(machine: dict[str, Any]) -> str:
    """A folder name for the machine's results, such as ``amd-epyc-avx512-bf16-2-cores``."""
    units = machine["vector_units"]
    words = f"{machine['cpu']} {units[-1] if units else ''} {machine['usable_cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def maker(machine: dict[str, Any]) -> str:
    """The CPU's name without what every name has."""
    return str(machine["cpu"]).replace("(R)", "").removesuffix(" Processor")


def newest_unit(machine: dict[str, Any]) -> str:
    """What its class is called where figures are shown."""
    unit = machine["vector_units"][-1] if machine["vector_units"] else "no AVX"
    return SHOWN.get(unit, unit)


def _cpuinfo() -> dict[str, str]:
    """Of the first core; empty where the system has no such file."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first)}
