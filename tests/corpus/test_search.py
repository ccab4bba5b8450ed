"""Search finds exactly what comparing every vector finds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medembed import EmbeddedCorpus, MedEmbed, vectors
from medembed.corpus import scan
from medembed.corpus.embed import Settings
from medembed.corpus.search import ScanKind
from medembed.errors import CorpusDamagedError, CorpusError, InputTypeError, SettingError
from medembed.rows.read import Columns
from medembed.search.topk import Best
from medembed.storage import derived
from tests.corpus.conftest import text_of

KEPT = Settings(Columns(kept={"year": "int", "ward": "string"}), shard_rows=64)


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"n{i}", "text": text_of(i), "year": 2000 + i % 10, "ward": "icu" if i % 3 else "er"}
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, fake: MedEmbed) -> EmbeddedCorpus:
    return EmbeddedCorpus.build(tmp_path_factory.mktemp("corpus"), rows(300), fake, KEPT)


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("n_queries", [1, 2, 40])
def test_search_is_exact(n_queries: int, corpus: EmbeddedCorpus, fake: MedEmbed) -> None:
    queries = [f"chest pain {text_of(number)}" for number in range(n_queries)]
    scores = fake.encode_query(queries) @ corpus.vectors().T
    found = corpus.search(queries, k=7)
    for hits, row in zip(found, scores, strict=True):
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(row)[::-1][:7], atol=1e-6)
        assert {hit.id for hit in hits} == {corpus.ids[number] for number in best(row[None], 7)[0]}


def test_hits_carry_what_the_row_had(corpus: EmbeddedCorpus) -> None:
    [hit] = corpus.search(text_of(42), k=1)
    assert (hit.id, hit.text, hit.kept) == ("n42", text_of(42), {"year": 2002, "ward": "er"})
    assert hit.score == pytest.approx(1)


def test_groups_of_shards_are_searched_together_and_apart(
    corpus: EmbeddedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = corpus.search(text_of(250), k=300)
    monkeypatch.setattr(derived, "GROUP_ROWS", 100)
    monkeypatch.setattr(scan, "TOGETHER", 50)
    monkeypatch.setattr(scan, "MOST", 7)
    with EmbeddedCorpus.open(corpus.path, corpus.model) as again:
        assert [block.start for block in again.index().stored] == [0, 64, 128, 192, 256]
        assert [block.start for block in again.index("binary").first] == [0, 128, 256]
        several = again.search([text_of(250), text_of(7)], k=300)[0]
        assert [hit.id for hit in several] == [hit.id for hit in whole]
        assert [hit.id for hit in again.search(text_of(250), k=300)] == [hit.id for hit in whole]


def test_more_rows_than_there_are_gives_all(corpus: EmbeddedCorpus) -> None:
    assert len(corpus.search("cough", k=1000)) == 300


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"year": 2004}, lambda i: i % 10 == 4),
        ({"ward": "icu", "year": [2004, 2005]}, lambda i: i % 3 and i % 10 in (4, 5)),
        ({"id": ["n1", "n250"]}, lambda i: i in (1, 250)),
        ({"year": 1900}, lambda i: False),
    ],
    ids=["value", "several", "ids", "none"],
)
def test_a_filter_lets_through_what_it_says(chosen: dict[str, Any], expected: Any, corpus: EmbeddedCorpus) -> None:
    found = corpus.search("fever", k=300, filter=chosen)
    assert {hit.id for hit in found} == {f"n{i}" for i in range(300) if expected(i)}


def test_a_filter_may_be_an_expression(corpus: EmbeddedCorpus) -> None:
    compute = pytest.importorskip("pyarrow.compute")
    found = corpus.search("fever", k=300, filter=(compute.field("year") >= 2008) & ~(compute.field("ward") == "er"))
    assert {hit.id for hit in found} == {f"n{i}" for i in range(300) if i % 10 >= 8 and i % 3}


def test_a_filter_that_does_not_fit_names_the_columns(corpus: EmbeddedCorpus) -> None:
    with pytest.raises(CorpusError, match="its columns are id, source, line, year, ward; keep more with --keep"):
        corpus.search("fever", filter={"clinic": "x"})
    with pytest.raises(CorpusError, match="does not fit"):
        corpus.search("fever", filter={"year": "two thousand"})


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, mini: MedEmbed) -> dict[str, EmbeddedCorpus]:
    """Passages of the demonstration, embedded for real and stored in every way."""
    from medembed import demo

    texts = list(dict.fromkeys(passage.text[:100] for passage in demo.passages()))[:200]
    matrix = mini.encode_document(texts)
    made = {}
    for kind in ("float32", "float16", "int8", "binary"):
        folder = tmp_path_factory.mktemp(kind)
        given = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
        made[kind] = EmbeddedCorpus.build(folder, given, _Known(mini, texts, matrix), Settings(vectors=kind))  # type: ignore[arg-type]
    return made


class _Known:
    """The model, with documents encoded once for all four corpora."""

    def __init__(self, model: MedEmbed, texts: list[str], matrix: NDArray[np.float32]) -> None:
        self._model, self._rows = model, dict(zip(texts, matrix, strict=True))

    def encode_document(self, texts: list[str], *, show_progress_bar: bool | None = None) -> NDArray[np.float32]:
        return np.stack([self._rows[text] for text in texts])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


QUERIES = ["painful swollen joint", "child with fever and rash", "high blood sugar", "cannot sleep"]


@pytest.mark.parametrize(
    ("stored", "over", "least"),
    [
        ("float16", "auto", 1.0), ("float32", "int8", 1.0), ("float32", "binary", 0.9), ("float16", "int8", 1.0),
        ("int8", "auto", 0.9), ("binary", "auto", 0.5), ("int8", "binary", 0.9),
    ],
)  # fmt: skip
@pytest.mark.parametrize("at_once", [1, 4, 20])
def test_a_scan_of_bytes_or_bits_finds_nearly_the_same(
    stored: str, over: ScanKind, least: float, at_once: int, real: dict[str, EmbeddedCorpus], mini: MedEmbed
) -> None:
    queries = mini.encode_query(QUERIES * max(1, at_once // 4))
    exact = real["float32"].search(queries, k=5)
    batches = [queries[start : start + at_once] for start in range(0, len(queries), at_once)]
    found = [hits for batch in batches for hits in real[stored].search(batch, k=5, scan=over)]
    shared = [len({hit.id for hit in a} & {hit.id for hit in b}) / 5 for a, b in zip(exact, found, strict=True)]
    assert np.mean(shared) >= least
    if stored == "float32":  # candidates are scored in floats again
        scores = {hit.id: hit.score for hit in exact[0]}
        assert all(hit.score == pytest.approx(scores[hit.id], abs=1e-6) for hit in found[0] if hit.id in scores)


@pytest.mark.parametrize("n_queries", [1, 20], ids=["byte by byte", "as a matrix"])
def test_scores_of_bytes_are_those_of_the_values_they_stand_for(n_queries: int, mini: MedEmbed) -> None:
    random = np.random.default_rng(0)
    documents = vectors.normalize(random.standard_normal((50, 384), dtype=np.float32))
    queries = vectors.normalize(random.standard_normal((n_queries, 384), dtype=np.float32))
    stored = mini.quantize(documents, "int8")
    scores = scan.scorer("int8", queries, mini.vector_ranges)(stored)
    np.testing.assert_allclose(scores, queries @ vectors.to_float(stored, "int8", mini.vector_ranges).T, atol=3e-3)


@pytest.mark.parametrize(("stored", "over"), [("int8", "exact"), ("binary", "int8")])
def test_a_corpus_cannot_be_scanned_over_what_it_does_not_hold(
    stored: str, over: ScanKind, real: dict[str, EmbeddedCorpus]
) -> None:
    with pytest.raises(CorpusError, match=f"this corpus stores {stored} vectors"):
        real[stored].search(np.zeros((1, 384), dtype=np.float32), scan=over)


def test_wrong_arguments_say_what_is_right(corpus: EmbeddedCorpus) -> None:
    with pytest.raises(SettingError, match="k=0: give at least 1"):
        corpus.search("x", k=0)
    with pytest.raises(SettingError, match="scan='fast': choose one of auto, exact, int8, binary"):
        corpus.search("x", scan="fast")  # type: ignore[call-overload]
    with pytest.raises(InputTypeError, match=r"shape \(16,\); expected \(n, 16\)"):
        corpus.search(np.zeros(16, dtype=np.float32))


def test_equal_scores_come_in_the_order_of_rows_however_they_fall_into_blocks() -> None:
    scores = np.array([[0.5, 0.9, 0.5, 0.5, 0.5, 0.9]], dtype=np.float32)
    for size in (1, 2, 3, 6):
        found = Best(1, 4)
        for start in range(0, 6, size):
            found.add(scores[:, start : start + size], start)
        assert found.ranked()[0][0].tolist() == [1, 5, 0, 2]


def test_deleted_rows_are_found_no_more_and_compacting_removes_their_bytes(tmp_path: Path, fake: MedEmbed) -> None:
    corpus = EmbeddedCorpus.build(tmp_path / "c", rows(100), fake, KEPT)
    assert corpus.delete(["n42", "n7"]) == 2
    assert len(corpus) == 98
    assert {"n42", "n7"} & {hit.id for hit in corpus.search(text_of(42), k=100)} == set()
    with pytest.raises(CorpusError, match=r"1 of 2 ids are not in .*; the first of these is number 1 of those given"):
        corpus.delete(["n8", "n42"])
    assert len(corpus) == 98
    before = corpus.vectors()
    corpus.compact(shard_rows=40)
    assert corpus.ids == [f"n{i}" for i in range(100) if i not in (7, 42)]
    np.testing.assert_array_equal(corpus.vectors(), before)
    assert [shard.n_rows for shard in corpus.manifest.shards] == [40, 40, 18]
    assert corpus.verify() == []
    assert {path.name.split("-")[0] for path in corpus.path.glob("**/*") if path.name.startswith("deleted")} == set()


def test_a_deleted_row_may_come_again(tmp_path: Path, fake: MedEmbed) -> None:
    corpus = EmbeddedCorpus.build(tmp_path / "c", rows(10), fake, KEPT)
    corpus.delete(["n3"])
    summary = corpus.append([{"id": "n3", "text": "corrected", "year": 2024, "ward": "icu"}])
    assert (summary.n_rows, summary.embedded) == (10, 1)
    assert corpus.search("corrected", k=1)[0].id == "n3"


def test_a_lost_list_of_deletions_does_not_bring_rows_back(tmp_path: Path, fake: MedEmbed) -> None:
    corpus = EmbeddedCorpus.build(tmp_path / "c", rows(10), fake)
    corpus.delete(["n3"])
    next((tmp_path / "c").glob("deleted.*")).unlink()
    with pytest.raises(CorpusDamagedError, match="says which rows were deleted"):
        EmbeddedCorpus.open(tmp_path / "c", fake).search("x")


def test_rows_that_cannot_be_used_are_named_by_number(tmp_path: Path, fake: MedEmbed) -> None:
    with pytest.raises(CorpusError, match="row 1 cannot be used: no id under 'id', but nothing"):
        EmbeddedCorpus.build(tmp_path / "c", [{"id": "a", "text": "x"}, {"text": "y"}], fake)
    with pytest.raises(CorpusError, match="row 1 cannot be used: its id came before"):
        EmbeddedCorpus.build(tmp_path / "c", [{"id": "a", "text": "x"}] * 2, fake)


def test_an_empty_corpus_can_be_searched(tmp_path: Path, fake: MedEmbed) -> None:
    corpus = EmbeddedCorpus.build(tmp_path / "c", [], fake)
    assert (len(corpus), corpus.ids, corpus.search("x"), corpus.vectors().shape) == (0, [], [], (0, 16))


def test_vectors_are_mapped_and_not_copied(corpus: EmbeddedCorpus) -> None:
    arrow = pytest.importorskip("pyarrow")
    before = arrow.total_allocated_bytes()
    with EmbeddedCorpus.open(corpus.path, corpus.model) as again:
        block = again.index().stored[0]
        assert arrow.total_allocated_bytes() == before
        assert not block.vectors.flags.writeable


def test_json_of_a_hit_is_plain(corpus: EmbeddedCorpus) -> None:
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(corpus.search("fever", k=1)[0])))["kept"]["ward"] in ("icu", "er")
