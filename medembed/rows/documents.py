"""Documents → their text: HTML, RTF, Word and PDF, a row for each file, also inside of FHIR."""

import codecs
import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from medembed.extras import require
from medembed.rows import markup, word, xml_kinds
from medembed.rows.dialect import MAX_LINE_BYTES
from medembed.rows.source import Record, Reject, Source
from medembed.rows.unreadable import UnreadableError
from medembed.rows.wanted import Wanted

# a file of documents at most; the text in it is bounded as every text is
MAX_FILE_BYTES = 256 << 20
_CHARSET = re.compile(rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)


@dataclass(frozen=True)
class Text:
    """The text of a document.

    Attributes:
        text: The text.
        silent: Numbers of pages, from 1, that hold none.
    """

    text: str
    silent: tuple[int, ...] = ()


def of_html(content: bytes, encoding: str | None) -> Text:
    """Text of an HTML page.

    Args:
        content: Its bytes.
        encoding: The encoding that was named; None to go by what the page says of itself.

    Raises:
        UnreadableError: Its bytes are not in its encoding.
    """
    said = _CHARSET.search(content[:2048])
    return Text(markup.text_of(decoded(content, encoding or (said[1].decode("ascii") if said else "utf-8"))))


def of_plain(content: bytes, encoding: str | None) -> Text:
    """Text of plain bytes.

    Raises:
        UnreadableError: They are not in this encoding.
    """
    return Text(decoded(content, encoding or "utf-8"))


def of_rtf(content: bytes, encoding: str | None) -> Text:
    """Text of an RTF document.

    Raises:
        UnreadableError: It is none.
        MissingExtraError: striprtf is not installed.
    """
    del encoding  # an RTF document says its own
    reader = require("striprtf.striprtf")
    if not content.lstrip().startswith(b"{\\rtf"):
        raise UnreadableError("no RTF document: it does not begin with {\\rtf")
    if len(content) > MAX_LINE_BYTES:
        raise UnreadableError(f"longer than {MAX_LINE_BYTES >> 20} MiB")
    try:
        text = str(reader.rtf_to_text(content.decode("latin-1"), errors="replace"))
    except Exception as error:  # noqa: BLE001 - a library's own, of any kind, over bytes from outside
        raise UnreadableError(f"a damaged RTF document ({type(error).__name__})") from None
    # what is put for a wide character comes in two halves
    return Text(markup.tidy(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")))


def of_word(content: bytes, encoding: str | None) -> Text:
    """Text of a Word document.

    Raises:
        UnreadableError: It is none, or too large when unpacked.
    """
    del encoding
    return Text(word.text_of(io.BytesIO(content)))


def of_pdf(content: bytes, encoding: str | None) -> Text:
    """Text of a PDF document, page after page.

    Raises:
        UnreadableError: It is none, it needs a password, or no page holds text.
        MissingExtraError: pypdf is not installed.
    """
    del encoding
    pypdf = require("pypdf")
    try:
        with _silent("pypdf"):
            document = pypdf.PdfReader(io.BytesIO(content))
            if document.is_encrypted and not document.decrypt(""):
                raise UnreadableError("a PDF with a password: save it without one")
            pages = [markup.tidy(page.extract_text().replace("\0", "")) for page in document.pages]
    except UnreadableError:
        raise
    except Exception as error:  # noqa: BLE001 - a library's own, of any kind, over bytes from outside
        raise UnreadableError(_pdf_fault(error)) from None
    text = "\n\n".join(page for page in pages if page)
    if not text:
        raise UnreadableError(
            "no page of this PDF holds text: pages that are pictures need OCR first, for instance ocrmypdf"
        )
    if len(text) > MAX_LINE_BYTES:
        raise UnreadableError(f"longer than {MAX_LINE_BYTES >> 20} MiB")
    return Text(text, tuple(number for number, page in enumerate(pages, 1) if not page))


def _pdf_fault(error: Exception) -> str:
    name = type(error).__name__
    if name in ("FileNotDecryptedError", "DependencyError", "WrongPasswordError"):
        return "a PDF that is encrypted: save it without encryption"
    return f"no PDF document, or a damaged one ({name})"


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a library from logging, since what it logs may be a part of a document."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # of the loggers below it too
    try:
        yield
    finally:
        logger.setLevel(before)


def of_xml(content: bytes, encoding: str | None) -> Text:
    """Text of a C-CDA document or of another kind of XML that is read.

    Raises:
        UnreadableError: It is none.
    """
    del encoding  # XML says its own
    return Text(xml_kinds.text_of(content))


def decoded(content: bytes, encoding: str) -> str:
    """Bytes as text, a byte-order mark left out.

    Raises:
        UnreadableError: They are not in this encoding, or it is unknown.
    """
    try:
        text = content.decode("utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding)
    except LookupError:
        raise UnreadableError("in an encoding that is unknown") from None
    except (UnicodeError, ValueError):
        raise UnreadableError(f"not {encoding.upper()}") from None
    if "\0" in text:
        raise UnreadableError("no text: it holds zero bytes")
    return text


OfBytes = Callable[[bytes, str | None], Text]
# media types, as FHIR names what is inside of it
BY_MEDIA_TYPE: dict[str, OfBytes] = {
    "text/plain": of_plain,
    "text/markdown": of_plain,
    "text/html": of_html,
    "application/xhtml+xml": of_html,
    "text/rtf": of_rtf,
    "application/rtf": of_rtf,
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": of_word,
    "application/pdf": of_pdf,
    "text/xml": of_xml,
    "application/xml": of_xml,
    "application/cda+xml": of_xml,
}


@dataclass(frozen=True)
class WholeFile:
    """A reader that makes one row of each file. Pages without text are rejects beside it.

    Attributes:
        of: Makes the text of a file's bytes.
    """

    of: OfBytes

    def __call__(self, stream: IO[bytes], source: Source, wanted: Wanted) -> Iterator[Record | Reject]:
        """Read a file."""
        encoding = None if source.dialect.encoding == "utf-8" else source.dialect.encoding
        try:
            content = stream.read(MAX_FILE_BYTES + 1)
            if len(content) > MAX_FILE_BYTES:
                raise UnreadableError(f"longer than {MAX_FILE_BYTES >> 20} MiB")
            found = self.of(content, encoding)
            if len(found.text) > MAX_LINE_BYTES:
                raise UnreadableError(f"longer than {MAX_LINE_BYTES >> 20} MiB")
        except UnreadableError as error:
            yield Reject(source.name, 1, str(error), source.short)
            return
        values: dict[str, Any] = {"id": source.short, "text": found.text}
        wanted.in_row(source, values)
        yield Record(1, values)
        for page in found.silent:
            yield Reject(source.name, page, "a page without text, which may be a picture", source.short)
