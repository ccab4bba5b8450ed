"""What the machine says of itself, read from files laid out as the kernel lays them."""

import os
import sys
from pathlib import Path

import pytest

from medembed.runtime import hardware


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
    ids=["v2", "v2-none", "v1", "v1-none", "no cgroups"],
)
def test_container_limits(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert hardware.cgroup_cpu_quota(tmp_path) == expected


def test_a_container_limit_lowers_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cgroup_cpu_quota", lambda: 0.5)
    assert hardware.usable_cores() == 1


def test_hyperthreads_of_one_core_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(hardware, "_core_of", lambda cpu: ("0", str(cpu % 2)))
    monkeypatch.setattr(hardware, "cgroup_cpu_quota", lambda: None)
    assert hardware.usable_cores() == 2


def test_hidden_cuda_devices_count_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware.accelerator() is None


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        ("Intel(R) Xeon(R) Processor", ["avx512_bf16"], True),
        ("Intel(R) Xeon(R) Processor", ["avx512_bf16", "amx_bf16"], False),
        ("Intel(R) Xeon(R) Processor", ["avx2"], False),
        ("AMD EPYC 9654 96-Core Processor", ["avx512_bf16"], False),
    ],
)
def test_intels_cpus_lose_by_bf16_without_matrix_units(
    monkeypatch: pytest.MonkeyPatch, name: str, flags: list[str], expected: bool
) -> None:
    monkeypatch.setattr(hardware, "cpu_name", lambda: name)
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset(flags))
    assert hardware.cpu_loses_by_bf16() is expected
