"""The audit log: a line of JSON for each answer. It says who asked for what, and never a text or a vector."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from medembed.errors import RefusedError, ServingError

# seconds after which a server that could not write its log may be tried again
AGAIN_S = 10


class AuditLog:
    """A file that lines are added to. Several processes may add to one.

    A request whose line cannot be written is refused, so that nothing is answered that no line tells of.

    Args:
        path: The file; made if missing, readable by its owner alone. None for no log.

    Raises:
        ServingError: It cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        """Open the file."""
        self._path, self._handle, self._whole = path, -1, True
        self.reopen()

    def reopen(self) -> None:
        """Open the file anew, as after it was moved aside by what rotates logs.

        Raises:
            ServingError: It cannot be opened.
        """
        if self._path is None:
            return
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise ServingError(
                f"the audit log {self._path} cannot be opened ({os.strerror(error.errno or 0)})"
            ) from None
        self.close()
        self._handle = handle

    def check(self) -> None:
        """Refuse work while lines cannot be written. After a line that failed, one is tried first.

        Raises:
            RefusedError: Still none can be written.
        """
        if not self._whole:
            self.write({"event": "audit log resumed"})

    def write(self, told: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            RefusedError: It cannot be written whole.
        """
        if self._path is None:
            return
        # what an earlier try left half-written ends there
        start = b"" if self._whole else b"\n"
        line = start + orjson.dumps({"time": _now(), **told}) + b"\n"
        try:
            self._whole = os.write(self._handle, line) == len(line)
        except OSError:
            self._whole = False
        if not self._whole:
            raise RefusedError(
                503, "the audit log cannot be written: the disk may be full; nothing is answered until it can", AGAIN_S
            )

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _now() -> str:
    """The time in UTC, to the millisecond."""
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"
