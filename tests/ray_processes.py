"""Ray for tests: one on this machine, its actors' processes, and a driver that is killed."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


@contextmanager
def local_ray() -> Iterator[None]:
    """One Ray for the runs of a file in this process; its actors import this tree."""
    import ray

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    ray.init(num_cpus=3, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def actors_of(driver: int, kind: str) -> list[psutil.Process]:
    """The processes of a driver's actors whose class has that name."""
    return [child for child in psutil.Process(driver).children(recursive=True) if kind in _command(child)]


def all_end(actors: list[psutil.Process]) -> bool:
    """Whether these processes end, which takes a moment after they are told to."""
    return psutil.wait_procs(actors, timeout=30)[1] == []


def kill_driver(driver: "subprocess.Popen[str] | subprocess.Popen[bytes]", kind: str) -> None:
    """Kill a driver. Its actors notice it; Ray's own servers go on without it, and are ended."""
    actors, family = actors_of(driver.pid, kind), psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    assert all_end(actors)
    for child in psutil.wait_procs(family, timeout=1)[1]:
        child.kill()
    driver.communicate()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has just ended
        return ""
