"""Word documents (.docx) → their text, from the archive's own XML."""

import zipfile
from collections.abc import Iterator
from typing import IO
from xml.etree.ElementTree import Element

from medembed.rows import xml_trees
from medembed.rows.unreadable import UnreadableError
from medembed.rows.xml_trees import XmlError

BODY = "word/document.xml"
# unpacked XML of a body at most; a long report has 2 MiB
MAX_BYTES = 64 << 20
# text that stands there a second time, or that a reader of the document does not see
HIDDEN = frozenset({"Fallback", "del", "moveFrom", "delText", "instrText", "pict"})


def text_of(stream: IO[bytes]) -> str:
    """Paragraphs as lines, cells of tables separated by tabs.

    Args:
        stream: The document, which can be read from any place.

    Raises:
        UnreadableError: It is no Word document, encrypted, or too large when unpacked.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            if archive.getinfo(BODY).file_size > MAX_BYTES:
                raise UnreadableError(f"its text is longer than {MAX_BYTES >> 20} MiB when unpacked")
            with archive.open(BODY) as body:
                blocks = [
                    block for _, element in xml_trees.pieces(_Bounded(body), {"p", "tbl"}) for block in _block(element)
                ]
    except KeyError:
        raise UnreadableError("no Word document: it has no word/document.xml") from None
    except zipfile.BadZipFile:
        raise UnreadableError(
            "no Word document (.docx): it is encrypted, damaged, or of an older kind (.doc)"
        ) from None
    except XmlError as error:
        raise UnreadableError(f"no Word document: {error}") from None
    except (RuntimeError, NotImplementedError, EOFError, OSError, ValueError, zipfile.LargeZipFile) as error:
        raise UnreadableError(f"a damaged Word document ({type(error).__name__})") from None
    return "\n".join(blocks)


class _Bounded:
    """A file that gives only so much, whatever its archive says of its size."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, MAX_BYTES

    def read(self, count: int) -> bytes:
        piece = self._file.read(count)
        self._left -= len(piece)
        if self._left < 0:
            raise UnreadableError(f"its text is longer than {MAX_BYTES >> 20} MiB when unpacked")
        return piece


def _block(element: Element) -> Iterator[str]:
    if element.tag == "p":
        yield from filter(None, [_paragraph(element)])
    elif element.tag == "tbl":
        for row in element.iter("tr"):
            cells = [" ".join(filter(None, map(_paragraph, cell.iter("p")))) for cell in row.findall("tc")]
            if any(cells):
                yield "\t".join(cells)


def _paragraph(paragraph: Element) -> str:
    parts: list[str] = []

    def walk(element: Element) -> None:
        if element.tag in HIDDEN:
            return
        if element.tag == "t":
            parts.append(element.text or "")
        elif element.tag in ("tab", "br", "cr"):
            parts.append("\t" if element.tag == "tab" else "\n")
        for child in element:
            walk(child)

    walk(paragraph)
    return "".join(parts).strip()
