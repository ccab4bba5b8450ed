"""Files that appear whole, folders held by one process at a time, and hashes that find a changed byte."""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medembed.errors import MedEmbedError
from medembed.extras import require
from medembed.storage import paths

# what a folder that replaces an earlier one names its own files in
LISTING = "medembed-files.json"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Force a file to disk, so that a power cut cannot leave an empty file under the final name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have a file written aside and move it into place; after an error nothing is left.

    Args:
        path: Where it belongs.
        write: Fills the file it is given.

    Raises:
        OSError: The disk is full, broken or read-only.
    """
    # two processes may write the same file at once: each writes its own aside
    aside = path.with_name(f"{path.name}.{os.getpid()}.aside")
    try:
        write(aside)
        flush(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_hashed(folder: Path, name: Callable[[str], str], write: Callable[[Path], object]) -> tuple[Path, str]:
    """Have a file written aside, hash it, and move it into place under a name that holds the hash.

    Args:
        folder: Where it belongs.
        name: The file's name, from the SHA-256 of its bytes.
        write: Fills the file it is given.

    Returns:
        The file and its SHA-256.

    Raises:
        OSError: The disk is full, broken or read-only.
    """
    aside = folder / f"{name('new')}.{os.getpid()}.aside"
    try:
        write(aside)
        flush(aside)
        digest = file_sha256(aside)
        return aside.replace(folder / name(digest)), digest
    finally:
        aside.unlink(missing_ok=True)


def write_text_whole(path: Path, text: str) -> None:
    """Write a small text file aside and move it into place."""
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_listing(folder: Path) -> None:
    """Name the files of a folder with their SHA-256, so that a later version may replace it."""
    names = {path.relative_to(folder).as_posix(): file_sha256(path) for path in folder.rglob("*") if path.is_file()}
    write_text_whole(folder / LISTING, json.dumps(dict(sorted(names.items())), indent=1) + "\n")


def is_ours(folder: Path) -> bool:
    """Whether a folder holds what :func:`write_listing` named, unchanged, and nothing else; an empty one does.

    Raises:
        UnsafePathError: It holds a link.
    """
    paths.check_tree(folder)
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listing = present.pop(LISTING, None)
    if listing is None:
        return not any(folder.iterdir())
    try:
        named = json.loads(listing.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(named == {name: file_sha256(path) for name, path in present.items()})


@contextmanager
def hold(folder: Path, wait_s: float, busy: type[MedEmbedError], advice: str) -> Iterator[None]:
    """Keep a folder to ourselves; the system frees it when the process dies, however it dies.

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
        write_text_whole(holder, f"process {os.getpid()} on {platform.node() or 'this machine'}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
