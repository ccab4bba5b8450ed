"""A module for the watch to be tried on: does to its process what it is told."""

import os
import signal
import sys
import time


def attempt(line: str) -> str:
    """Do what the line says."""
    if line == "raise":
        raise ValueError("a worker's own error")
    if line == "exit":
        sys.exit(3)
    if line == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if line == "sleep":
        time.sleep(3600)
    return line
