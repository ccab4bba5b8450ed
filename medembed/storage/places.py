"""Places in a store's folder. Folders are also recognized here as stores of ours."""

from pathlib import Path

from medembed import border
from medembed.errors import CorpusDamagedError
from medembed.storage import paths

MANIFEST, SHARDS, DERIVED, REJECTS = "manifest.json", "shards", "derived", "rejects.jsonl"
LOCK = ".lock"
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


def is_store(folder: Path) -> bool:
    """Tell whether a folder is a store of ours. It may be of any kind and format, finished or not."""
    if not (folder / SHARDS).is_dir():
        return False
    return (folder / LOCK).is_file() or _has_mark(folder / MANIFEST)


def _has_mark(manifest: Path) -> bool:
    try:
        content = border.read_json_object(manifest, error=CorpusDamagedError)
    except (OSError, CorpusDamagedError):
        return False
    return any(mark in content for mark in MARKS)


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
