"""Places in a store's folder. Folders are also recognized here as stores of ours."""

import os
from pathlib import Path
from typing import Any

from medembed import border
from medembed.errors import CorpusDamagedError
from medembed.storage import paths

MANIFEST, SHARDS, DERIVED, REJECTS = "manifest.json", "shards", "derived", "rejects.jsonl"
LOCK, HOLDER = ".lock", "holder.txt"
# in the folder of shards: what a run hands to those who encode, gone when it ends
STAGING = "staging"
# what only the manifest of a store has: the second and third are those of format 1
MARKS = ("encoding", "embedding", "codec")


def entries(root: Path, name: str) -> list[Path]:
    """Files and folders that lie directly in a folder below ``root``.

    Links are left out. There are none where the folder does not exist.
    """
    folder = paths.below(root, name) if name else root
    return sorted(path for path in folder.iterdir() if not path.is_symlink()) if folder.is_dir() else []


def discard(root: Path, path: Path) -> None:
    """Remove a file or a folder below ``root``. Links are left alone, and a missing path is fine."""
    name = path.relative_to(root).as_posix()
    if path.is_symlink():
        return
    if path.is_dir():
        paths.remove_folder(root, name)
    else:
        paths.remove(root, name)


def is_store(folder: str | Path, system: Any = None) -> bool:
    """Tell whether a folder is a store of ours. It may be of any kind and format, finished or not.

    Args:
        folder: Its path, or its name on ``system``.
        system: An fsspec file system; None for this machine's disks.
    """
    is_folder, is_file = (os.path.isdir, os.path.isfile) if system is None else (system.isdir, system.isfile)
    if not is_folder(f"{folder}/{SHARDS}"):
        return False
    return bool(is_file(f"{folder}/{LOCK}")) or _has_mark(f"{folder}/{MANIFEST}", system)


def _has_mark(manifest: str, system: Any) -> bool:
    try:
        if system is None:
            content: object = border.read_json(Path(manifest), error=CorpusDamagedError)
        else:
            told = system.cat_file(manifest, end=border.MOST_JSON_BYTES + 1)
            content = border.parse_json(told, source=manifest, error=CorpusDamagedError)
    except (OSError, CorpusDamagedError):
        return False
    return isinstance(content, dict) and any(mark in content for mark in MARKS)


def store_around(path: Path, known: dict[Path, bool] | None = None) -> Path | None:
    """The store that a file lies in, or None.

    Args:
        path: The file.
        known: Answers by folder, kept between calls for many files.
    """
    known = {} if known is None else known
    for folder in path.absolute().parents:
        if folder not in known:
            known[folder] = is_store(folder)
        if known[folder]:
            return folder
    return None
