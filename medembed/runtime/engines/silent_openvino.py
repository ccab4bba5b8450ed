"""OpenVINO without its telemetry, its converter left to who calls it: the one place that imports it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_REPORTER, _CONVERTER = "openvino_telemetry", "openvino.tools.ovc"


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Make modules look absent for a while. What the user imported before is theirs and stays."""
    theirs = {name: sys.modules[name] for name in names if name in sys.modules}
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment] # Python's own sign for "not to be imported"
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(theirs)


def _convert_model(*args: Any, **settings: Any) -> Any:
    """OpenVINO's own ``convert_model``, loaded at the first call and without its telemetry."""
    with _without(_REPORTER):
        from openvino.tools.ovc import convert_model
    ov.convert_model = convert_model
    return convert_model(*args, **settings)


# ``import openvino`` brings its converter of models, which takes half of the time and which nothing here uses. The converter
# starts a child process that reports to Google Analytics, and writes a client id and a counter into ``~/intel``. Its switch is a
# file in the user's home, which is not ours to write. With the reporter absent it takes a stand-in that it ships for that case, and
# keeps that for the life of the process.
with _without(_REPORTER, _CONVERTER):
    import openvino as ov
    from openvino import opset13 as op

if not hasattr(ov, "convert_model"):
    ov.convert_model = _convert_model

__all__ = ["op", "ov"]
