"""Documents as they come: JSON, FHIR, C-CDA, articles, HTML, RTF, Word and PDF, good ones and ones made to hurt."""

import base64
import gzip
import io
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medembed.errors import InputFileError, MissingExtraError
from medembed.rows import documents, fhir, json_arrays, markup, sources, word, xml_trees
from medembed.rows.read import Columns, Row, read
from medembed.rows.source import Reject
from tests.rows.made_documents import PARAGRAPH, bundle, docx, pdf

SECRET = "quinquagesima"
KEPT = {"patient": "string", "date": "date", "type": "string", "title": "string"}


def rows(path: Path | list[Path], kind: str | None = None, **columns: Any) -> list[Row | Reject]:
    given = path if isinstance(path, list) else [path]
    return list(read(sources.find([str(item) for item in given], kind), Columns(**columns), lambda _: None))


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def told(items: list[Row | Reject]) -> list[Any]:
    return [(item.id, item.text) if isinstance(item, Row) else item.reason for item in items]


# ------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"id": 1, "text": "fever"}, {"id": "2", "text": "a cough"}]', [("1", "fever"), ("2", "a cough")]),
        ('\ufeff [\n {"id": "1",\n "text": "fever"}\n]\n', [("1", "fever")]),
        ('{"id": "1", "text": "fever"}', [("1", "fever")]),
        ('[{"id": "1", "text": "fever"}, 12, [1]]', [("1", "fever"), "a JSON int, not an object", "a JSON list, not an object"]),
        ("[]", []),
        ('[{"id": "1", "text": ""}]', ["empty text"]),
    ],
    ids=["array", "lines and mark", "object", "others", "nothing", "blank"],
)  # fmt: skip
def test_json_is_read_an_object_at_a_time(tmp_path: Path, content: str, expected: list[Any]) -> None:
    assert told(rows(written(tmp_path / "a.json", content))) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (f'[{{"id": "1", "text": "{SECRET}"}}', "value 1: not valid JSON, or cut short"),
        (f'[{{"id": "1", "text": "fever"}}, {{"id": "{SECRET}', "value 2: not valid JSON"),
        (f'[{{"id": "1", "text": "{SECRET}"}} {{}}]', "value 1: not valid JSON"),
        (f'{{"id": "1", "text": "{SECRET}"}}\n{{"id": "2"}}', "value 1: something follows its end: .*--format jsonl"),
        ('[{"id": "1", "text": NaN}]', "value 1: not valid JSON"),
        ("[" * 200_000, "value 1: nested too deep"),
        ("", "value 1: not valid JSON"),
        ('{"resourceType": "Bundle"}', "is FHIR: read it with --format fhir; see docs/guides/fhir.md"),
        (b'[{"id": "1", "text": "caf\xe9"}]', "is not UTF-8"),
    ],
    ids=["cut", "cut in a value", "no comma", "lines", "NaN", "deep", "empty", "FHIR", "encoding"],
)
def test_broken_json_is_an_error_without_a_value(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(InputFileError, match=says) as caught:
        rows(written(tmp_path / "a.json", content))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_json_may_fall_into_pieces_anywhere(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_arrays, "PIECE_BYTES", size)
    given = [{"id": str(number), "text": f"é fever {number}"} for number in range(20)]
    path = written(tmp_path / "a.json.gz", gzip.compress(json.dumps(given, ensure_ascii=False, indent=2).encode()))
    assert told(rows(path)) == [(item["id"], item["text"]) for item in given]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_nested_fields_are_named_by_paths(tmp_path: Path, name: str) -> None:
    item = {"key": {"id": "1"}, "note": {"text": "fever"}, "codes": [{"code": "R50"}], "a.b": "own"}
    other = {"key": {"id": "2"}, "note": {}, "codes": []}
    content = json.dumps([item, other]) if name == "a.json" else f"{json.dumps(item)}\n{json.dumps(other)}\n"
    path = written(tmp_path / name, content)
    kept = {"codes.0.code": "string", "a.b": "string"}
    first, second = rows(path, text=["note.text"], id="key.id", kept=kept)
    assert isinstance(first, Row)
    assert (first.id, first.text, first.kept) == ("1", "fever", ("R50", "own"))
    assert isinstance(second, Reject)
    assert (second.id, second.reason) == ("2", "no text under 'note.text'")
    with pytest.raises(InputFileError, match=r"note\.body"):
        rows(path, text=["note.body"], id="key.id")


# ------------------------------------------------------------------------------------------- FHIR


def attachment(text: str | bytes, media: str | None = "text/plain") -> dict[str, Any]:
    data = base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()
    return {"data": data} if media is None else {"contentType": media, "data": data}


def document(*attachments: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {
        "resourceType": "DocumentReference", "id": "d1", "status": "current", "subject": {"reference": "Patient/17"},
        "date": "2024-03-05T10:00:00+01:00", "type": {"coding": [{"code": "11506-3", "display": "Progress note"}]},
        "content": [{"attachment": item} for item in attachments or [attachment("fever since Monday")]], **values,
    }  # fmt: skip


REPORT = {
    "resourceType": "DiagnosticReport", "id": "r1", "status": "final", "subject": {"reference": "Patient/18"},
    "code": {"text": "Chest X-ray"}, "effectiveDateTime": "2024-02", "issued": "2024-02-03T08:00:00Z",
    "text": {"status": "generated", "div": "<div>No <b>acute</b> disease.</div>"}, "conclusion": "normal",
}  # fmt: skip
COMPOSITION = {
    "resourceType": "Composition", "id": "c1", "status": "final", "date": "2024-01-02", "title": "Discharge summary",
    "type": {"text": "Discharge"}, "subject": [{"reference": "Patient/17"}],
    "section": [
        {"title": "Allergies", "text": {"status": "generated", "div": "<div>Penicillin</div>"}},
        {"title": "Plan", "section": [{"title": "Drugs", "text": {"status": "generated", "div": "<ul><li>Aspirin</li></ul>"}}]},
    ],
}  # fmt: skip
RESOURCES = [document(), REPORT, {"resourceType": "Patient", "id": "17"}, COMPOSITION]
EXPECTED = [
    ("DocumentReference/d1", "fever since Monday", ["17", "2024-03-05", "Progress note", "None"]),
    ("DiagnosticReport/r1", "No acute disease.", ["18", "2024-02-03", "Chest X-ray", "None"]),
    (
        "Composition/c1",
        "Allergies:\nPenicillin\n\nDrugs:\nAspirin",
        ["17", "2024-01-02", "Discharge", "Discharge summary"],
    ),
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ndjson", "".join(json.dumps(item) + "\n" for item in RESOURCES)),
        ("a.json", json.dumps(bundle(RESOURCES))),
        ("a.json", json.dumps(bundle(RESOURCES), indent=1)),
        ("a.json", json.dumps(RESOURCES, indent=1)),
        ("a.ndjson", "".join(json.dumps(bundle([item])) + "\n" for item in RESOURCES)),
        ("a.json", "".join(json.dumps(item, indent=1) + "\n" for item in RESOURCES)),
    ],
    ids=["ndjson", "bundle", "indented bundle", "array", "bundles", "one after the other"],
)
def test_fhir_in_every_wrapping(tmp_path: Path, name: str, content: str) -> None:
    found = rows(written(tmp_path / name, content), "fhir", kept=KEPT, text=["whatever"])
    assert all(isinstance(item, Row) for item in found), found
    assert [
        (item.id, item.text, [str(value) for value in item.kept]) for item in found if isinstance(item, Row)
    ] == EXPECTED


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (document(attachment("<p>seen<br>today</p>", "text/html; charset=utf-8")), "seen\ntoday"),
        (document(attachment("café".encode("latin-1"), "text/plain; charset=ISO-8859-1")), "café"),
        (document(attachment("%PDF", "application/pdf"), attachment("as text")), "as text"),
        (document(attachment("<ClinicalDocument><component><structuredBody><component><section><title>Plan</title><text>Rest</text>"
                             "</section></component></structuredBody></component><id root='1'/></ClinicalDocument>", "text/xml")), "Plan:\nRest"),
        (document(attachment("no type", None)), "no type"),
        (document({"contentType": "text/plain", "data": "ZmV2\nZXI="}), "fever"),
        ({**REPORT, "presentedForm": [attachment("form")]}, "form"),
        ({**REPORT, "text": None}, "normal"),
        # what cannot be used
        (document({"contentType": "text/plain", "data": f"%%{SECRET}"}), "its data is not base64"),
        (document(attachment(b"\x89PNG\r\n\xff\x00")), "not UTF-8"),
        (document(attachment(b"a\0b")), "no text: it holds zero bytes"),
        (document(attachment("x", "text/plain; charset=klingon-8")), "in an encoding that is unknown"),
        (document(attachment("x", "image/tiff")), "its data is neither text, HTML, RTF, C-CDA, Word nor PDF"),
        (document(attachment(" ")), "its data holds no text"),
        (document({"url": f"https://{SECRET}/1"}), "its text is not in it but at an address: export with the documents' data"),
        (document(content=[]), "no content"),
        (document(content=SECRET), "'content' is not as FHIR R4, R4B or R5 has it"),
        (document(content=[SECRET]), "'content' is not as FHIR R4, R4B or R5 has it"),
        (document(type=SECRET), "'type' is not as FHIR R4, R4B or R5 has it"),
        (document(subject=SECRET), "'subject' is not as FHIR R4, R4B or R5 has it"),
        (document(subject={"reference": "#p"}), "its patient is described inside of it, under a name that only it knows"),
        ({**COMPOSITION, "subject": [{"reference": "Patient/1"}, {"reference": "Patient/2"}]}, "it names more than one patient"),
        (document(status="entered-in-error"), "it was entered in error"),
        (document(docStatus="entered-in-error"), "it was entered in error"),
        (document(id=None), "no id"),
        ({"id": "1", "note": SECRET}, "no FHIR resource: it has no resourceType"),
        ({**COMPOSITION, "section": [], "text": None}, "empty text"),
    ],
)  # fmt: skip
def test_fhir_of_every_shape(tmp_path: Path, resource: dict[str, Any], expected: str) -> None:
    [item] = rows(written(tmp_path / "a.ndjson", json.dumps(resource)), "fhir")
    assert (item.text if isinstance(item, Row) else item.reason) == expected


@pytest.mark.parametrize("name", ["Patient.ndjson", "Patient-0001.ndjson", "2.Patient.ndjson", "Patient.000.ndjson"])
def test_a_file_of_a_bulk_export_named_after_its_other_type_is_passed_over(tmp_path: Path, name: str) -> None:
    patient, notes = json.dumps({"resourceType": "Patient", "id": "1"}), written(tmp_path / "n", json.dumps(document()))
    [row] = rows([written(tmp_path / name, patient), notes], "fhir")
    assert isinstance(row, Row)
    [reject, row] = rows([written(tmp_path / name.replace("Patient", "Encounter"), patient), notes], "fhir")
    assert told([reject]) == ["no DocumentReference, DiagnosticReport, Composition in it"]
    assert isinstance(row, Row)


@pytest.mark.parametrize("name", ["Observation.ndjson", "export.ndjson"])
def test_an_export_without_notes_is_an_error_that_counts_what_it_holds(tmp_path: Path, name: str) -> None:
    held = ["Observation"] * 1200 + [f"Type{letter}" for letter in "ABCDEFGHI"]
    content = "\n".join(json.dumps({"resourceType": kind, "id": str(n)}) for n, kind in enumerate(held))
    patients = written(
        tmp_path / "Patient.ndjson", "\n".join([json.dumps({"resourceType": "Patient", "id": SECRET})] * 17)
    )
    says = (
        r"no row in these inputs: they hold 1,200 Observation, 17 Patient, 1 TypeA, .* 1 TypeF and 3 kinds more, "
        "and no DocumentReference or DiagnosticReport or Composition: add the files that hold some"
    )
    with pytest.raises(InputFileError, match=says) as caught:
        rows([written(tmp_path / name, content), patients], "fhir")
    assert SECRET not in str(caught.value)


def test_a_bad_line_of_fhir_is_a_reject_and_the_next_one_is_read(tmp_path: Path) -> None:
    lines = ["{bad}", json.dumps(document()), "[1]", '"x"', json.dumps(document(id="d2"))]
    found = rows(written(tmp_path / "a.ndjson", "\n".join(lines)), "fhir")
    assert [(item.line, isinstance(item, Row)) for item in found] == [
        (1, False),
        (2, True),
        (3, False),
        (4, False),
        (5, True),
    ]
    deep: dict[str, Any] = {"title": "x"}
    for _ in range(fhir.MAX_SECTIONS_DEEP + 2):
        deep = {"title": "x", "section": [deep]}
    [item] = rows(written(tmp_path / "b.ndjson", json.dumps({**COMPOSITION, "section": [deep]})), "fhir")
    assert "nested deeper" in told([item])[0]


@pytest.mark.parametrize(
    ("subject", "patient"),
    [
        ({"reference": "Patient/17"}, "17"),
        ({"reference": "Patient/17/_history/2"}, "17"),
        ({"reference": "https://a.org/fhir/Patient/17"}, "https://a.org/fhir/Patient/17"),
        ({"reference": "urn:uuid:0c3"}, "urn:uuid:0c3"),
        ({"reference": "Group/17"}, "Group/17"),
        ({"identifier": {"system": "urn:oid:1", "value": "17"}}, "urn:oid:1|17"),
        ({"display": "somebody"}, None),
        (None, None),
    ],
    ids=str,
)
def test_patients_of_two_servers_are_never_one(tmp_path: Path, subject: Any, patient: str | None) -> None:
    [item] = rows(
        written(tmp_path / "a.ndjson", json.dumps(document(subject=subject))), "fhir", kept={"patient": "string"}
    )
    assert isinstance(item, Row)
    assert item.kept == (patient,)


# ------------------------------------------------------------------------------------------- XML

CCDA = """<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"><id root="2.16.1" extension="doc7"/>
<code displayName="Summary of care"/><title>Care summary</title><effectiveTime value="20240305101500+0100"/>
<recordTarget><patientRole><id root="2.16.2" extension="17"/></patientRole></recordTarget>
<component><structuredBody><component><section><title>Allergies</title><text><table><tr><th>Drug</th><th>Reaction</th></tr>
<tr><td>Penicillin</td><td>Rash</td></tr></table></text></section></component>
<component><section><title>Plan</title><text><list><item>Aspirin</item><item>Rest</item></list></text></section></component>
</structuredBody></component></ClinicalDocument>"""
PUBMED = """<?xml version="1.0"?><!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle//EN" "https://dtd.nlm.nih.gov/x.dtd">
<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>11</PMID><Article><Journal><JournalIssue><PubDate><Year>2024</Year>
<Month>Mar</Month><Day>5</Day></PubDate></JournalIssue></Journal><ArticleTitle>On <i>fever</i>.</ArticleTitle><Abstract>
<AbstractText Label="METHODS">We &lt;looked&gt;.</AbstractText><AbstractText Label="RESULTS">Caf&eacute;.</AbstractText></Abstract>
</Article></MedlineCitation></PubmedArticle><PubmedArticle><MedlineCitation><Article/></MedlineCitation></PubmedArticle></PubmedArticleSet>"""
PMC = """<pmc-articleset><article article-type="research-article"><front><article-meta><article-id pub-id-type="pmid">5</article-id>
<article-id pub-id-type="pmcid">PMC9</article-id><title-group><article-title>Gout</article-title></title-group><abstract><sec>
<title>Aim</title><p>To see.</p></sec></abstract><pub-date><year>2023</year></pub-date></article-meta></front><body><sec>
<title>Methods</title><p>One <xref>1</xref>two.</p><sec><title>Data</title><p>Three.</p></sec></sec></body>
<back><ref-list><ref>no</ref></ref-list></back></article></pmc-articleset>"""


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.xml", CCDA, [("2.16.1|doc7", "Allergies:\nDrug\tReaction\nPenicillin\tRash\n\nPlan:\nAspirin\nRest",
                          "2.16.2|17", "2024-03-05", "Summary of care", "Care summary")]),
        ("a.xml", PUBMED, [("11", "On fever.\nMETHODS: We <looked>.\nRESULTS: Café.", "2024-03-05", None, "On fever."), "no id"]),
        ("a.nxml", PMC, [("PMC9", "Gout\n\nAim:\nTo see.\n\nMethods:\nOne two.\n\nData:\nThree.", None, "research-article", "Gout")]),
        ("a.xml", CCDA.replace("</recordTarget>", '</recordTarget><recordTarget><patientRole><id root="9"/></patientRole></recordTarget>'),
         ["it names more than one patient"]),
        ("a.xml", CCDA[:400], ["not well-formed XML in line 4"]),
        ("a.xml", "no xml", ["not well-formed XML in line 1"]),
        ("a.xml", "", ["not well-formed XML in line 1"]),
        ("a.xml", '<!DOCTYPE a [<!ENTITY x "y">]><article>&x;</article>', ["it declares entities, which are not read"]),
        ("a.xml", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><article>&x;</article>', ["it declares entities, which are not read"]),
        ("a.xml", '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://localhost:1/x">%x;]><article/>', ["it declares entities, which are not read"]),
        ("a.xml", "<article>" * 100_000, ["elements nested deeper than 200"]),
    ],
    ids=["C-CDA", "PubMed", "PMC", "two patients", "cut", "no XML", "empty", "entity", "outer entity", "outer subset", "deep"],
)  # fmt: skip
def test_xml_of_every_kind(tmp_path: Path, name: str, content: str, expected: list[Any]) -> None:
    kept = KEPT if "ClinicalDocument" in content else {name: KEPT[name] for name in ("date", "type", "title")}
    found = rows(written(tmp_path / name, content), kept=kept)
    shown = [
        (i.id, i.text, *(None if v is None else str(v) for v in i.kept)) if isinstance(i, Row) else i.reason
        for i in found
    ]
    assert shown == expected


def test_a_billion_laughs_take_no_time_and_an_element_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><article>&l9;</article>'
    assert told(rows(written(tmp_path / "a.xml", bomb))) == ["it declares entities, which are not read"]
    monkeypatch.setattr(xml_trees, "MAX_LINE_BYTES", 1000)
    large = f"<article><body><p>{'fever ' * 500}</p></body></article>"
    assert "longer than" in told(rows(written(tmp_path / "a.xml", large)))[0]


@pytest.mark.parametrize(
    "content", ["<html><body>x</body></html>", '<Bundle xmlns="http://hl7.org/fhir"/>'], ids=["page", "FHIR"]
)
def test_another_kind_of_xml_names_the_page(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputFileError, match=r"docs/guides/(documents|fhir)\.md"):
        rows(written(tmp_path / "a.xml", content))


# ------------------------------------------------------------------------------------------- pages and documents


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>Plan</h1><p>Aspirin &amp; rest</p>", "Plan\nAspirin & rest"),
        ("<html><head><title>T</title><style>a{}</style></head><body>a<br>b&nbsp;c</body>", "T\na\nb c"),
        ("<head><title>T</title><p>no end of the head", "T\nno end of the head"),
        ("<table><tr><th>Na</th><td>140</td></tr><tr><td>K</td><td>4</td></tr></table>", "Na\t140\nK\t4"),
        ("a <SCRIPT>x < y</Script>b <!-- c --> d", "a b d"),
        ('<p title="a > b">c</p>', "c"),
        ("<p title=don't>c</p>", "c"),
        ("pH < 7 and > 2", "pH < 7 and > 2"),
        ("<b>bo</b>ld", "bold"),
    ],
)
def test_html_is_its_text(html: str, text: str) -> None:
    assert markup.text_of(html) == text


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<!--", "<!D ", "&", "<div>", '<a "', "<script>", "</script", "<a b='\"", "<a/b c=d "]
)
def test_html_takes_time_as_its_length(piece: str) -> None:
    def seconds(count: int) -> float:
        started = time.process_time()
        markup.text_of(piece * count)
        return time.process_time() - started

    seconds(1000)
    assert seconds(100_000) < max(1.0, 40 * seconds(10_000))


WORD = (
    PARAGRAPH.format("Plan")
    + "<w:p><w:r><w:t>Aspirin</w:t><w:tab/><w:t>daily</w:t></w:r><w:del><w:r><w:t>gone</w:t></w:r></w:del></w:p>"
    f"<w:tbl><w:tr><w:tc>{PARAGRAPH.format('Na')}</w:tc><w:tc>{PARAGRAPH.format('140')}</w:tc></w:tr></w:tbl>"
)


def encrypted() -> bytes:
    pypdf = pytest.importorskip("pypdf")
    writer, made = pypdf.PdfWriter(pypdf.PdfReader(io.BytesIO(pdf("secret")))), io.BytesIO()
    writer.encrypt("password", algorithm="RC4-128")
    writer.write(made)
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.html", lambda: "<p>Fever</p>", ["Fever"]),
        ("a.HTM", lambda: '<meta charset="windows-1252"><p>caf\xe9</p>'.encode("cp1252"), ["café"]),
        ("a.html", lambda: b"caf\xe9", ["not UTF-8"]),
        ("a.html", lambda: "<p> </p>", ["empty text"]),
        ("a.docx", lambda: docx(WORD), ["Plan\nAspirin\tdaily\nNa\t140"]),
        ("a.docx", lambda: b"\xd0\xcf\x11\xe0 old or encrypted", ["no Word document (.docx): it is encrypted, damaged, or of an older kind (.doc)"]),
        ("a.docx", lambda: docx(WORD, "content.xml"), ["no Word document: it has no word/document.xml"]),
        ("a.docx", lambda: docx("<w:p>"), ["no Word document: not well-formed XML in line 1"]),
        ("a.docx", lambda: docx(WORD)[:-40], ["no Word document (.docx): it is encrypted, damaged, or of an older kind (.doc)"]),
        ("a.docx", lambda: docx("<w:p>" * 300), ["no Word document: elements nested deeper than 200"]),
        ("a.rtf", lambda: r"{\rtf1\ansi\ansicpg1252 Fever \b and\b0  caf\'e9\par Next \u8364?}", ["Fever and café\nNext €"]),
        ("a.rtf", lambda: "no rtf", ["no RTF document: it does not begin with {\\rtf"]),
        ("a.rtf", lambda: "{\\rtf1" + "{" * 100_000, ["empty text"]),
        ("a.pdf", lambda: pdf("Fever since Monday", "Rest"), ["Fever since Monday\n\nRest"]),
        ("a.pdf", lambda: pdf("Fever", "", "Rest"), ["Fever\n\nRest", "a page without text, which may be a picture"]),
        ("a.pdf", lambda: pdf("", ""), ["no page of this PDF holds text: pages that are pictures need OCR first, for instance ocrmypdf"]),
        ("a.pdf", encrypted, ["a PDF with a password: save it without one"]),
        ("a.pdf", lambda: b"%PDF-1.4\n" + SECRET.encode(), ["no PDF document, or a damaged one (PdfStreamError)"]),
        ("a.pdf", lambda: b"", ["no PDF document, or a damaged one (EmptyFileError)"]),
    ],
)  # fmt: skip
def test_documents_are_a_row_or_a_reject_each(
    tmp_path: Path, name: str, content: Callable[[], str | bytes], expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    if name.endswith((".pdf", ".rtf")):
        pytest.importorskip({"pdf": "pypdf", "rtf": "striprtf"}[name[2:]])
    with caplog.at_level(logging.DEBUG):
        found = rows(written(tmp_path / name, content()))
    assert [item.text if isinstance(item, Row) else item.reason for item in found] == expected
    assert {item.id for item in found} == {f"{tmp_path.name}/{name}"}
    assert [record for record in caplog.records if not record.name.startswith("fsspec")] == []


def test_a_zip_that_unpacks_to_much_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word, "MAX_BYTES", 100_000)
    bomb = docx(PARAGRAPH.format("a" * 10_000_000))
    assert len(bomb) < 50_000
    assert "when unpacked" in told(rows(written(tmp_path / "a.docx", bomb)))[0]
    # one that says that it is small
    place = bomb.rfind(b"PK\x01\x02")
    lying = bomb[: place + 24] + (1000).to_bytes(4, "little") + bomb[place + 28 :]
    [item] = rows(written(tmp_path / "a.docx", lying))
    assert isinstance(item, Reject)


def test_pages_without_text_are_named_by_their_number(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    items = rows(written(tmp_path / "a.pdf", pdf("Fever", "", "Rest", "")))
    assert [item.line for item in items] == [1, 2, 4]


def test_a_library_that_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    with pytest.raises(MissingExtraError, match=r"documents\]"):
        documents.of_pdf(pdf("x"), None)


def test_a_folder_of_documents_is_read_with_gz(tmp_path: Path) -> None:
    folder = tmp_path / "ward"
    folder.mkdir()
    written(folder / "a.html.gz", gzip.compress(b"<p>one</p>"))
    written(folder / "b.docx", docx(PARAGRAPH.format("two")))
    written(folder / "c.xml", CCDA)
    written(folder / "d.txt", "four")
    assert [item.id for item in rows(folder)] == ["ward/a.html.gz", "ward/b.docx", "2.16.1|doc7", "ward/d.txt"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("a.doc", r"save it as \.docx .*documents\.md"), ("a.XLSX", r"save it as \.csv"), ("a.hl7", r"ask for it as FHIR"),
     ("scan.tiff.gz", "needs OCR"), ("a.qqq", r"see docs/guides/files\.md")],
)  # fmt: skip
def test_an_unknown_kind_names_the_nearest_page(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(InputFileError, match=says):
        rows(written(tmp_path / name, b"x"))
    for page in ("files", "documents", "fhir"):
        assert (Path(__file__).parents[2] / "docs" / "guides" / f"{page}.md").is_file()
