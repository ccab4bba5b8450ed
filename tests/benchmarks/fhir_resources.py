"""FHIR read here beside fhir.resources: `python -m tests.benchmarks.fhir_resources`, where fhir.resources is installed too.

Notes are DocumentReferences with a text of 1,000 characters. Processor time is measured.
"""

import base64
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from medembed.rows import sources
from medembed.rows.read import Columns, read
from tests.benchmarks import report
from tests.benchmarks.report import Claim, Result

NOTES = 2_000
IMPORT = "import time; start = time.process_time(); {}; print(time.process_time() - start)"
IMPORTS = {
    "medembed": "import medembed.rows.fhir",
    "fhir.resources": "from fhir.resources.documentreference import DocumentReference",
}


def note(number: int) -> dict[str, Any]:
    """A small DocumentReference."""
    data = base64.b64encode(f"fever since Monday, case {number}. ".encode() * 30).decode()
    return {
        "resourceType": "DocumentReference", "id": f"d{number}", "status": "current", "date": "2024-03-05T10:00:00Z",
        "subject": {"reference": f"Patient/{number % 97}"}, "type": {"text": "Progress note"},
        "content": [{"attachment": {"contentType": "text/plain", "data": data}}],
    }  # fmt: skip


def importing(line: str) -> float:
    """Processor time of an import in a fresh process, in seconds."""
    found = subprocess.run([sys.executable, "-c", IMPORT.format(line)], check=True, capture_output=True, text=True)
    return float(found.stdout)


def main() -> None:
    """Measure, print, write."""
    from fhir.resources.documentreference import DocumentReference  # type: ignore[import-not-found]

    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "DocumentReference.ndjson"
        path.write_text("".join(json.dumps(note(number)) + "\n" for number in range(NOTES)))
        started = time.process_time()
        found = list(read(sources.find([str(path)], "fhir"), Columns(kept={"patient": "string"}), lambda _: None))
        seconds["medembed"] = time.process_time() - started
        started = time.process_time()
        parsed = [DocumentReference.model_validate_json(line) for line in path.read_text().splitlines()]
        seconds["fhir.resources"] = time.process_time() - started
    if len(found) != len(parsed):
        raise SystemExit("the two do not read the same")
    rows = [
        {"engine": name, "import, CPU s": importing(line), "rows per CPU s": NOTES / seconds[name]}
        for name, line in IMPORTS.items()
    ]
    share = float(rows[0]["rows per CPU s"]) / float(rows[1]["rows per CPU s"])  # type: ignore[arg-type]
    claims = [Claim("rows that are read here, as a multiple of fhir.resources' rate", share, at_least=1)]
    report.conclude(
        Result("fhir-resources", "reading notes of FHIR", {"notes": NOTES}, rows, claims), "fhir_resources", []
    )


if __name__ == "__main__":
    main()
