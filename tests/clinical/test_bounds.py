"""Places where clinical text may be cut: a table of what splitters stumble over."""

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest

from medembed.clinical.bounds import Bound, bounds
from medembed.clinical.sections import sections

CASES = [json.loads(line) for line in (Path(__file__).parent / "sentences.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[f"{number} {case['kind']}" for number, case in enumerate(CASES)])
def test_sentences_lines_and_items_stay_whole(case: dict) -> None:
    text = case["join"].join(case["pieces"])
    places = [0, *(place for place, _ in bounds(text, 0, len(text))), len(text)]
    pieces = [text[start:end].strip() for start, end in pairwise(places)]
    assert pieces == case["pieces"]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("One. Two.", [Bound.SENTENCE]),
        ("One\nTwo", [Bound.LINE]),
        ("One\n\nTwo", [Bound.PARAGRAPH]),
        ("One\r\n \r\nTwo", [Bound.PARAGRAPH]),
        ("Takes:\n- aspirin\n- metformin", [Bound.LEAD, Bound.LINE]),
        ("Denies:\n- fever\n- cough\nAfebrile", [Bound.LEAD, Bound.LISTED, Bound.LINE]),
        ("Denies:\n- fever\n\n- cough", [Bound.LEAD, Bound.PARAGRAPH]),
        ("", []),
        ("\n\n\n", []),
        (". . . .", []),
    ],
)
def test_kinds_of_bounds(text: str, kinds: list[Bound]) -> None:
    assert [kind for _, kind in bounds(text, 0, len(text))] == kinds


@pytest.mark.parametrize(
    "part",
    [
        " ",
        "\n",
        "\r\n",
        ".",
        ". ",
        '"',
        "a line of small letters that was wrapped at its end\n",
        "Dr. ",
        "1. ",
        "A:\n",
        "-\n",
        "x",
    ],
)
def test_time_is_linear(part: str) -> None:
    text = f"A. {part * (400_000 // len(part))} B"
    began = time.process_time()
    list(bounds(text, 0, len(text)))
    sections(text)
    assert time.process_time() - began < 5  # quadratic would be hours
