"""Safe names and files below a folder that was handed over. No link can lead them elsewhere.

A corpus, a token index, a work folder or a recipe may come from somebody else. Names in their manifests and links among their
files must not make medembed write to, remove or wait for anything outside of them. The folder itself may be reached through a
link: its name came from the user.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TextIO

from medembed.errors import UnsafePathError

# Windows has neither: there a name is checked, and then used
_DESCRIPTORS = os.unlink in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_FOLDER: int = getattr(os, "O_DIRECTORY", 0)


def plain_name(name: str) -> str:
    """Check a name that data give to a file below a folder.

    Args:
        name: Such as ``"shards/000001.parquet"``.

    Returns:
        The same name.

    Raises:
        UnsafePathError: It is empty or absolute, or holds ``..``, a drive, a backslash or a control character.
    """
    parts = name.split("/")
    odd = "\\" in name or ":" in parts[0] or not name.isprintable()
    # no file system of today has longer names
    long = any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts) or len(name) > 4000
    if odd or long or any(part in ("", ".", "..") for part in parts):
        raise UnsafePathError(
            f"{name[:300]!r} is not a name below its folder: expected a relative one without '..'. Do not use this data unless you trust "
            "whoever made it; a name of that kind overwrites or removes files elsewhere"
        )
    return name


def below(root: Path, name: str) -> Path:
    """Resolve a name that data give to a file below a folder.

    Args:
        root: The folder; need not exist.
        name: A relative name, ``/`` between its parts.

    Returns:
        ``root/name``, no part of which below ``root`` is a link. It need not exist.

    Raises:
        UnsafePathError: The name leads out of the folder, or a part of it is a link.
    """
    path = root
    for part in PurePosixPath(plain_name(name)).parts:
        path = path / part
        if path.is_symlink():
            raise _link(root, path)
    return path


def check_tree(root: Path) -> None:
    """Check that a folder holds nothing but plain files and folders. Folders of any depth are checked.

    Raises:
        UnsafePathError: There is a link in it, a pipe, a socket or a device.
    """
    waiting = [root]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue  # not made yet, or removed meanwhile
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                    raise _link(root, Path(entry.path))


def remove(root: Path, name: str) -> None:
    """Remove a file below a folder. A missing file is fine.

    Args:
        root: The folder.
        name: A relative name, ``/`` between its parts.

    Raises:
        UnsafePathError: The name leads out of the folder, or a part of it is a link.
    """
    path = below(root, name)
    if not _DESCRIPTORS:
        path.unlink(missing_ok=True)
        return
    try:
        with _opened(root, path.parent) as folder:
            os.unlink(path.name, dir_fd=folder)
    except FileNotFoundError:
        return


def remove_folder(root: Path, name: str) -> None:
    """Remove a folder below a folder with all that it holds. A missing folder is fine.

    Args:
        root: The folder that stays.
        name: A relative name, ``/`` between its parts.

    Raises:
        UnsafePathError: The name leads out of the folder, or a part of it is a link.
    """
    path = below(root, name)
    try:
        if _DESCRIPTORS:
            with _opened(root, path.parent) as folder:
                shutil.rmtree(path.name, dir_fd=folder)
        else:
            shutil.rmtree(path)
    except FileNotFoundError:
        return


def remove_empty(root: Path, name: str) -> None:
    """Remove a folder below a folder, unless a file is left in it. Empty folders inside go in any case.

    Args:
        root: The folder that stays.
        name: A relative name, ``/`` between its parts.

    Raises:
        UnsafePathError: The name leads out of the folder, or a part of it is a link.
    """
    for home, _, _ in os.walk(below(root, name), topdown=False):
        with suppress(OSError):  # not empty
            Path(home).rmdir()


@contextmanager
def appending(root: Path, name: str) -> Iterator[TextIO]:
    """Open a file of our own for adding lines. A missing file is made.

    Args:
        root: Its folder, which exists.
        name: A relative name, ``/`` between its parts.

    Raises:
        UnsafePathError: The name leads out of the folder, or what is there is a link or has a second name elsewhere.
    """
    path = below(root, name)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NOFOLLOW
    if _DESCRIPTORS:
        with _opened(root, path.parent) as folder:
            number = os.open(path.name, flags, 0o666, dir_fd=folder)
    else:
        number = os.open(path, flags, 0o666)
    with os.fdopen(number, "a", encoding="utf-8") as file:
        _check_one_name(os.fstat(number), path)
        yield file


def check_own(path: Path) -> None:
    """Check that writing into a file changes nothing elsewhere. A missing file is fine.

    Raises:
        UnsafePathError: It is not a plain file, or it has a second name.
    """
    if os.path.lexists(path):
        _check_one_name(path.lstat(), path)


def _check_one_name(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise UnsafePathError(
            f"{path} is not a plain file with one name: writing into it could change a file elsewhere. Remove it: rm {path}"
        )


@contextmanager
def _opened(root: Path, folder: Path) -> Iterator[int]:
    """The descriptor of a folder. It is reached from its root without following a link."""
    number = os.open(root, os.O_RDONLY | _FOLDER)
    try:
        for part in folder.relative_to(root).parts:
            inner = os.open(part, os.O_RDONLY | _FOLDER | _NOFOLLOW, dir_fd=number)
            os.close(number)
            number = inner
        yield number
    finally:
        os.close(number)


def _link(root: Path, path: Path) -> UnsafePathError:
    what = "a link" if path.is_symlink() else "not a plain file"
    return UnsafePathError(
        f"{path} is {what}, and {root} must hold plain files and folders only: put a copy of what it stands for in its place, "
        "and do not use the folder unless you trust whoever made it"
    )
