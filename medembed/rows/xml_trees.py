"""XML from outside, a piece of a document at a time. Entities, depth and size are bounded, and nothing is fetched."""

from collections.abc import Collection, Iterator
from html.entities import html5
from typing import Any, Protocol
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from medembed.rows.dialect import MAX_LINE_BYTES

PIECE_BYTES = 1 << 16
# deeper than any format that is read here nests
MAX_DEPTH = 200


class XmlError(Exception):
    """The reason that a document cannot be read as XML."""


class Bytes(Protocol):
    """A file of bytes, as far as it is read here."""

    def read(self, count: int, /) -> bytes:
        """At most so many bytes, none at the end."""


def pieces(stream: Bytes, names: Collection[str]) -> Iterator[tuple[int, Element]]:
    """Elements of certain names, each as soon as it is whole, and its line. What lies around them is not kept.

    Args:
        stream: The document.
        names: Their names without namespace. The root is given too, empty, as the first.

    Raises:
        XmlError: Not well-formed, a document that declares entities, nesting too deep, or an element that is too large.
    """
    reader = _Reader(names)
    while True:
        piece = stream.read(PIECE_BYTES)
        try:
            reader.parser.Parse(piece, not piece)
        except expat.ExpatError as error:
            raise XmlError(f"not well-formed XML in line {error.lineno}") from None
        except (LookupError, ValueError) as error:
            raise XmlError(f"an encoding that cannot be read ({type(error).__name__})") from None
        yield from reader.ready
        reader.ready.clear()
        if not piece:
            return


def local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


class _Reader:
    """The handlers of one document."""

    def __init__(self, names: Collection[str]) -> None:
        self._names, self._depth = names, 0
        self._builder: TreeBuilder | None = None
        self._inside, self._size, self._line = 0, 0, 1
        self.ready: list[tuple[int, Element]] = []
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._skipped
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self.parser = parser

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise XmlError(f"elements nested deeper than {MAX_DEPTH}")
        named = local(name)
        if self._depth == 1:
            self.ready.append((1, Element(name, attributes)))
        if self._builder is None and named in self._names:
            self._builder, self._inside, self._size = TreeBuilder(), self._depth, 0
            self._line = self.parser.CurrentLineNumber
        if self._builder is not None:
            self._grow(len(name) + sum(len(key) + len(value) for key, value in attributes.items()))
            self._builder.start(named, {local(key): value for key, value in attributes.items()})

    def _end(self, name: str) -> None:
        if self._builder is not None:
            element = self._builder.end(local(name))
            if self._depth == self._inside:
                self.ready.append((self._line, element))
                self._builder = None
        self._depth -= 1

    def _data(self, text: str) -> None:
        if self._builder is not None:
            self._grow(len(text))
            self._builder.data(text)

    def _grow(self, count: int) -> None:
        self._size += count
        if self._size > MAX_LINE_BYTES:
            raise XmlError(f"longer than {MAX_LINE_BYTES >> 20} MiB")

    def _entity(self, *_: Any) -> None:
        raise XmlError("it declares entities, which are not read")

    def _skipped(self, name: str, is_parameter: bool) -> None:
        """Put in a character that a document type declares elsewhere; nothing is fetched to look it up."""
        if not is_parameter:
            self._data(html5.get(f"{name};", " "))
