"""Ray, started on this machine or joined where it runs already.

It is started for as long as it is needed. No other file starts it.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medembed.errors import SettingError
from medembed.extras import require, switches


@contextmanager
def connected(address: str | None, cores: int) -> Iterator[Any]:
    """The module ``ray``, connected.

    Args:
        address: Address of a running cluster, ``"auto"`` for the one this machine belongs to; None to start Ray here. Where this
            process is connected already, nothing is changed.
        cores: Logical cores at least where Ray is started here.

    Raises:
        MissingExtraError: Ray is not installed.
        SettingError: No cluster can be joined at ``address``, or none started here.
    """
    ray = require("ray")
    if ray.is_initialized():
        yield ray
        return
    if address is None:
        _start(ray, max(os.cpu_count() or 1, cores))
    else:
        _join(ray, address)
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, cores: int) -> None:
    try:
        with switches(RAY_USAGE_STATS_ENABLED="0"):
            ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except OSError as error:
        raise SettingError(
            f"Ray cannot be started on this machine ({error}): it makes sockets below TMPDIR, whose names have about 100 bytes at "
            "most; export TMPDIR=/tmp where yours is longer"
        ) from error


def _join(ray: Any, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        if host and "://" not in address and port.isdigit():
            # where nobody listens, Ray tries for minutes and then ends the process without a message
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise SettingError(
            f"no Ray cluster can be joined at {address!r} ({error}): start one with `ray start --head` and name its address, or name "
            "'local' to use this machine alone"
        ) from error
