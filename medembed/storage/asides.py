"""Places to write beside a file's or folder's own.

They are removed at the end. Those of a process that was killed are swept later.
"""

import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medembed.errors import WriteError

# Windows has no locks of this kind: what a killed process leaves there stays until it is removed by hand
if sys.platform != "win32":
    import fcntl

LEFTOVER = re.compile(r"\.medembed-[0-9a-f]{16}\.aside")
_LOCK, _NEW, _OLD = "lock", "new", "old"
# another process's sweep may take a folder between its making and its locking
_ATTEMPTS = 100


@contextmanager
def beside(place: Path) -> Iterator[Path]:
    """Give a path to write to. It is on the same disk as a place and has the same name.

    What killed processes left in the place's folder is removed first.

    Args:
        place: Where a file or folder belongs; its parent exists.

    Yields:
        A path that does not exist, in a folder that only the user may enter. At the end that folder is removed.

    Raises:
        WriteError: The parent does not exist, or cannot be written to.
        OSError: The disk is full.
    """
    sweep(place.parent)
    folder, lock = _locked_folder(place.parent)
    try:
        (folder / _NEW).mkdir()
        yield folder / _NEW / place.name
    finally:
        _remove(folder)
        os.close(lock)


def put_away(place: Path, made: Path) -> Path:
    """Move what stands at a place into the folder of :func:`beside`. It is removed with that folder.

    Args:
        place: A file, folder or link.
        made: The path that :func:`beside` gave.

    Returns:
        Where it is now.
    """
    return place.replace(made.parent.with_name(_OLD))


def sweep(folder: Path) -> None:
    """Remove what ended processes have left aside in a folder. What a running process writes is left alone."""
    for path in folder.glob(".medembed-*.aside"):
        if LEFTOVER.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            _sweep_one(path)


def sweep_tree(root: Path) -> None:
    """Sweep a folder and all folders below it."""
    for home, folders, _ in os.walk(root):
        for name in folders:
            if LEFTOVER.fullmatch(name):
                _sweep_one(Path(home, name))


def _sweep_one(folder: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        number = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        with suppress(OSError):  # killed before it had a lock, swept by another process meanwhile, or not ours to sweep
            folder.rmdir()
        return
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # its writer lives, or this disk has no locks
    else:
        with suppress(OSError):  # on a disk that became read-only it stays until the next sweep
            _remove(folder)
    finally:
        os.close(number)


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last. Where a process is killed here, what it leaves can then be swept too."""
    with suppress(FileNotFoundError):
        for path in (folder / _NEW, folder / _OLD):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        (folder / _LOCK).unlink()
        folder.rmdir()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise WriteError.of(
            f"nothing can be written into {folder.parent} ({error.strerror}): name a place in a folder that you may write to",
            error.errno,
        ) from error


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """A new folder that no other process can guess or enter. The descriptor that holds its lock comes with it."""
    for _ in range(_ATTEMPTS):
        folder = parent / f".medembed-{secrets.token_hex(8)}.aside"
        _make(folder)
        try:
            number = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue
        except OSError:
            folder.rmdir()
            raise
        if sys.platform != "win32":
            with suppress(OSError):  # a disk that has no locks: nothing is swept there
                fcntl.flock(number, fcntl.LOCK_EX)
        if (folder / _LOCK).exists():
            return folder, number
        os.close(number)
    raise OSError(f"no folder could be made in {parent}: other processes remove it at once")
