"""Content-addressed folders: parts that appear whole and carry their hash, and a manifest written last."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medembed import border
from medembed.errors import RecipeError, WorkFolderBusyError
from medembed.storage import durable, paths
from medembed.storage.durable import (
    SHORT,
    disk_errors,
    file_sha256,
    has_sha256,
    write_folder,
    write_hashed,
    write_text_whole,
)

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Artifact:
    """A finished stage on disk.

    Attributes:
        folder: Where it lies.
        manifest: What was built from what: stage, fingerprint, config, inputs, versions, files with hashes, summary.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def summary(self) -> dict[str, Any]:
        """Counts and figures the stage reported."""
        summary: dict[str, Any] = self.manifest["summary"]
        return summary

    def parts(self, kind: str) -> list[Path]:
        """Files of one kind, in order."""
        return [self.folder / name for name in sorted(self.manifest["files"]) if name.startswith(f"{kind}/part-")]


class ArtifactWriter:
    """A stage's folder while it is being filled. Files that are there already and intact are kept.

    Args:
        folder: ``work/<stage>/<fingerprint>``; made if missing. Parts whose bytes do not match the hash in their
            name are deleted, so that the stage writes them again.

    Raises:
        UnsafePathError: The folder holds a link.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        paths.check_tree(folder)
        self._parts = {path.relative_to(folder).as_posix().rsplit(".", 2)[0]: path for path in _intact_parts(folder)}

    def part(self, kind: str, index: int) -> Path | None:
        """A part that is there, or None."""
        return self._parts.get(_part_name(kind, index))

    def write_part(self, kind: str, index: int, suffix: str, write: Callable[[Path], object]) -> Path:
        """Have one part filled, and move it into place under a name that holds its hash.

        Args:
            kind: Name of the group of parts, a subfolder.
            index: Number of the part.
            suffix: Ending without dot, for instance ``"parquet"``.
            write: Fills the file it is given.

        Returns:
            The part's final path.

        Raises:
            StorageFullError: The disk or the quota is used up; nothing half-written stays behind.
        """
        home, name = self.folder / kind, _part_name(kind, index)
        home.mkdir(exist_ok=True)
        final, _ = write_hashed(home, lambda sha: f"{Path(name).name}.{sha[:SHORT]}.{suffix}", write)
        self._parts[name] = final
        return final

    def write_folder(self, name: str, write: Callable[[Path], object]) -> Path:
        """Have a folder filled and moved into place whole. An earlier folder of that name is replaced."""
        final = self.folder / name
        write_folder(final, write)
        return final

    def scratch(self, name: str) -> Path:
        """A folder for a stage's own resumable state. It is deleted when the stage is finished."""
        path = self.folder / "scratch" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self, header: dict[str, Any], summary: dict[str, Any]) -> Artifact:
        """Write the manifest, which is what makes the artefact exist.

        Args:
            header: Stage, fingerprint, config, inputs and versions.
            summary: Counts and figures for the table.

        Returns:
            The finished artefact.
        """
        paths.remove_folder(self.folder, "scratch")
        files = {path.relative_to(self.folder).as_posix(): file_sha256(path) for path in _files(self.folder)}
        manifest = {**header, "summary": summary, "files": files}
        write_text_whole(self.folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        return Artifact(self.folder, manifest)


def open_artifact(folder: Path) -> Artifact | None:
    """A finished and intact artefact, or None.

    Every file is hashed. Where one is missing or changed, the manifest is removed and so are broken parts: the stage then
    runs again and makes only what is gone.

    Raises:
        UnsafePathError: The folder holds a link, or the manifest names a file outside of it; nothing is removed then.
    """
    paths.check_tree(folder)
    manifest = open_manifest(folder)
    if manifest is None:
        return None  # never finished, or the manifest itself is damaged: both mean "build it"
    broken = [name for name, digest in manifest["files"].items() if not _is_intact(folder, name, digest)]
    if not broken:
        return Artifact(folder, manifest)
    for name in (MANIFEST, *broken):
        paths.remove(folder, name)
    return None


def open_manifest(folder: Path) -> dict[str, Any] | None:
    """A finished artefact's manifest, unverified, or None. This only reads."""
    try:
        manifest = border.read_json_object(folder / MANIFEST, error=RecipeError)
    except (FileNotFoundError, RecipeError):
        return None
    return manifest if _is_whole(manifest) else None


def _is_whole(manifest: dict[str, Any]) -> bool:
    """Whether all is there that later stages and tables read."""
    files, summary = manifest.get("files"), manifest.get("summary")
    return (
        isinstance(files, dict)
        and all(isinstance(digest, str) for digest in files.values())
        and isinstance(summary, dict)
        and type(summary.get("rows", 0)) is int
    )


def broken_files(folder: Path) -> list[str]:
    """Names of files whose hash is not the manifest's, or of the manifest itself. This only reads, for ``status``."""
    manifest = open_manifest(folder)
    if manifest is None:
        return [MANIFEST]
    return [name for name, digest in manifest["files"].items() if not _is_intact(folder, name, digest)]


@contextmanager
def hold(work: Path, wait_s: float) -> Iterator[None]:
    """Keep a work folder to ourselves. See ``medembed.storage.durable.hold``.

    Raises:
        WorkFolderBusyError: Another run still holds the folder after ``wait_s``.
        StorageFullError: The disk or the quota is used up, whichever library met it.
        UnsafePathError: The folder holds a link.
    """
    paths.check_tree(work)
    full = "Make room there, or move the folder to another disk and name it with execution.work=DIR; then run the same command again"
    advice = "Wait for it with execution.lock_wait_s=3600, or give another folder with execution.work=DIR"
    with disk_errors(work, full), durable.hold(work, wait_s, WorkFolderBusyError, advice):
        yield


def _part_name(kind: str, index: int) -> str:
    return f"{kind}/part-{index:05d}"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _intact_parts(folder: Path) -> Iterator[Path]:
    """Parts whose bytes match their name. The others are deleted."""
    for path in folder.glob("*/part-*.*.*"):
        if file_sha256(path)[:SHORT] == path.name.split(".")[1]:
            yield path
        else:
            paths.remove(folder, path.relative_to(folder).as_posix())


def _is_intact(folder: Path, name: str, digest: str) -> bool:
    return has_sha256(paths.below(folder, name), digest)
