"""The alternate stack of signal handlers, kept as it is while OpenVINO loads its CPU plugin."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Put this thread's stack for signal handlers back at the end of the block.

    On CPUs with AMX the plugin gives its thread a stack of its own, and frees that when it goes. Python runs its handlers there:
    a Ctrl-C after a second model was closed ended the process with SIGSEGV. A stack set up before, for instance by
    ``faulthandler``, is the user's and stays.
    """
    if sys.platform != "linux":
        yield
        return
    library, before = ctypes.CDLL(None), _Stack()
    known = library.sigaltstack(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if known:
            library.sigaltstack(ctypes.byref(before), None)
