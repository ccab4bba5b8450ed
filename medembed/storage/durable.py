"""Files and folders that appear whole.

A folder is held by one process at a time, and hashes find a changed byte.
"""

import errno
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medembed import border
from medembed.errors import CorruptFileError, MedEmbedError, StorageFullError, WriteError
from medembed.extras import require
from medembed.storage import asides, paths

# what a folder that replaces an earlier one names its own files in
LISTING = "medembed-files.json"
# hexadecimal digits of a file's hash in its name: no two of 10⁸ files are likely to share them
SHORT = 16
# bytes of a file that were never written: a file of ours has a few pages of them at most
MOST_HOLES = 1 << 30


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_sha256(path: Path, digest: str) -> bool:
    """Tell whether a file is there with the bytes of this SHA-256.

    A file that is holes for the most part has others: nobody writes one here, and reading a terabyte of nothing takes an hour.
    """
    return is_solid(path) and file_sha256(path) == digest


def is_solid(path: Path) -> bool:
    """Tell whether a path is an ordinary file with bytes in it: no pipe, no device, and no hole for the most part."""
    return path.is_file() and not _is_hollow(path)


def _is_hollow(path: Path) -> bool:
    """Whether more than :data:`MOST_HOLES` bytes of a file are on no disk."""
    if not hasattr(os, "SEEK_DATA"):
        return False
    with path.open("rb") as file:
        size, place, holes = os.fstat(file.fileno()).st_size, 0, 0
        while place < size and holes <= MOST_HOLES:
            try:
                data = os.lseek(file.fileno(), place, os.SEEK_DATA)
            except OSError as error:
                # there is only a hole behind; file systems that know no holes have none
                data = size if error.errno == errno.ENXIO else place
                holes += data - place
                break
            holes += data - place
            place = os.lseek(file.fileno(), data, os.SEEK_HOLE)
    return holes > MOST_HOLES


def flush(path: Path) -> None:
    """Force a file to disk. A power cut then cannot leave an empty file under the final name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Fill a file beside its place, then move it there. After an error nothing is left.

    Its permissions are those of the process's umask, whatever the library that writes it would give it.

    Args:
        path: Where it belongs; its folder exists. What is there is replaced; of a link, the link.

    Yields:
        An empty file with the same name in another folder.

    Raises:
        StorageFullError: The disk or the quota is used up.
        WriteError: The folder cannot be written to.
    """
    with disk_errors(path), asides.beside(path) as made:
        mode = _new_file(made)
        yield made
        _settle(made, mode)
        if path.is_dir() and not path.is_symlink():
            raise WriteError(f"{path} is a folder: name a file")
        made.replace(path)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have a file filled beside its place and moved there. See :func:`whole`.

    Args:
        path: Where it belongs.
        write: Fills the file it is given.

    Raises:
        StorageFullError: The disk or the quota is used up.
        WriteError: The folder cannot be written to.
    """
    with whole(path) as made:
        write(made)


def write_text_whole(path: Path, text: str) -> None:
    """Write a small text file as UTF-8. See :func:`whole`."""
    write_whole(path, lambda made: made.write_text(text, encoding="utf-8"))


def write_hashed(folder: Path, name: Callable[[str], str], write: Callable[[Path], object]) -> tuple[Path, str]:
    """Have a file filled, then move it into place. Its new name holds its hash. See :func:`whole`.

    Args:
        folder: Where it belongs.
        name: The file's name, from the SHA-256 of its bytes.
        write: Fills the file it is given.

    Returns:
        The file and its SHA-256.

    Raises:
        StorageFullError: The disk or the quota is used up.
        WriteError: The folder cannot be written to.
    """
    path = folder / name("new")
    with disk_errors(path), asides.beside(path) as made:
        mode = _new_file(made)
        write(made)
        _settle(made, mode)
        digest = file_sha256(made)
        return made.replace(folder / name(digest)), digest


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Have a folder filled beside its place and moved there.

    After an error nothing is left, and an earlier folder stays.

    Permissions are those of the process's umask, as with :func:`whole`.

    Args:
        path: Where it belongs. A folder that is there is replaced: callers make sure that it is theirs.
        write: Fills the empty folder it is given.

    Raises:
        StorageFullError: The disk or the quota is used up.
        WriteError: The parent cannot be written to.
    """
    with disk_errors(path), asides.beside(path) as made:
        mode = _new_file(made)
        made.unlink()
        made.mkdir()
        folder_mode = made.stat().st_mode & 0o7777
        write(made)
        paths.check_tree(made)
        for item in (made, *made.rglob("*")):
            if item.is_dir():
                item.chmod(folder_mode)
            else:
                _settle(item, mode)
        _replace_folder(path, made)


def _replace_folder(path: Path, made: Path) -> None:
    if not os.path.lexists(path):
        made.replace(path)
        return
    earlier = asides.put_away(path, made)
    try:
        made.replace(path)
    except OSError:
        earlier.replace(path)
        raise


def _new_file(path: Path) -> int:
    """Make an empty file. The permissions that the umask gives it are returned."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return os.fstat(number).st_mode & 0o777
    finally:
        os.close(number)


def _settle(path: Path, mode: int) -> None:
    """Give a finished file its permissions, and force it to disk. The library that wrote it may have changed them."""
    if path.stat().st_mode & 0o777 != mode:
        path.chmod(mode)
    flush(path)


@contextmanager
def disk_errors(
    path: Path, advice: str = "Make room there, or name a place on another disk; then run the same command again"
) -> Iterator[None]:
    """Turn a library's error on a full disk into one of ours.

    Args:
        path: What is written.
        advice: What to do.

    Raises:
        StorageFullError: The disk or the quota is used up.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        raise StorageFullError.of(
            f"no room left on the disk of {path}: what was finished is kept, and nothing half-written. {advice}",
            errno.ENOSPC,
        ) from error


def _is_full(error: BaseException) -> bool:
    """Tell whether an error means a full disk.

    Errors of the system carry a number. Safetensors and Arrow put it into words.
    """
    numbers = (errno.ENOSPC, errno.EDQUOT)
    words = [f"(os error {number})" for number in numbers] + [os.strerror(number) for number in numbers]
    return (isinstance(error, OSError) and error.errno in numbers) or any(word in str(error) for word in words)


def write_listing(folder: Path) -> None:
    """Name the files of a folder with their SHA-256. A later version may then replace the folder."""
    names = {path.relative_to(folder).as_posix(): file_sha256(path) for path in folder.rglob("*") if path.is_file()}
    write_text_whole(folder / LISTING, json.dumps(dict(sorted(names.items())), indent=1) + "\n")


def is_ours(folder: Path) -> bool:
    """Tell whether a folder holds exactly what :func:`write_listing` named.

    It has to hold that unchanged, and nothing else. True for an empty folder.

    Raises:
        UnsafePathError: It holds a link.
    """
    paths.check_tree(folder)
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listing = present.pop(LISTING, None)
    if listing is None:
        return not any(folder.iterdir())
    try:
        named = border.read_json(listing, error=CorruptFileError)
    except CorruptFileError:
        return False
    return bool(named == {name: file_sha256(path) for name, path in present.items()})


@contextmanager
def hold(folder: Path, wait_s: float, busy: type[MedEmbedError], advice: str) -> Iterator[None]:
    """Keep a folder to ourselves. The system frees it when the process ends, however it ends.

    What killed processes left half-written in it is removed.

    Args:
        folder: Made if missing.
        wait_s: How long to wait for its holder to end.
        busy: The error to raise where it is still held then.
        advice: What the reader of that error can do.

    Raises:
        MedEmbedError: Of type ``busy``; the message names the process that holds the folder.
        UnsafePathError: The folder's lock is a link, or a file with a second name elsewhere.
    """
    filelock = require("filelock")
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / "holder.txt"
    paths.check_own(folder / ".lock")
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=wait_s)
    except filelock.Timeout as error:
        who = holder.read_text().strip() if holder.exists() else "an unknown process"
        raise busy(f"{folder} is in use by {who}. {advice}") from error
    try:
        asides.sweep_tree(folder)
        write_text_whole(holder, f"process {os.getpid()} on {platform.node() or 'this machine'}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
