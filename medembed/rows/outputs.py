"""Checks of outputs against inputs and against what exists. Nothing is overwritten unless that was asked for."""

import os
from collections.abc import Iterable
from pathlib import Path

from medembed.errors import SettingError


def check_outputs(outputs: Iterable[Path], inputs: Iterable[str | Path] = (), *, overwrite: bool) -> None:
    """Refuse to write onto an input, or onto anything that exists.

    What exists may be replaced where that was asked for, but an input never.

    Args:
        outputs: Files to be written.
        inputs: Files that are read; names that are not files here, as URLs, are passed over.
        overwrite: Whether existing files may be replaced. An input is never replaced.

    Raises:
        SettingError: An output is an input, by whatever name or link, or exists.
    """
    read = [Path(item) for item in inputs]
    for output in outputs:
        for item in read:
            if _same(output, item):
                raise SettingError(
                    f"{output} is an input of this command, and would be lost: name another file with --output"
                )
        if not overwrite and (output.exists() or output.is_symlink()):
            raise SettingError(f"{output} exists: name another file with --output, or replace it with --overwrite")


def _same(output: Path, item: Path) -> bool:
    if os.path.realpath(output) == os.path.realpath(item):
        return True
    try:
        return output.samefile(item)  # a hard link, or a disk that does not tell capitals apart
    except OSError:  # one of them does not exist
        return False
