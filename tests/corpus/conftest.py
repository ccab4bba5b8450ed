"""A fake model and files of rows for the corpus tests."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medembed import EmbeddedCorpus, FakeEngine, MedEmbed

WORDS = [
    "acute",
    "chest",
    "pain",
    "fever",
    "cough",
    "aspirin",
    "metformin",
    "rash",
    "knee",
    "swollen",
    "calf",
    "headache",
    "nausea",
    "lisinopril",
    "asthma",
]

pytest.importorskip("pyarrow")


@pytest.fixture(scope="session")
def fake() -> Iterator[MedEmbed]:
    """Vectors of 16 dimensions from hashes of tokens."""
    with MedEmbed(engine=FakeEngine(dimension=16)) as model:
        yield model


def text_of(number: int) -> str:
    """A different text for each number."""
    return " ".join([*(WORDS[(number * 7 + place * (1 + number % 5)) % len(WORDS)] for place in range(6)), str(number)])


def write_rows(path: Path, count: int, start: int = 0) -> Path:
    """JSON lines with id, text and a year."""
    rows = ({"id": f"n{i}", "text": text_of(i), "year": 2000 + i % 10} for i in range(start, start + count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_repeating(path: Path) -> Path:
    """A hundred rows of thirty texts, some in every shard and some in few."""
    rows = ({"id": f"n{i}", "text": text_of((i * i + i // 7) % 30 if i < 60 else i % 30)} for i in range(100))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A hundred rows."""
    return write_rows(tmp_path / "notes.jsonl", 100)


Contents = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture
def contents(fake: MedEmbed) -> Contents:
    """Everything in a corpus, row by row, vectors as bytes."""

    def read(path: Path) -> list[dict[str, Any]]:
        with EmbeddedCorpus.open(path) as corpus:
            assert corpus.verify() == []
            vectors = corpus.vectors()
            return [{"id": name, "vector": vectors[place].tobytes()} for place, name in enumerate(corpus.ids)]

    return read
