"""Headings of clinical notes: what is one, what only looks like one, and the name that it gets."""

import json
from pathlib import Path

import pytest

from medembed.clinical.sections import NAMES, normalized, sections

CASES = [
    json.loads(line) for line in (Path(__file__).parent / "headings.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_headings(case: dict) -> None:
    assert [part.name for part in sections(case["text"])] == case["sections"]


def test_sections_begin_at_their_headings_and_cover_the_note() -> None:
    note = "Seen today.\nALLERGIES: penicillin\n\nPlan\nRest"
    found = sections(note)
    assert [(part.start, part.heading) for part in found] == [(0, None), (12, "ALLERGIES"), (35, "Plan")]


def test_no_heading_has_two_names() -> None:
    forms = [form for forms in NAMES.values() for form in forms]
    assert len(forms) == len(set(forms))
    assert all(normalized(form) == name for name, forms in NAMES.items() for form in forms)
    assert all(normalized(name.replace("_", " ")) == name for name in NAMES)
