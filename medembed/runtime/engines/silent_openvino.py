"""OpenVINO without its telemetry: the one place that imports it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_REPORTER = "openvino_telemetry"


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Make ``openvino_telemetry`` look absent, so that OpenVINO takes the stand-in that it ships for that case.

    Importing ``openvino`` starts a child process that reports to Google Analytics, and writes a client id and a counter
    into ``~/intel``. Its switch is a file in the user's home, which is not ours to write. OpenVINO keeps the stand-in for
    the life of the process, so nothing reports later either. An ``openvino_telemetry`` that the user imported before is
    theirs and stays.
    """
    theirs = {name: sys.modules[name] for name in (_REPORTER,) if name in sys.modules}
    sys.modules[_REPORTER] = None  # type: ignore[assignment] # Python's own sign for "not to be imported"
    try:
        yield
    finally:
        del sys.modules[_REPORTER]
        sys.modules.update(theirs)


with _without_telemetry():
    import openvino as ov
    from openvino import opset13 as op

__all__ = ["op", "ov"]
