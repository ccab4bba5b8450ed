"""FHIR → rows: DocumentReference, DiagnosticReport and Composition of R4, R4B and R5, from NDJSON, arrays and Bundles.

The few fields that are needed are read here. What is not as these versions have it is a reject, and never a guess.
"""

import base64
import binascii
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from medembed.rows import json_arrays
from medembed.rows.dialect import MAX_LINE_BYTES, TooLong, lines, text_stream
from medembed.rows.documents import BY_MEDIA_TYPE, OfBytes
from medembed.rows.json_arrays import DECODER
from medembed.rows.markup import text_of
from medembed.rows.source import Record, Reject, Source
from medembed.rows.unreadable import UnreadableError
from medembed.rows.wanted import Wanted

# a Bundle is one JSON value, and is held at once
MAX_BUNDLE_BYTES = 256 << 20
MAX_SECTIONS_DEEP = 20
VERSIONS = "FHIR R4, R4B or R5"
# the first is taken that holds text: what was written as text before what was made for a printer
PREFERRED = ("text/plain", "text/markdown", "text/html", "application/xhtml+xml")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(?=T|$)")
_PATIENT = re.compile(r"Patient/([A-Za-z0-9.\-]{1,64})(?:/_history/.*)?")
_NOT_LETTERS = re.compile(r"[^A-Za-z]+")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
# beginnings of contents whose media type is not said
SIGNS = {b"%PDF": "application/pdf", b"{\\rtf": "application/rtf", b"<": "text/html"}


def read(stream: IO[bytes], source: Source, wanted: Wanted) -> Iterator[Record | Reject]:
    """Records and rejects of a file of FHIR resources.

    Resources of other types are passed over. A file that holds none of the three is a reject, unless it is named after
    the type that it holds, as `Patient.ndjson` of a bulk export is. Where no file holds one, that is an error with the types found.

    Raises:
        InputFileError: It is no JSON, or cut short.
    """
    n_read, n_others = 0, 0
    for number, resource in _resources(stream, source):
        if not isinstance(resource, Reject) and _is_another(resource):
            wanted.pass_over(resource["resourceType"], " or ".join(READ))
            n_others += 0 if _is_named_after(resource, source) else 1
            continue
        n_read += 1
        wanted.meet()
        item = resource if isinstance(resource, Reject) else _item(resource, source, number)
        if isinstance(item, Record):
            wanted.in_row(source, item.values)
        yield item
    if not n_read and n_others:
        yield Reject(source.name, 1, f"no {', '.join(READ)} in it")


def _resources(stream: IO[bytes], source: Source) -> Iterator[tuple[int, Any]]:
    """Resources and rejects, each with its line, or with its number in an array or a Bundle."""
    text = text_stream(stream, source.name, source.dialect)
    first = text.readline(MAX_LINE_BYTES + 1)
    start = first.removeprefix(b"\xef\xbb\xbf").strip()
    again: Any = _Again(first, text)
    if start[:1] in (b"{", b"[") and _decoded(start, source) is None and not (start[:1] == b"{" and start[-1:] == b"}"):
        for number, value in json_arrays.items(again, source, MAX_BUNDLE_BYTES, several=True):
            for place, resource in enumerate(_unpacked(value), 1):
                yield (place if _is_bundle(value) else number), resource
        return
    for number, line in lines(again):
        if isinstance(line, TooLong):
            yield number, Reject(source.name, number, f"longer than {MAX_LINE_BYTES >> 20} MiB")
        elif line.strip():
            value = _decoded(line, source)
            bad = Reject(source.name, number, "not valid JSON")
            for resource in [bad] if value is None else _unpacked(value):
                yield number, resource


def _decoded(line: bytes, source: Source) -> Any:
    """The JSON value of a line. None where it is none."""
    try:
        return DECODER.decode(line.decode(source.dialect.line_encoding))
    except (ValueError, RecursionError):
        return None


class _Again(io.RawIOBase):
    """A stream whose first line was read, from its beginning."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self._first, self._rest = io.BytesIO(first), rest

    def read(self, count: int = -1) -> bytes:
        return self._first.read(count) or self._rest.read(count)

    def readline(self, count: int | None = -1) -> bytes:
        count = -1 if count is None else count
        return self._first.readline(count) or self._rest.readline(count)


def _is_bundle(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("resourceType") == "Bundle"


def _unpacked(value: Any) -> Iterator[Any]:
    """The resources of a Bundle or of an array, or the one that a value is."""
    if isinstance(value, list):
        yield from value
    elif _is_bundle(value):
        held = value.get("entry", [])
        entries = held if isinstance(held, list) else [held]
        yield from (item.get("resource") if isinstance(item, Mapping) else item for item in entries)
    else:
        yield value


def _is_another(resource: Any) -> bool:
    """Tell whether it is a resource of a type that holds no notes."""
    kind = resource.get("resourceType") if isinstance(resource, Mapping) else None
    return isinstance(kind, str) and kind not in READ and _TYPE.fullmatch(kind) is not None


def _is_named_after(resource: Mapping[str, Any], source: Source) -> bool:
    """Tell whether the file has the resource's type in its name: *Patient.ndjson*, *Patient-1.ndjson*, *2.Patient.ndjson*."""
    name = source.name.replace("\\", "/").rpartition("/")[2]
    return resource["resourceType"] in _NOT_LETTERS.split(name)


def _item(resource: Any, source: Source, number: int) -> Record | Reject:
    name = None
    try:
        if not isinstance(resource, Mapping) or resource.get("resourceType") not in READ:
            raise UnreadableError("no FHIR resource: it has no resourceType")
        kind = resource["resourceType"]
        own = _field(resource, "id", str)
        if not own:
            raise UnreadableError("no id")
        name = f"{kind}/{own}"
        if "entered-in-error" in (resource.get("status"), resource.get("docStatus")):
            raise UnreadableError("it was entered in error")
        values = {"id": name, "resource": kind, "patient": _patient(resource), **READ[kind](resource)}
        if len(values["text"]) > MAX_LINE_BYTES:
            raise UnreadableError(f"longer than {MAX_LINE_BYTES >> 20} MiB")
    except UnreadableError as error:
        return Reject(source.name, number, str(error), name)
    return Record(number, values)


def _field(holder: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    """A field in its type. None where there is none.

    Raises:
        UnreadableError: It has another type.
    """
    value = holder.get(name)
    if value is not None and not isinstance(value, kind):
        raise UnreadableError(f"{name!r} is not as {VERSIONS} has it")
    return value


def _mappings(holder: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of objects. It is empty where there is none."""
    values = _field(holder, name, list) or []
    if not all(isinstance(value, Mapping) for value in values):
        raise UnreadableError(f"{name!r} is not as {VERSIONS} has it")
    return list(values)


# ------------------------------------------------------------------------------------------- columns


def _patient(resource: Mapping[str, Any]) -> str | None:
    """Whose the resource is: an id, an address, or an identifier with its system. None where it names nobody."""
    subject = resource.get("subject")
    named = {_reference(item) for item in (subject if isinstance(subject, list) else [subject]) if item is not None}
    if len(named) > 1:
        raise UnreadableError("it names more than one patient")
    return next(iter(named), None)


def _reference(subject: Any) -> str | None:
    if not isinstance(subject, Mapping):
        raise UnreadableError(f"'subject' is not as {VERSIONS} has it")
    reference = _field(subject, "reference", str)
    if reference is None:
        identifier = _field(subject, "identifier", dict) or {}
        return "|".join(str(part) for part in (identifier.get("system"), identifier.get("value")) if part) or None
    if reference.startswith("#"):
        # the same name means another patient in another resource
        raise UnreadableError("its patient is described inside of it, under a name that only it knows")
    relative = _PATIENT.fullmatch(reference)
    return relative[1] if relative else reference


def _day(*times: Any) -> str | None:
    """The day of the first time that says one."""
    found = (_DAY.match(time) for time in times if isinstance(time, str))
    return next((day[0] for day in found if day), None)


def _concept(resource: Mapping[str, Any], name: str) -> str | None:
    """A coded value in words."""
    concept = _field(resource, name, dict) or {}
    words = [concept.get("text")]
    for coding in _mappings(concept, "coding"):
        words += [coding.get("display"), coding.get("code")]
    return next((word for word in words if isinstance(word, str) and word), None)


# ------------------------------------------------------------------------------------------- texts


def _document(resource: Mapping[str, Any]) -> dict[str, Any]:
    attachments = [_field(content, "attachment", dict) or {} for content in _mappings(resource, "content")]
    if not attachments:
        raise UnreadableError("no content")
    created = attachments[0].get("creation")
    return {
        "text": _attached(attachments), "date": _day(resource.get("date"), created), "type": _concept(resource, "type"),
        "title": _field(resource, "description", str) or _field(attachments[0], "title", str),
    }  # fmt: skip


def _report(resource: Mapping[str, Any]) -> dict[str, Any]:
    forms = _mappings(resource, "presentedForm")
    text = _attached(forms) if forms else _narrative(resource) or _field(resource, "conclusion", str) or ""
    period = _field(resource, "effectivePeriod", dict) or {}
    return {
        "text": text, "date": _day(resource.get("effectiveDateTime"), period.get("start"), resource.get("issued")),
        "type": _concept(resource, "code"), "title": None,
    }  # fmt: skip


def _composition(resource: Mapping[str, Any]) -> dict[str, Any]:
    parts = [part for section in _mappings(resource, "section") for part in _sections(section, 1)]
    return {
        "text": "\n\n".join(parts) or _narrative(resource), "date": _day(resource.get("date")),
        "type": _concept(resource, "type"), "title": _field(resource, "title", str),
    }  # fmt: skip


def _sections(section: Mapping[str, Any], depth: int) -> Iterator[str]:
    """A section and those in it, each with its title on a line."""
    if depth > MAX_SECTIONS_DEEP:
        raise UnreadableError(f"sections nested deeper than {MAX_SECTIONS_DEEP}")
    title, body = _field(section, "title", str), _narrative(section)
    if body:
        yield f"{title}:\n{body}" if title else body
    for inner in _mappings(section, "section"):
        yield from _sections(inner, depth + 1)


def _narrative(holder: Mapping[str, Any]) -> str:
    told = _field(holder, "text", dict) or {}
    return text_of(_field(told, "div", str) or "")


def _attached(attachments: Sequence[Mapping[str, Any]]) -> str:
    """The text of the first attachment that holds some.

    Raises:
        UnreadableError: None does; the reason is that of the first that was looked at.
    """
    why: UnreadableError | None = None
    for attachment in sorted(attachments, key=_rank):
        try:
            return _content(attachment)
        except UnreadableError as error:
            why = why or error
    raise why or UnreadableError("no content")


def _rank(attachment: Mapping[str, Any]) -> int:
    media = _media(attachment)[0]
    return PREFERRED.index(media) if media in PREFERRED else len(PREFERRED)


def _media(attachment: Mapping[str, Any]) -> tuple[str, str | None]:
    """Media type and charset of an attachment."""
    said = _field(attachment, "contentType", str) or ""
    media, *parameters = (part.strip() for part in said.lower().split(";"))
    charset = next((item.partition("=")[2].strip("\"' ") for item in parameters if item.startswith("charset")), None)
    return media, charset


def _content(attachment: Mapping[str, Any]) -> str:
    data = _field(attachment, "data", str)
    if not data:
        at = " but at an address" if attachment.get("url") else ""
        raise UnreadableError(f"its text is not in it{at}: export with the documents' data")
    try:
        content = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableError("its data is not base64") from None
    media, charset = _media(attachment)
    text = _reader(media, content)(content, charset).text
    if not text.strip():
        raise UnreadableError("its data holds no text")
    return text


def _reader(media: str, content: bytes) -> OfBytes:
    if not media:
        start = content.lstrip()[:8]
        media = next((kind for sign, kind in SIGNS.items() if start.startswith(sign)), "text/plain")
    if media not in BY_MEDIA_TYPE:
        raise UnreadableError("its data is neither text, HTML, RTF, C-CDA, Word nor PDF")
    return BY_MEDIA_TYPE[media]


# what makes columns of each type of resource that is read
READ = {"DocumentReference": _document, "DiagnosticReport": _report, "Composition": _composition}
