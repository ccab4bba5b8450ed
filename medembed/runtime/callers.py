"""The place this package was called from. Warnings then point at the user's line."""

import sys
from pathlib import Path

PACKAGE = str(Path(__file__).parents[1])


def level() -> int:
    """Frames from the calling function up to the first outside this package: a ``stacklevel`` for ``warnings.warn``."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
