"""The dialect of text files: encoding, line ends, separators and quotes.

Separators and quotes are those of the fields of a table.
"""

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from medembed.errors import InputFileError, SettingError

# A longer line is not a text but a mistake, and must not be held in memory to find out.
MAX_LINE_BYTES = 16 << 20
PIECE_BYTES = 1 << 20
# what is looked at to tell UTF-16 and lone carriage returns from the usual
HEAD_BYTES = 1 << 16
SEPARATORS = (",", ";", "\t", "|")
_NAMED = {"tab": "\t", "\\t": "\t"}
# encodings in which a line end is more than one byte: these are turned into UTF-8 before lines are cut
_WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Dialect:
    """The dialect of the text files of a call.

    Attributes:
        delimiter: What separates the fields of a table; None for the tab in TSV, and in CSV for the comma, or for a semicolon, tab
            or bar where the first line has these and no comma.
        quote: What quotes fields; None where quotes are ordinary characters.
        encoding: Any that Python knows.
        header: Whether the first row of a table names the columns; without, they are named ``"1"``, ``"2"`` and so on.
        of_recipe: Whether messages name the settings of a recipe's source in place of a command's options.

    Raises:
        SettingError: A delimiter or quote of more than one character, both the same, or an unknown encoding.
    """

    delimiter: str | None = None
    quote: str | None = '"'
    encoding: str = "utf-8"
    header: bool = True
    of_recipe: bool = False

    def __post_init__(self) -> None:
        """Check the values, and take ``"tab"`` for a tab."""
        object.__setattr__(self, "delimiter", _NAMED.get(self.delimiter or "", self.delimiter))
        for name, value in (("delimiter", self.delimiter), ("quote", self.quote)):
            if value is not None and (len(value) != 1 or value in "\r\n\0"):
                raise SettingError(f"{name}: expected a single character, for instance ';' or tab")
        if self.delimiter is not None and self.delimiter == self.quote:
            raise SettingError("delimiter and quote are the same character: give two different ones")
        try:
            info = codecs.lookup(self.encoding)
            "".encode(self.encoding)  # refuses codecs that are not of text, as base64
        except LookupError as error:
            raise SettingError(
                f"encoding {self.encoding!r} is unknown: for instance utf-8, cp1252, latin-1 or utf-16"
            ) from error
        object.__setattr__(self, "encoding", info.name)

    @property
    def encoding_shown(self) -> str:
        """The encoding as messages name it."""
        return self.encoding.upper()

    def told(self, name: str, value: str = "") -> str:
        """A choice as the user makes it, for messages: ``--quote none``, in a recipe ``quote = "none"``."""
        if not self.of_recipe:
            return f"--{name} {value}".rstrip()
        return "header = false" if name == "no-header" else f'{name} = "{value.strip(chr(39))}"'

    def of_tables(self) -> bool:
        """Tell whether something was chosen that only tables of text have."""
        return (self.delimiter, self.quote, self.header) != (None, '"', True)

    @property
    def line_encoding(self) -> str:
        """The encoding of a line that :func:`lines` gave."""
        return "utf-8" if self.encoding in _WIDE else self.encoding


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line above :data:`MAX_LINE_BYTES`, which was skipped without being held.

    Attributes:
        n_quotes: How many quotes it held, which decides whether a quote is open behind it.
    """

    n_quotes: int


def text_stream(stream: IO[bytes], name: str, dialect: Dialect, *, keep_ends: bool = False) -> IO[bytes]:
    """Bytes of a text file with line feeds at line ends. They are UTF-8 where the encoding has wide line ends.

    Files whose lines end in lone carriage returns are read as if these were line feeds, unless ``keep_ends``.

    Raises:
        InputFileError: UTF-16 or UTF-32 that was not announced.
    """
    buffered: Any = stream if hasattr(stream, "peek") else io.BufferedReader(stream)
    head: bytes = buffered.peek(HEAD_BYTES)[:HEAD_BYTES]
    if dialect.encoding in _WIDE:
        return io.BufferedReader(_Transcoded(buffered, name, dialect.encoding), buffer_size=PIECE_BYTES)
    if (found := _wide_encoding(head)) is not None:
        raise InputFileError(
            f"{name} is in {found.upper()}, and {dialect.encoding_shown} was expected: save it as UTF-8 "
            f"(iconv -f {found} -t utf-8 FILE > NEW), or say {dialect.told('encoding', found)} where files of rows are read"
        )
    if not keep_ends and b"\r" in head[:-1] and b"\n" not in head:
        return io.BufferedReader(_CarriageReturns(buffered), buffer_size=PIECE_BYTES)
    return buffered  # type: ignore[no-any-return]


def lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes | TooLong]]:
    """Numbered lines without their ends. A byte-order mark before the first is left out too."""
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            n_quotes = raw.count(b'"')
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(PIECE_BYTES)
                n_quotes += raw.count(b'"')
            yield number, TooLong(n_quotes)
            continue
        line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
        yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _wide_encoding(head: bytes) -> str | None:
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    # without a mark: in texts of Latin letters every second byte is zero
    return "utf-16" if len(head) > 3 and head.count(0) * 3 >= len(head) else None


class _Converted(io.RawIOBase):
    """A stream whose pieces are changed as they are read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._rest = stream, b""

    def readable(self) -> bool:
        return True

    def convert(self, piece: bytes) -> bytes:
        """Change a piece. An empty one is the end."""
        raise NotImplementedError

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = self._stream.read(PIECE_BYTES)
            self._rest = self.convert(piece)
            if not piece:
                break
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


class _CarriageReturns(_Converted):
    def convert(self, piece: bytes) -> bytes:
        return piece.replace(b"\r", b"\n")


class _Transcoded(_Converted):
    def __init__(self, stream: IO[bytes], name: str, encoding: str) -> None:
        super().__init__(stream)
        self._name, self._encoding, self._n_lines = name, encoding, 0
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def convert(self, piece: bytes) -> bytes:
        try:
            text = self._decoder.decode(piece, final=not piece)
        except UnicodeError:
            raise InputFileError(
                f"{self._name}, after line {self._n_lines}: not {self._encoding.upper()}; save the file as UTF-8"
            ) from None
        self._n_lines += text.count("\n")
        return text.encode("utf-8", "surrogatepass")
