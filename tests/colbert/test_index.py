"""A token index on disk: what it finds, how it grows, how it survives, and what it refuses."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import FakeEngine, MedColBERT, demo
from medembed.colbert.index import build as building
from medembed.colbert.index.build import TokenSettings
from medembed.colbert.index.layout import INDEX
from medembed.colbert.index.lists import CentroidLists, make_lists
from medembed.colbert.index.store import TokenIndex
from medembed.errors import (
    CorpusBusyError,
    CorpusDamagedError,
    CorpusError,
    CorpusModelError,
    CorpusUnfinishedError,
    CorpusVersionError,
    InputTypeError,
    SettingError,
)
from medembed.storage.manifest import writing
from tests.colbert import folders

PASSAGES = demo.passages()[:120]
ROWS = [{"id": passage.id, "text": passage.text} for passage in PASSAGES]
QUERIES = [passage.title for passage in PASSAGES[:30]]
SMALL = TokenSettings(shard_rows=50)

pytestmark = pytest.mark.filterwarnings("ignore::medembed.TruncationWarning")


@pytest.fixture(scope="module")
def model(colbert_folder: Path) -> Iterator[MedColBERT]:
    """Each token a vector of its own, so that shared words find one another."""
    with MedColBERT(colbert_folder, engine=FakeEngine(folders.HIDDEN)) as made:
        yield made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, model: MedColBERT) -> Path:
    """Read-only by agreement."""
    folder = tmp_path_factory.mktemp("index") / "built"
    TokenIndex.build(folder, ROWS, model, SMALL)
    return folder


@pytest.fixture
def copy(tmp_path: Path, model: MedColBERT) -> Path:
    TokenIndex.build(tmp_path / "index", ROWS[:60], model, TokenSettings(shard_rows=20))
    return tmp_path / "index"


def ids(index: TokenIndex, query: str, k: int = 5) -> list[str]:
    return [hit.id for hit in index.search(query, k)]


# ------------------------------------------------------------------------------------------- finding


def test_it_finds_what_exact_maxsim_over_uncompressed_vectors_finds(built: Path, model: MedColBERT) -> None:
    exact = model.similarity(model.encode_query(QUERIES), model.encode_document([row["text"] for row in ROWS]))
    with TokenIndex.open(built, model) as index:
        found = index.search(QUERIES, 5, candidates=60)
    best = [[hit.id for hit in hits] for hits in found]
    first = [ROWS[i]["id"] for i in exact.argmax(axis=1)]
    assert sum(one in hits[:2] for one, hits in zip(first, best, strict=True)) >= 27
    assert [len(hits) for hits in found] == [5] * 30
    scores = [hit.score for hit in found[0]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(exact[0].max(), rel=0.05)
    assert found[0][0].text == {row["id"]: row["text"] for row in ROWS}[found[0][0].id]


def test_eight_bits_score_as_exact_vectors_do(tmp_path: Path, model: MedColBERT) -> None:
    settings = TokenSettings(bits=8, shard_rows=50, store_text=False)
    exact = model.similarity(model.encode_query(QUERIES), model.encode_document([row["text"] for row in ROWS]))
    with TokenIndex.build(tmp_path / "index", ROWS, model, settings) as index:
        hits = index.search(QUERIES, 1, candidates=len(ROWS))
        assert hits[0][0].text is None
    np.testing.assert_allclose([hit[0].score for hit in hits], exact.max(axis=1), rtol=0.005)


def test_bytes_a_token(built: Path, model: MedColBERT, tmp_path: Path) -> None:
    with TokenIndex.open(built, model) as index:
        assert index.manifest.n_rows == len(index) == 120
        tables = list(index.store.tables())
        stored = sum(
            len(row.as_py()) for table in tables for name in ("codes", "remainders") for row in table.column(name)
        )
        assert stored == index.manifest.n_vectors * (2 + folders.WIDTH * 2 // 8)
        assert index.bytes_a_token > 10
    pooled = TokenIndex.build(tmp_path / "pooled", ROWS, model, TokenSettings(pool_factor=2))
    assert pooled.manifest.n_vectors < 0.6 * index.manifest.n_vectors


def test_promising_documents_are_those_of_near_centroids() -> None:
    # document 0 has tokens at centroids 0 and 1, document 1 at 1 twice, document 2 at 2
    lists = make_lists(np.array([0, 1, 1, 1, 2], dtype=np.uint16), np.array([2, 2, 1]), 4)
    assert isinstance(lists, CentroidLists)
    assert lists.documents.tolist() == [0, 0, 1, 2]
    assert lists.starts.tolist() == [0, 1, 3, 4, 4]
    near_one = np.array([[0.1, 0.9, 0.2, 0.0]], dtype=np.float32)
    assert lists.promising(near_one, 2, probe=1).tolist() == [0, 1]
    both = np.array([[0.9, 0.8, 0.0, 0.0], [0.0, 0.9, 0.1, 0.2]], dtype=np.float32)
    assert lists.promising(both, 1, probe=2).tolist() == [0]
    gone = np.array([False, True, True])
    assert lists.promising(both, 5, probe=9, alive=gone).tolist() == [1, 2]


# ------------------------------------------------------------------------------------------- changing


def test_appended_documents_are_found_and_deleted_ones_are_not(copy: Path, model: MedColBERT) -> None:
    with TokenIndex.open(copy, model) as index:
        index.append([{"id": "new", "text": "quinquagesima zygodactyl"}, *ROWS[60:70]])
        assert len(index) == 71
        assert ids(index, "quinquagesima zygodactyl", 1) == ["new"]
        assert index.delete(["new", ROWS[0]["id"]]) == 2
        assert len(index) == 69
        assert "new" not in ids(index, "quinquagesima zygodactyl", 100)
        assert len(index.search("pain", 100)) == 69
        index.append([{"id": "new", "text": "quinquagesima zygodactyl again"}])
    with TokenIndex.open(copy, model) as again:
        assert len(again) == 70
        assert ids(again, "zygodactyl", 1) == ["new"]
        assert again.verify() == []


def test_nothing_is_deleted_when_an_id_is_unknown(copy: Path, model: MedColBERT) -> None:
    with TokenIndex.open(copy, model) as index:
        with pytest.raises(
            CorpusError, match=r"1 of 2 ids are not in .*; the first of these is number 1 of those given"
        ):
            index.delete([ROWS[0]["id"], "nobody"])
        assert len(index) == 60
        with pytest.raises(InputTypeError, match="wrap it in a list"):
            index.delete("nobody")


def test_the_model_is_loaded_by_the_name_in_the_manifest(
    tmp_path: Path, colbert_folder: Path, colbert: MedColBERT
) -> None:
    TokenIndex.build(tmp_path / "index", ROWS[:20], colbert)
    with TokenIndex.open(tmp_path / "index") as index:
        assert len(index.search("pain", 3)) == 3
        assert index.model.name == str(colbert_folder)
        assert repr(index).startswith("TokenIndex(")


# ------------------------------------------------------------------------------------------- surviving


class KilledError(Exception):
    """Stands for a process that ends between two shards."""


def dying(rows: list[dict[str, str]], after: int) -> Iterator[dict[str, str]]:
    yield from rows[:after]
    raise KilledError


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, model: MedColBERT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "SAMPLE_ROWS", 30)
    settings, folder = TokenSettings(shard_rows=20), tmp_path / "index"
    with pytest.raises(KilledError):
        TokenIndex.build(folder, dying(ROWS, 70), model, settings)
    with pytest.raises(CorpusUnfinishedError, match="has not come to its end; build the index again"):
        TokenIndex.open(folder)
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "shards").iterdir()}
    assert len(before) == 3
    finished = TokenIndex.build(folder, ROWS, model, settings)
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "shards").iterdir()}
    assert before.items() <= after.items()
    whole = TokenIndex.build(tmp_path / "whole", ROWS, model, settings)
    assert [shard.sha256 for shard in finished.manifest.shards] == [shard.sha256 for shard in whole.manifest.shards]


def test_a_changed_byte_is_found_and_mended(copy: Path, model: MedColBERT) -> None:
    shard = sorted((copy / "shards").iterdir())[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with TokenIndex.open(copy, model) as index:
        assert index.verify() == [f"shards/{shard.name}"]
    TokenIndex.build(copy, ROWS[:60], model, TokenSettings(shard_rows=20))
    assert TokenIndex.open(copy, model).verify() == []


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda path: min((path / "shards").iterdir()).unlink(), CorpusDamagedError, "is missing, or its bytes"),
        (lambda path: next(path.glob("codec.*")).write_bytes(b"x"), CorpusDamagedError, "is missing, or its bytes"),
        (lambda path: (path / "manifest.json").write_text("{"), CorpusDamagedError, "cannot be read as the manifest"),
        (
            lambda path: (path / "manifest.json").write_text(json.dumps({"format": 99, "medembed": "9.9"})),
            CorpusVersionError,
            "was written by medembed 9.9 in format 99",
        ),
        (lambda path: (path / "manifest.json").unlink(), CorpusUnfinishedError, "has no manifest.json"),
    ],
    ids=["shard", "codec", "manifest", "version", "unfinished"],
)
def test_damage_is_named(
    copy: Path, model: MedColBERT, harm: Callable[[Path], Any], error: type[Exception], message: str
) -> None:
    harm(copy)
    with pytest.raises(error, match=message):
        TokenIndex.open(copy, model).search("pain")


# ------------------------------------------------------------------------------------------- refusing


def test_another_model_is_refused_for_queries_and_for_appending(
    built: Path, tmp_path: Path, colbert_folder: Path, model: MedColBERT
) -> None:
    other = MedColBERT(folders.pylate(tmp_path / "other"), engine=FakeEngine(folders.HIDDEN))
    with pytest.raises(CorpusModelError, match=r"was encoded with .* but this is .*other.*: open it with its own"):
        TokenIndex.open(built, other)
    with (
        TokenIndex.open(built, model) as index,
        pytest.raises(CorpusModelError, match=r"32 dimensions .* but the query has 7: encode it"),
    ):
        index.search_vectors([np.ones((3, 7), dtype=np.float32)])


def test_another_index_is_not_overwritten(copy: Path, model: MedColBERT) -> None:
    with pytest.raises(
        CorpusError, match=r"is finished; it was made of rows from Python as .*bits 2.* and this is .*bits 4"
    ):
        TokenIndex.build(copy, ROWS[:60], model, TokenSettings(bits=4, shard_rows=20))
    TokenIndex.open(copy, model).delete([ROWS[0]["id"]])
    with pytest.raises(CorpusError, match="and rows were added or deleted since"):
        TokenIndex.build(copy, ROWS[:60], model, TokenSettings(shard_rows=20))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "there are no rows to index"),
        (["text"], "row 0 is a str; expected a mapping"),
        ([{"id": "a"}], "row 0 cannot be used: no text under 'text'"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "row 1 cannot be used: its id came before"),
    ],
    ids=["none", "string", "no text", "twice"],
)
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, model: MedColBERT, rows: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=re.escape(message)):
        TokenIndex.build(tmp_path / "index", rows, model)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is not a token index: make one with"):
        TokenIndex.open(tmp_path)


def test_only_one_process_writes(copy: Path, model: MedColBERT) -> None:
    with (
        writing(copy, INDEX),
        TokenIndex.open(copy, model) as index,
        pytest.raises(CorpusBusyError, match="is in use by"),
    ):
        index.append([{"id": "x", "text": "y"}])


@pytest.mark.parametrize("settings", [{"k": 0}, {"candidates": 0}, {"probe": 0}], ids=lambda item: next(iter(item)))
def test_searches_that_mean_nothing(built: Path, model: MedColBERT, settings: dict[str, int]) -> None:
    name, value = next(iter(settings.items()))
    with TokenIndex.open(built, model) as index:
        with pytest.raises(SettingError, match=f"{name}={value}: give a whole number from 1"):
            index.search("pain", **settings)  # type: ignore[call-overload]
        with pytest.raises(InputTypeError, match="text 0 is a int"):
            index.search([3])  # type: ignore[list-item]
        assert index.search([]) == []


def test_settings_that_mean_nothing() -> None:
    with pytest.raises(SettingError, match="shard_rows=0"):
        TokenSettings(shard_rows=0)
    with pytest.raises(SettingError, match=r"pool_factor=0\.5"):
        TokenSettings(pool_factor=0.5)
