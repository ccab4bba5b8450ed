"""Ray, started on this machine for as long as it is needed or joined where it runs already. The only file that starts it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medembed.extras import require


@contextmanager
def connected(address: str | None, cores: int) -> Iterator[Any]:
    """The module ``ray``, connected.

    Args:
        address: Address of a running cluster, ``"auto"`` for the one this machine belongs to; None to start Ray here. Where this
            process is connected already, nothing is changed.
        cores: Logical cores at least where Ray is started here.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    ray = require("ray")
    if ray.is_initialized():
        yield ray
        return
    if address is None:
        # without telemetry
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        cores = max(os.cpu_count() or 1, cores)
        ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    else:
        ray.init(address=address, log_to_driver=False)
    try:
        yield ray
    finally:
        ray.shutdown()
