"""Checks of outputs against inputs and against what exists. Nothing is overwritten unless that was asked for."""

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medembed.errors import SettingError
from medembed.rows.sources import STDIN
from medembed.storage import paths
from medembed.storage.places import store_around


def check_outputs(outputs: Iterable[Path], inputs: Iterable[str | Path] = (), *, overwrite: bool) -> None:
    """Refuse to write onto an input, into a store of ours, or onto anything that exists.

    What exists may be replaced where that was asked for, but an input or a store never. An empty folder holds nothing to lose.

    Args:
        outputs: Files and folders to be written.
        inputs: Files that are read; ``-`` is the file that standard input comes from; names that are not files here, as URLs, are
            passed over.
        overwrite: Whether existing files may be replaced. An input is never replaced.

    Raises:
        SettingError: An output is an input, by whatever name or link, lies in a store, or exists.
    """
    given = [os.fspath(item) for item in inputs]
    read, piped = [Path(item) for item in given if item != STDIN], STDIN in given
    for output in outputs:
        if (piped and _is_standard_input(output)) or any(_same(output, item) for item in read):
            raise SettingError(f"{output} is an input of this command, and would be lost: name another place")
        if (store := store_around(output)) is not None:
            raise SettingError(f"{output} lies in {store}, a store of medembed: name a place outside of it")
        if not overwrite and os.path.lexists(output) and not _is_empty_folder(output):
            raise SettingError(f"{output} exists: name another place, or replace it with --overwrite")


@contextmanager
def all_or_none(outputs: Collection[Path]) -> Iterator[None]:
    """Remove the new ones among some files where an error ends the block: the same command then goes on.

    Args:
        outputs: Files that are written inside, each whole.
    """
    new = [path for path in outputs if not os.path.lexists(path)]
    try:
        yield
    except BaseException:
        for path in new:
            paths.remove(path.parent, path.name)
        raise


def check_apart(target: Path, source: Path) -> None:
    """Refuse to copy a folder into itself.

    Args:
        target: What is written.
        source: The folder that is read.

    Raises:
        SettingError: The target lies in the source, by whatever link.
    """
    if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(source)):
        raise SettingError(f"{target} lies in {source}, which is an input of this command: name a folder outside of it")


def _same(output: Path, item: Path) -> bool:
    if os.path.realpath(output) == os.path.realpath(item):
        return True
    try:
        return output.samefile(item)  # a hard link, or a disk that does not tell capitals apart
    except OSError:  # one of them does not exist
        return False


def _is_standard_input(output: Path) -> bool:
    """Tell whether standard input is read from this file, as in ``medembed encode - -o n.jsonl < n.jsonl``."""
    try:
        return os.path.samestat(output.stat(), os.fstat(sys.stdin.fileno()))
    except (OSError, ValueError):  # no such output, or a standard input that is no file
        return False


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())
