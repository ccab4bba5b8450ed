"""Random bytes changed in good files: rows in = rows out + rejects, no traceback but ours, no text of the data in a message.

``python -m tests.rows.fuzz 10000`` writes its counts to docs/measurements/reader-fuzz.json.
"""

import io
import json
import logging
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from medembed.errors import MedEmbedError
from medembed.rows import read as rows
from medembed.rows import sources
from medembed.rows.read import Columns, Row
from tests.rows import made_documents

N_ROWS = 40
# a short word that no message of ours, of Python or of a library holds by itself; it looks like no column name
MARKER = "zq9;marker"
KINDS = ("jsonl", "csv", "parquet", "txt", "json", "fhir", "pubmed", "cda", "html", "rtf", "docx", "pdf")
# of a file of these kinds a document is read, or it is rejected; of a PDF further rejects name pages without text
DOCUMENTS = ("html", "rtf", "docx", "pdf")
ENDINGS = {"fhir": "ndjson", "pubmed": "xml", "cda": "xml"}
COLUMNS = Columns(("title", "text"), "id", {"year": "int", "ok": "bool", "day": "date"})


def good(kind: str) -> bytes:
    """A good file of a kind, whose every text holds the marker."""
    values = [
        {
            "id": f"{MARKER}-{number}",
            "title": f"{MARKER}, seen",
            "text": f'{MARKER} said "no"\nand left' if number % 5 == 0 else f"fever {MARKER} {number}, cough",
            "year": 2000 + number,
            "ok": number % 2 == 0,
            "day": f"2026-01-{number % 28 + 1:02d}",
        }
        for number in range(N_ROWS)
    ]
    if kind in OF_TEXTS:
        return OF_TEXTS[kind]([str(item["text"]) for item in values])
    if kind == "json":
        return json.dumps(values, indent=1).encode()
    if kind == "jsonl":
        return "".join(json.dumps(item) + "\n" for item in values).encode()
    if kind == "txt":
        return "".join(f"{item['title']} {number}\n" for number, item in enumerate(values)).encode()
    if kind == "csv":
        import csv

        written = io.StringIO(newline="")
        writer = csv.DictWriter(written, list(values[0]))
        writer.writeheader()
        writer.writerows(values)
        return written.getvalue().encode()
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(values), buffer, row_group_size=10)
    return buffer.getvalue()


def _fhir(texts: list[str]) -> bytes:
    resources = [
        {
            "resourceType": "DiagnosticReport",
            "id": f"{MARKER}-{number}",
            "status": "final",
            "code": {"text": MARKER},
            "subject": {"reference": f"Patient/{MARKER}"},
            "conclusion": text,
        }
        for number, text in enumerate(texts)
    ]
    return "".join(json.dumps(made_documents.bundle([item])) + "\n" for item in resources).encode()


def _pubmed(texts: list[str]) -> bytes:
    article = (
        "<PubmedArticle><MedlineCitation><PMID>{}</PMID><Article><ArticleTitle>{}</ArticleTitle><Abstract>"
        '<AbstractText Label="{}">{}</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>\n'
    )
    found = "".join(article.format(f"{MARKER}{number}", MARKER, MARKER, text) for number, text in enumerate(texts))
    return f'<?xml version="1.0"?>\n<PubmedArticleSet>{found}</PubmedArticleSet>'.encode()


def _cda(texts: list[str]) -> bytes:
    section = "<component><section><title>{}</title><text><list><item>{}</item></list></text></section></component>\n"
    found = "".join(section.format(MARKER, text) for text in texts)
    return (
        f'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"><id root="2.16.1" extension="{MARKER}"/><title>{MARKER}</title>'
        f'<recordTarget><patientRole><id root="2.16.2" extension="{MARKER}"/></patientRole></recordTarget>'
        f"<component><structuredBody>{found}</structuredBody></component></ClinicalDocument>"
    ).encode()


# Files of notes; the first makes a row a text, the others one of all.
OF_TEXTS: dict[str, Callable[[list[str]], bytes]] = {
    "fhir": _fhir,
    "pubmed": _pubmed,
    "cda": _cda,
    "html": lambda texts: f"<html><body>{''.join(f'<p class=x>{text}</p>' for text in texts)}</body></html>".encode(),
    "rtf": lambda texts: ("{\\rtf1\\ansi " + "".join(text + "\\par " for text in texts) + "}").encode(),
    "docx": lambda texts: made_documents.docx("".join(made_documents.PARAGRAPH.format(text) for text in texts)),
    "pdf": lambda texts: made_documents.pdf(*texts[:5]),
}


def mutated(content: bytes, chance: random.Random) -> bytes:
    """One to four bytes replaced, inserted or removed, or a piece cut out or doubled."""
    result = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(max(1, len(result)))
        length = chance.choice((1, 1, 1, 2, 40))
        change = chance.randrange(5)
        if change == 0:
            result[place : place + 1] = bytes([chance.randrange(256)])
        elif change == 1:
            result[place:place] = chance.choice((b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"{", b'""', b";", b"\\"))
        elif change == 2:
            del result[place : place + length]
        elif change == 3:
            result[place:place] = result[place : place + length]
        else:
            del result[place:]
    return bytes(result)


def n_rows_of(content: bytes, kind: str) -> int | None:
    """Rows that a file must have, counted in another way; None where quotes make lines and rows differ."""
    if kind in DOCUMENTS:
        return 1
    if kind in ("parquet", "json", "fhir", "pubmed", "cda") or (kind == "csv" and b'"' in content):
        return None
    lone = b"\r" in content.replace(b"\r\n", b"\n")
    if lone or b"\0" in content:
        return None
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    n_filled = sum(bool(line.strip()) if kind != "csv" else bool(line.rstrip(b"\r")) for line in lines)
    return n_filled - (kind == "csv")


def read(path: Path, kind: str) -> tuple[int, int, list[str]]:
    """Rows, rejects, and every message."""
    found = sources.find([str(path)], {"txt": "lines", "fhir": "fhir"}.get(kind))
    n_rows, messages = 0, []
    columns = COLUMNS if kind in ("jsonl", "csv", "parquet", "json") else Columns()
    for item in rows.read(found, columns, lambda _: None):
        if isinstance(item, Row):
            n_rows += 1
        else:
            messages.append(item.reason)
    return n_rows, len(messages), messages


def one(content: bytes, kind: str, folder: Path) -> str:
    """What became of one file: ``"read"``, ``"some rejected"`` or ``"refused"``.

    Raises:
        AssertionError: A rule was broken; the message says which, and holds no bytes of the file.
    """
    path = folder / f"t.{ENDINGS.get(kind, kind)}"
    path.write_bytes(content)
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        n_rows, n_rejects, messages = read(path, kind)
        outcome = "some rejected" if n_rejects else "read"
    except MedEmbedError as error:
        told = "".join(traceback.format_exception_only(error))
        messages, n_rows, n_rejects, outcome = [told, str(error.__cause__)], 0, 0, "refused"
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert not any("zq9" in message for message in [*messages, logged.getvalue()]), f"{kind}: a message holds the data"
    expected = n_rows_of(content, kind)
    if kind == "pdf":
        n_rejects = min(n_rejects, 1 - n_rows)
    if outcome != "refused" and expected is not None:
        assert n_rows + n_rejects == expected, f"{kind}: {n_rows} rows and {n_rejects} rejects of {expected}"
    if outcome != "refused" and kind == "parquet":
        from pyarrow import parquet

        assert n_rows + n_rejects == parquet.ParquetFile(path).metadata.num_rows
    return outcome


def run(count: int, seed: int, on_failure: Callable[[str, bytes, BaseException], object]) -> dict[str, Counter[str]]:
    """Change good files ``count`` times in all; what broke a rule is handed to ``on_failure``."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    whole = {kind: good(kind) for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            content = mutated(whole[kind], random.Random(f"{seed} {number}"))
            try:
                counts[kind][one(content, kind, Path(folder))] += 1
            except Exception as error:  # noqa: BLE001 - any other error is what is looked for
                counts[kind]["broke a rule"] += 1
                on_failure(kind, content, error)
    return counts


def main(count: int) -> None:
    """Run, print what broke, and write the counts."""
    started = time.perf_counter()
    found = run(count, 1, lambda kind, _, error: print(kind, repr(error), file=sys.stderr))
    result = {
        "mutations": count,
        "seed": 1,
        "kinds": {kind: dict(sorted(told.items())) for kind, told in found.items()},
    }
    path = Path("docs/measurements/reader-fuzz.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{time.perf_counter() - started:.0f} s: {path}", file=sys.stderr)


if __name__ == "__main__":
    main(int(sys.argv[1]))
