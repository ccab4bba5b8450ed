"""Both kinds of store behind one small interface, so that every rule they share is tested over both."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import EmbeddedCorpus, FakeEngine, MedColBERT, MedEmbed, TokenIndex
from medembed.colbert.index import build as tokens
from medembed.colbert.index.build import TokenSettings
from medembed.corpus import embed
from medembed.corpus.embed import Settings
from medembed.rows.read import Columns
from medembed.storage.building import Summary
from medembed.storage.modes import Mode
from tests.colbert import folders

pytest.importorskip("pyarrow")

KEPT = {"year": "int", "ward": "string", "seen": "date", "icu": "bool"}
Store = EmbeddedCorpus | TokenIndex


@dataclass(frozen=True)
class Kind:
    """What makes and opens one kind of store.

    Attributes:
        name: Its name in manifests.
        cls: Its class.
        model: A model on the fake engine.
        settings: Eight rows per shard, and columns to keep.
    """

    name: str
    cls: type[Any]
    model: Any
    settings: Any

    def build(self, path: Path, rows: Sequence[dict[str, Any]], **changes: Any) -> Any:
        return self.cls.build(path, rows, self.model, replace(self.settings, **changes))

    def open(self, path: Path) -> Any:
        return self.cls.open(path, self.model)

    def index(self, inputs: Sequence[str], path: Path, mode: Mode = "new", **more: Any) -> Summary:
        settings = replace(self.settings, columns=Columns(), mode=mode)
        module: Any = embed if self.cls is EmbeddedCorpus else tokens
        return module.index(inputs, path, self.model, settings, **more)

    def words(self, store: Any, query: str, k: int = 5) -> list[str]:
        """Ids of the rows that hold a query's words, found with what each kind offers for that."""
        return [hit.id for hit in store.search(query, k)]


@pytest.fixture(scope="session")
def token_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MedColBERT]:
    folder = folders.stanford(tmp_path_factory.mktemp("colbert") / "model")
    with MedColBERT(folder, engine=FakeEngine(folders.HIDDEN)) as model:
        yield model


@pytest.fixture(scope="session")
def text_model() -> Iterator[MedEmbed]:
    with MedEmbed(engine=FakeEngine(dimension=16)) as model:
        yield model


@pytest.fixture(params=["embedded corpus", "token index"])
def kind(request: pytest.FixtureRequest, text_model: MedEmbed, token_model: MedColBERT) -> Kind:
    if request.param == "embedded corpus":
        return Kind(request.param, EmbeddedCorpus, text_model, Settings(Columns(kept=KEPT), shard_rows=8))
    return Kind(request.param, TokenIndex, token_model, TokenSettings(Columns(kept=KEPT), shard_rows=8))


SIGNS = ["fever", "cough", "chest pain", "itchy rash", "swollen calf", "headache", "nausea"]


def row(number: int, text: str | None = None, **values: Any) -> dict[str, Any]:
    """A row whose text no other has."""
    told = text or f"{SIGNS[number % 7]} and {SIGNS[(number * 3 + 1) % 7]} case {number}"
    return {
        "id": f"n{number}", "text": told, "year": 2000 + number % 10, "ward": None if number % 3 else "er",
        "seen": f"2026-01-{number % 28 + 1:02}", "icu": bool(number % 2), **values,
    }  # fmt: skip


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [row(number) for number in range(start, start + count)]


def holding(folder: Path, *words: str) -> list[str]:
    """Files below a folder that hold one of the words, in capitals or not."""
    wanted = re.compile("|".join(words).encode(), re.IGNORECASE)
    return [
        str(path.relative_to(folder))
        for path in folder.glob("**/*")
        if path.is_file() and wanted.search(path.read_bytes())
    ]


def everything(store: Any) -> list[tuple[Any, ...]]:
    """Every row of a store with its vectors, by id, in an order that does not depend on its history."""
    files = store.store
    live = np.flatnonzero(files.live())
    found = {}
    for number, values in zip(live.tolist(), files.rows(live), strict=True):
        home, place = files.place(number)
        table = files.table(home)
        vectors = [
            table.column(name)[place].as_py()
            for name in table.column_names
            if name in ("vector", "codes", "remainders")
        ]
        found[values["id"]] = (*values.values(), str(vectors))
    return [found[name] for name in sorted(found)]
