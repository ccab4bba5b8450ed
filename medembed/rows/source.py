"""One file of rows: opened, decompressed, watched for changes. The types of what is read from it are here too."""

import gzip
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from medembed.errors import InputFileError
from medembed.extras import require
from medembed.rows.dialect import Dialect

COMPRESSED = (".gz", ".zst")
BUFFER_BYTES = 1 << 18


@dataclass(slots=True)  # not frozen, which would double the time to make one
class Record:
    """Named values of a row, as the file has them.

    Attributes:
        line: Line, or number of the row where the format has no lines; from 1.
        values: By column or field.
    """

    line: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was left out. It has its place, the reason, and its id where there is one. It never has its text."""

    source: str
    line: int
    reason: str
    id: str | None = None


@dataclass(frozen=True)
class Source:
    """One file of rows.

    Attributes:
        name: Its path or URL, as rows refer to it.
        short: The folder it lies in and its name; what ids of whole files are made of.
        format: One of :data:`medembed.rows.readers.FORMATS`.
        size: Bytes on disk; None where that is not known.
        dialect: How it is written, where it is text.
        system: The fsspec file system; None for standard input.
    """

    name: str
    short: str
    format: str
    size: int | None
    dialect: Dialect = field(default_factory=Dialect)
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
            buffered = io.BufferedReader(_Counted(sys.stdin.buffer, on_bytes), buffer_size=BUFFER_BYTES)
            yield buffered
            return
        before = self._identity()
        with ExitStack() as stack:
            try:
                raw = stack.enter_context(self.system.open(self.name, "rb"))
            except (OSError, PermissionError) as error:
                raise InputFileError(f"{self.name} cannot be opened ({type(error).__name__})") from error
            counted = io.BufferedReader(_Counted(raw, on_bytes), buffer_size=BUFFER_BYTES)
            yield stack.enter_context(self._decompressed(counted))
        if self._identity() != before:
            raise InputFileError(
                f"{self.name} changed while it was read: run the same command again when nothing writes to it; what has not changed "
                "is not embedded twice"
            )

    def _identity(self) -> str:
        """A mark that differs where the file's content does.

        It is made of size and time, or is a store's tag.
        """
        self.system.invalidate_cache()
        try:
            return str(self.system.ukey(self.name))
        except FileNotFoundError as error:
            raise InputFileError(f"{self.name} is not there any more") from error

    def _decompressed(self, raw: Any) -> Any:
        ending = os.path.splitext(self.name)[1].lower()  # noqa: PTH122 - may be a URL
        if ending == ".gz":
            return io.BufferedReader(gzip.GzipFile(fileobj=raw), buffer_size=1 << 20)
        if ending == ".zst":
            arrow = require("pyarrow")  # unlike most readers, an error where the stream is cut short
            stream = arrow.CompressedInputStream(arrow.PythonFile(raw, "r"), "zstd")
            return io.BufferedReader(stream, buffer_size=1 << 20)
        return raw


class _Counted(io.RawIOBase):
    """A file that tells how much of it is read."""

    def __init__(self, file: Any, on_bytes: Callable[[int], object]) -> None:
        self._file, self._on_bytes = file, on_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        # one piece as it comes: a pipe's reader must not wait for a whole buffer
        read = (self._file.read1 if hasattr(self._file, "read1") else self._file.read)(len(buffer))
        buffer[: len(read)] = read
        self._on_bytes(len(read))
        return len(read)
