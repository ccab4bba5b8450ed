"""Where rows come from: files, folders, globs, URLs and standard input, opened and decompressed, watched for changes."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from medembed.errors import InputFileError
from medembed.extras import require

STDIN = "-"
FORMATS = ("jsonl", "csv", "tsv", "parquet", "files", "lines")
# a text file is a document of its own, as clinical systems export notes; --format lines for one text a line
BY_ENDING = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "files",
    ".md": "files",
}
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class Source:
    """One file of rows.

    Attributes:
        name: Its path or URL, as rows refer to it.
        short: The same below the folder it was found in; what ids of whole files are made of.
        format: One of :data:`FORMATS`.
        size: Bytes on disk; None where that is not known.
        system: The fsspec file system; None for standard input.
    """

    name: str
    short: str
    format: str
    size: int | None
    system: Any = field(default=None, repr=False, compare=False)

    @contextmanager
    def open(self, on_bytes: Callable[[int], object]) -> Iterator[IO[bytes]]:
        """The file's bytes, decompressed by its ending.

        Args:
            on_bytes: Called with numbers of bytes as they are read from the file itself, before decompression.

        Raises:
            InputFileError: It cannot be read, or it changed meanwhile: then what was read is neither the old nor the new.
        """
        if self.system is None:
            yield sys.stdin.buffer
            return
        before = self._identity()
        with ExitStack() as stack:
            try:
                raw = stack.enter_context(self.system.open(self.name, "rb"))
            except (OSError, PermissionError) as error:
                raise InputFileError(f"{self.name} cannot be opened ({type(error).__name__})") from error
            counted = io.BufferedReader(_Counted(raw, on_bytes), buffer_size=1 << 20)
            yield stack.enter_context(self._decompressed(counted))
        if self._identity() != before:
            raise InputFileError(
                f"{self.name} changed while it was read: run the same command again when nothing writes to it; what has not changed "
                "is not embedded twice"
            )

    def _identity(self) -> str:
        """What tells one content of the file from another: size and time, or a store's tag."""
        self.system.invalidate_cache()
        try:
            return str(self.system.ukey(self.name))
        except FileNotFoundError as error:
            raise InputFileError(f"{self.name} is not there any more") from error

    def _decompressed(self, raw: Any) -> Any:
        codec = COMPRESSED.get(os.path.splitext(self.name)[1])  # noqa: PTH122 - may be a URL
        if codec is None:
            return raw
        arrow = require("pyarrow")  # unlike most readers, an error where the stream is cut short
        stream = arrow.CompressedInputStream(arrow.PythonFile(raw, "r"), codec)
        return io.BufferedReader(stream, buffer_size=1 << 20)


class _Counted(io.RawIOBase):
    """A file that tells how much of it is read."""

    def __init__(self, file: Any, on_bytes: Callable[[int], object]) -> None:
        self._file, self._on_bytes = file, on_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        read = self._file.read(len(buffer))
        buffer[: len(read)] = read
        self._on_bytes(len(read))
        return len(read)


def find(patterns: Sequence[str], format: str | None = None) -> list[Source]:  # noqa: A002 - what the option is called
    """Files behind paths, folders, globs and URLs, in the order given; within a folder or a glob by name.

    Args:
        patterns: ``notes.jsonl``, ``notes/``, ``notes/*.csv.gz``, ``s3://bucket/notes/*.parquet``; ``-`` is standard input.
        format: One of :data:`FORMATS` for all; None to go by their endings. Standard input is JSON lines by default.

    Returns:
        At least one source.

    Raises:
        InputFileError: Nothing is there, or an ending is unknown.
        MissingExtraError: A URL's file system needs a package that is not installed; the message names it.
    """
    if format is not None and format not in FORMATS:
        raise InputFileError(f"format {format!r} is unknown: choose one of {', '.join(FORMATS)}")
    if not patterns:
        raise InputFileError("nothing to index: give files, folders, globs, URLs, or - for standard input")
    found = [source for pattern in patterns for source in _behind(os.fspath(pattern), format)]
    names = [source.name for source in found]
    if twice := sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
        raise InputFileError(f"{twice[0]} is named twice: every row of it would be a duplicate")
    return found


def total_size(found: Sequence[Source]) -> int | None:
    """Bytes of all sources together; None where one is unknown."""
    sizes = [source.size for source in found if source.size is not None]
    return sum(sizes) if len(sizes) == len(found) else None


def _behind(pattern: str, format: str | None) -> list[Source]:  # noqa: A002
    if pattern == STDIN:
        return [Source("standard input", "standard input", format or "jsonl", None)]
    system, path = _system(pattern)
    if system.isdir(path):
        base = path.rstrip("/") + "/"
        names = [name for name in sorted(system.find(path)) if format is not None or _format(name) is not None]
        if not names:
            raise InputFileError(
                f"{pattern} holds no file that can be read: expected {', '.join(BY_ENDING)}, also with .gz or .zst"
            )
        return [_source(system, name, name.removeprefix(base), format) for name in names]
    names = sorted(system.glob(path)) if any(sign in pattern for sign in "*?[") and not system.exists(path) else [path]
    names = [name for name in names if system.isfile(name)]
    if not names:
        raise InputFileError(f"there is no file {pattern}")
    return [_source(system, name, name.rsplit("/", 1)[-1], format) for name in names]


def _system(pattern: str) -> tuple[Any, str]:
    try:
        system, path = require("fsspec").core.url_to_fs(os.path.expanduser(pattern))  # noqa: PTH111 - may be a URL
    except (ImportError, ValueError) as error:
        scheme = pattern.partition("://")[0]
        raise InputFileError(
            f"{pattern}: files at {scheme}:// cannot be reached ({error}). fsspec brings them: pip install 'fsspec[{scheme}]'"
        ) from error
    return system, path


def _format(name: str) -> str | None:
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return BY_ENDING.get(os.path.splitext(name)[1])  # noqa: PTH122 - may be a URL


def _source(system: Any, name: str, short: str, format: str | None) -> Source:  # noqa: A002
    chosen = format or _format(name)
    if chosen is None:
        raise InputFileError(
            f"{name}: its ending is unknown; expected {', '.join(BY_ENDING)}, also with .gz or .zst, or say --format"
        )
    size = system.size(name)
    return Source(name, short, chosen, size, system)
