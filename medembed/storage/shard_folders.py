"""What every folder of shards keeps to, an embedded corpus as a token index: one writer, and a manifest written last."""

import json
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError

from medembed import __version__
from medembed.errors import (
    CorpusBusyError,
    CorpusDamagedError,
    CorpusError,
    CorpusUnfinishedError,
    CorpusVersionError,
)
from medembed.storage import paths
from medembed.storage.durable import file_sha256, hold, write_text_whole

MANIFEST, SHARDS = "manifest.json", "shards"
Mode = Literal["new", "append", "overwrite"]
FileName = Annotated[str, AfterValidator(paths.plain_name)]
"""A manifest's name of a file below its folder; one that leads out of it makes the manifest unreadable."""
# names that only these folders' writers give; nothing else is ever swept
OURS = re.compile(r"((\d{6}|codec)\.[0-9a-f]+|deleted|lists)\.[0-9a-f]+\.(parquet|arrow|safetensors)")

Read = TypeVar("Read", bound=BaseModel)


# what the manifest of one kind has and those of the others have not: who opens the wrong folder must not be told that it is damaged
KINDS = {"embedding": "embedded corpus", "codec": "token index"}


@dataclass(frozen=True)
class Kind:
    """What errors call a folder, and what they advise.

    Attributes:
        name: For instance ``"embedded corpus"``.
        make: How one is made; ``{path}`` stands for the folder.
        again: What mends one that is unfinished or damaged.
        format: Newest version of its layout that is understood.
    """

    name: str
    make: str
    again: str
    format: int


def kind_of(content: Any) -> str | None:
    """Name of the kind of folder that a manifest's content belongs to; None for neither, as a damaged one may be."""
    return next((name for mark, name in KINDS.items() if mark in content), None)


def read_manifest(path: Path, kind: Kind, manifest: type[Read]) -> Read:
    """The manifest of a finished folder.

    Args:
        path: The folder.
        kind: What it should be.
        manifest: Class of its manifest.

    Raises:
        CorpusError: There is nothing of this kind at all, or something of another kind.
        CorpusUnfinishedError: Shards, but no manifest yet.
        CorpusVersionError: Written by a newer medembed.
        CorpusDamagedError: Not readable as a manifest.
        UnsafePathError: The folder holds a link.
    """
    paths.check_tree(path)
    file = path / MANIFEST
    if not file.is_file():
        if (path / SHARDS).is_dir():
            raise CorpusUnfinishedError(f"{path} has no {MANIFEST}: making it has not come to its end; {kind.again}")
        raise CorpusError(f"{path} is no {kind.name}: make one with {kind.make.format(path=path)}")
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        found, writer = int(content["format"]), content.get("medembed", "?")
        held = kind_of(content)
        if found <= kind.format and held in (None, kind.name):
            return manifest.model_validate(content)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise CorpusDamagedError(
            f"{file} cannot be read as the manifest of this {kind.name} ({type(error).__name__}): delete it and {kind.again}"
        ) from error
    if found <= kind.format:
        raise CorpusError(f"{path} is no {kind.name}: it is a whole {held}, so give another folder")
    raise CorpusVersionError(
        f"{path} was written by medembed {writer} in format {found}; this is {__version__}, which reads up to "
        f"format {kind.format}: pip install --upgrade medembed"
    )


def write_manifest(path: Path, manifest: BaseModel) -> None:
    """Write the manifest, which makes everything it names exist at once."""
    write_text_whole(path / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


@contextmanager
def writing(folder: Path, kind: Kind) -> Iterator[None]:
    """Keep a folder to ourselves while it is written.

    Raises:
        CorpusBusyError: Another process writes to it.
        CorpusError: Nothing can be written there, or the disk is full; what is whole stays.
        UnsafePathError: The folder holds a link.
    """
    paths.check_tree(folder)
    try:
        with hold(folder, 0, CorpusBusyError, "Wait until it has ended, or write to another folder"):
            (folder / SHARDS).mkdir(exist_ok=True)
            yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        raise CorpusError(
            f"{folder} cannot be written ({why}): what was finished is kept; when that is mended, {kind.again}"
        ) from error


def intact_files(folder: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    """Files an earlier run has left, with their SHA-256, where their bytes are those that their name tells of.

    Args:
        folder: Where they lie.
        pattern: Glob over names of the form ``<what>.<content>.<sha256>.<suffix>``.
    """
    for path in folder.glob(pattern):
        digest = file_sha256(path)
        if digest.startswith(path.name.split(".")[2]):
            yield path, digest


def is_intact(folder: Path, file: str, digest: str) -> bool:
    """Whether a file is there with the bytes that were written."""
    path = folder / file
    return path.is_file() and file_sha256(path) == digest


def sweep(folder: Path, named: Collection[str], patterns: Collection[str]) -> None:
    """Remove files of earlier runs, which a finished manifest does not name."""
    for path in [path for pattern in (f"{SHARDS}/*", *patterns) for path in folder.glob(pattern)]:
        name = path.relative_to(folder).as_posix()
        if path.is_file() and OURS.fullmatch(path.name) and name not in named:
            paths.remove(folder, name)
