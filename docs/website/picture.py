"""The picture of the README: `medembed search` over a few invented notes, drawn from what the command really printed."""

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from docs.website.texts import ROOT

PICTURE = ROOT / "docs" / "assets" / "search.svg"
COMMAND = "python -m docs.website --picture"
COLUMNS = 96
# Invented. Each question shares no word with the note that answers it.
NOTES = (
    ("n1", "64-year-old man. Crushing substernal pressure on exertion, relieved by rest. ECG: ST depression."),
    ("n2", "Left calf swollen and tender after a long flight. Doppler ultrasound shows a thrombus."),
    ("n3", "Itchy wheals an hour after amoxicillin. Epinephrine was not needed."),
    ("n4", "HbA1c 9.1 %. Metformin increased, dietitian asked to see her."),
    ("n5", "Woke with the room spinning. Dix-Hallpike positive on the right, Epley done."),
)
QUERIES = ("blood clot in the leg", "allergic to penicillin")
# rich's own page asks another site for a font; this one asks nobody
FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{unique_id}">
<style>text {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; white-space: pre; }}
{styles}</style>
<defs>{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="#102027"/>
<circle cx="22" cy="21" r="7" fill="#e26d5c"/><circle cx="46" cy="21" r="7" fill="#e0b354"/><circle cx="70" cy="21" r="7" fill="#6aa84f"/>
<g transform="translate({terminal_x}, {terminal_y})">{backgrounds}<g>{matrix}</g></g>
</svg>
"""


def draw(target: Path = PICTURE) -> None:
    """Index the notes, ask the questions, draw what was printed."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        rows = "\n".join(json.dumps({"id": name, "text": text}) for name, text in NOTES)
        Path(folder, "notes.jsonl").write_text(rows + "\n", encoding="utf-8")
        for words in (
            ["index", "notes.jsonl", "-o", "corpus"],
            *(["search", "corpus", query, "-k", "2"] for query in QUERIES),
        ):
            shown = " ".join(f'"{word}"' if " " in word else word for word in words)
            console.print(Text.assemble(("$ ", "green"), (f"medembed {shown}", "bold")))
            console.print(Text.from_ansi(_printed(words, folder)))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(console.export_svg(title="", code_format=FRAME, unique_id="medembed-search"), encoding="utf-8")


def _printed(words: list[str], folder: str) -> str:
    environment = os.environ | {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "medembed", *words]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.rstrip("\n")
