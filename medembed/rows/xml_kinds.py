"""XML documents → rows: C-CDA, PubMed and PMC articles, told apart by their root."""

import io
from collections.abc import Callable, Iterator
from typing import IO
from xml.etree.ElementTree import Element

from medembed.errors import InputFileError
from medembed.rows import xml_trees
from medembed.rows.markup import BLOCKS, CELLS, tidy
from medembed.rows.source import Record, Reject, Source
from medembed.rows.unreadable import UnreadableError
from medembed.rows.wanted import Wanted
from medembed.rows.xml_trees import XmlError, local

PAGE = "docs/guides/documents.md"
MONTHS = {
    "Jan": "01", "Feb": "02", "Mar": "03", "Apr": "04", "May": "05", "Jun": "06",
    "Jul": "07", "Aug": "08", "Sep": "09", "Oct": "10", "Nov": "11", "Dec": "12",
}  # fmt: skip
# what is on the page of an article, and no sentence of it
ASIDE = frozenset({"xref", "table-wrap", "fig", "ref-list", "inline-formula", "disp-formula", "tex-math", "math"})
Values = dict[str, object]


class _NoneError(Exception):
    """The reason that an element is no row."""


def read(stream: IO[bytes], source: Source, wanted: Wanted) -> Iterator[Record | Reject]:
    """Records and rejects of an XML file.

    Raises:
        InputFileError: A kind of XML that is not read.
    """
    line, elements = 1, xml_trees.pieces(stream, KINDS)
    try:
        root = next(elements)[1]
        if not any(local(root.tag) in (name, *holders) for name, (_, holders) in KINDS.items()):
            raise InputFileError(f"{source.name}: {_unknown(root)}")
        for line, element in elements:
            try:
                values = KINDS[element.tag][0](element)
            except _NoneError as error:
                yield Reject(source.name, line, str(error))
                continue
            wanted.in_row(source, values)
            yield Record(line, values)
    except (XmlError, StopIteration) as error:
        yield Reject(source.name, line, str(error) or "not well-formed XML")


def text_of(content: bytes) -> str:
    """The text of the first element in a document that is a row.

    Raises:
        UnreadableError: It is no XML, or of a kind that is not read.
    """
    try:
        for _, element in xml_trees.pieces(io.BytesIO(content), KINDS):
            if len(element) and element.tag in KINDS:
                return str(KINDS[element.tag][0](element)["text"])
    except (XmlError, _NoneError) as error:
        raise UnreadableError(f"no document that is read: {error}") from None
    raise UnreadableError("its XML is not C-CDA")


def _unknown(root: Element) -> str:
    if "hl7.org/fhir" in root.tag:
        return "FHIR as XML is not read: ask the server for JSON, and read that with --format fhir; see docs/guides/fhir.md"
    read_here = "C-CDA (ClinicalDocument), PubMed (PubmedArticleSet) and PMC (article, pmc-articleset) are read"
    return f"this kind of XML is not read: {read_here}; {PAGE} says how to bring other kinds in"


# ------------------------------------------------------------------------------------------- what is in an element


def _text(element: Element | None) -> str:
    """All text below an element, in one line."""
    return "" if element is None else " ".join("".join(element.itertext()).split())


def _lines(element: Element, aside: frozenset[str] = frozenset()) -> str:
    """The text below an element. Blocks are lines, cells of a table are separated by tabs."""
    parts: list[str] = []

    def walk(item: Element) -> None:
        name = item.tag.lower()
        if item.tag not in aside:
            around = "\n" if name in BLOCKS else ""
            parts.append(around)
            parts.append((item.text or "").replace("\n", " "))
            for child in item:
                walk(child)
            parts.append("\t" if name in CELLS else around)
        parts.append((item.tail or "").replace("\n", " "))

    walk(element)
    return tidy("".join(parts))


def _day(digits: str | None) -> str | None:
    """The day in a time such as ``20240305101500+0100``; None where it says less than a day."""
    day = (digits or "")[:8]
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdigit() else None


def _made(text: str, **values: object) -> Values:
    if not values["id"]:
        raise _NoneError("no id")
    return {**values, "text": text}


# ------------------------------------------------------------------------------------------- C-CDA


def _clinical(document: Element) -> Values:
    patients = {_identifier(role.find("id")) for role in document.findall("recordTarget/patientRole")}
    if len(patients) > 1:
        raise _NoneError("it names more than one patient")
    sections = [
        part for section in document.findall(".//structuredBody/component/section") for part in _sections(section)
    ]
    return _made(
        "\n\n".join(sections),
        id=_identifier(document.find("id")),
        patient=next(iter(patients), None),
        date=_day(_attribute(document.find("effectiveTime"), "value")),
        type=_attribute(document.find("code"), "displayName") or _text(document.find("title")) or None,
        title=_text(document.find("title")) or None,
    )


def _sections(section: Element) -> Iterator[str]:
    """A section and those in it, each with its title on a line."""
    title, text = _text(section.find("title")), section.find("text")
    body = "" if text is None else _lines(text)
    if body:
        yield f"{title}:\n{body}" if title else body
    for inner in section.findall("component/section"):
        yield from _sections(inner)


def _identifier(element: Element | None) -> str | None:
    """An id with the root that makes it unique: two hospitals may give the same number to two patients."""
    root, extension = _attribute(element, "root"), _attribute(element, "extension")
    return "|".join(part for part in (root, extension) if part) or None


def _attribute(element: Element | None, name: str) -> str | None:
    return None if element is None else element.get(name) or None


# ------------------------------------------------------------------------------------------- articles


def _pubmed(article: Element) -> Values:
    title = _text(article.find(".//ArticleTitle")) or _text(article.find(".//BookTitle"))
    parts = []
    for part in article.findall(".//Abstract/AbstractText"):
        label, body = part.get("Label"), _text(part)
        if body:
            parts.append(f"{label}: {body}" if label else body)
    date = article.find(".//PubDate")
    return _made(
        "\n".join([*([title] if title else []), *parts]),
        id=_text(article.find(".//PMID")),
        title=title or None,
        date=_date(date, "Year", "Month", "Day"),
        type=_text(article.find(".//PublicationType")) or None,
    )


def _jats(article: Element) -> Values:
    ids = {item.get("pub-id-type"): _text(item) for item in article.findall(".//front//article-id")}
    title = _text(article.find(".//front//article-title"))
    parts = [title] if title else []
    for abstract in article.findall(".//front//abstract"):
        parts += _parts(abstract)
    body = article.find("body")
    parts += [] if body is None else _parts(body)
    dates = article.findall(".//front//pub-date")
    return _made(
        "\n\n".join(parts),
        id=next((ids[kind] for kind in ("pmcid", "pmc", "pmid", "doi") if ids.get(kind)), ""),
        title=title or None,
        date=_date(dates[0] if dates else None, "year", "month", "day"),
        type=article.get("article-type"),
    )


def _parts(around: Element) -> Iterator[str]:
    """Paragraphs and sections in an element, each section with its title on a line."""
    own = [_lines(item, ASIDE) for item in around if item.tag not in ("sec", "title") and item.tag not in ASIDE]
    title, body = _text(around.find("title")), "\n".join(line for line in own if line)
    if body:
        yield f"{title}:\n{body}" if title else body
    for section in around.findall("sec"):
        yield from _parts(section)


def _date(element: Element | None, year: str, month: str, day: str) -> str | None:
    """A whole date in numbers; None where a part is missing."""
    if element is None:
        return None
    parts = [_text(element.find(name)) for name in (year, month, day)]
    parts[1] = MONTHS.get(parts[1][:3], parts[1])
    if not all(part.isdigit() for part in parts) or len(parts[0]) != 4:
        return None
    return f"{parts[0]}-{int(parts[1]):02}-{int(parts[2]):02}"


# name of an element that is a row, what makes one of it, and the roots that may hold it
KINDS: dict[str, tuple[Callable[[Element], Values], tuple[str, ...]]] = {
    "ClinicalDocument": (_clinical, ()),
    "PubmedArticle": (_pubmed, ("PubmedArticleSet",)),
    "PubmedBookArticle": (_pubmed, ("PubmedArticleSet",)),
    "article": (_jats, ("pmc-articleset",)),
}
