"""The two lanes: what bulk costs a query."""

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medembed.serving.lanes import NICENESS, How, Lanes
from medembed.serving.metrics import Metrics
from medembed.serving.served import Served
from medembed.serving.settings import Limits, Serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a priority for each thread")

HOW = How(None, "truncate")


def priorities(texts: Sequence[str], _how: How) -> tuple[list[int], NDArray[np.int64]]:
    """For each text the niceness of a thread that this one starts."""
    found: list[int] = []
    for _ in texts:
        thread = threading.Thread(target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
        thread.start()
        thread.join()
    return found, np.ones(len(texts), dtype=np.int64)


async def test_bulk_gives_way_to_a_query() -> None:
    lanes: Lanes[int] = Lanes(priorities, limit=512, streams=1, limits=Limits(), metrics=Metrics(), name="test")
    try:
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        query, bulk = await asyncio.gather(lanes(["pain"], HOW), lanes(["pain and fever " * 20] * 8, HOW))
        assert set(query.found) == {usual}
        assert set(bulk.found) == {below(usual)}
    finally:
        lanes.close()


def below(usual: int) -> int:
    """The niceness of bulk; 19 is the system's highest."""
    return min(usual + NICENESS, 19)


def tasks() -> dict[int, int]:
    """This process's threads and their niceness."""
    return {int(one.name): os.getpriority(os.PRIO_PROCESS, int(one.name)) for one in Path("/proc/self/task").iterdir()}


def test_so_do_the_threads_of_the_engine(tiny_folder: Path) -> None:
    before, usual = set(tasks()), os.getpriority(os.PRIO_PROCESS, 0)
    served = Served(Serving(str(tiny_folder), threads=2))
    try:
        lower = [task for task, niceness in tasks().items() if task not in before and niceness == below(usual)]
        assert len(lower) >= 3  # the lane's own, and one for each stream
    finally:
        served.close()
