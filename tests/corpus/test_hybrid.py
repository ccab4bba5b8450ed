"""Hybrid search: candidates of both sides, and a little of BM25 beside the dense score."""

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from medembed import EmbeddedCorpus, MedEmbed
from medembed.corpus.embed import Settings
from medembed.corpus.hybrid import Candidates, Hybrid, candidates, fused
from medembed.corpus.scan import Block
from medembed.corpus.search import Index
from medembed.errors import CorpusError, InputTypeError, SettingError
from medembed.rows.read import Columns
from medembed.search.bm25 import Bm25
from medembed.storage.scopes import Scope

# So much that the dense score decides between equals only.
LEXICAL = Hybrid(weight=1000)

TEXTS = {
    "a": "HLA-B27 is associated with ankylosing spondylitis",
    "b": "chest pain and shortness of breath",
    "c": "pain in the chest on exertion",
    "d": "itchy rash of the hands",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, fake: MedEmbed) -> EmbeddedCorpus:
    rows = [{"id": name, "text": text, "kind": name in "ab"} for name, text in TEXTS.items()]
    return EmbeddedCorpus.build(tmp_path_factory.mktemp("c"), rows, fake, Settings(Columns(kept={"kind": "bool"})))


def test_the_ends_of_the_weight_are_dense_and_lexical_search(corpus: EmbeddedCorpus) -> None:
    query = "chest pain in the hands"
    dense = corpus.search(query, k=4)
    assert [hit.id for hit in corpus.search(query, k=4, hybrid=Hybrid(weight=0))] == [hit.id for hit in dense]
    assert corpus.search("ankylosing", k=1, hybrid=LEXICAL)[0].id == "a"


def test_the_formula_on_a_hand_worked_case() -> None:
    found = Candidates(np.arange(3), np.array([0.9, 0.5, 0.1], np.float32), np.array([0, 10, 5], np.float32), 0.2)
    np.testing.assert_allclose(fused(found, Hybrid(weight=0.25)), [0.9, 0.5 + 0.5, 0.1 + 0.25], atol=1e-6)


def test_the_weight_fits_models_whose_cosines_lie_close_together() -> None:
    near = np.array([0.70, 0.68], np.float32), np.array([0, 1], np.float32)
    assert fused(Candidates(np.arange(2), *near, 0.01), Hybrid(weight=1)).argmax() == 0
    assert fused(Candidates(np.arange(2), *near, 0.03), Hybrid(weight=1)).argmax() == 1


def test_bm25_counts_less_where_the_best_row_stands_out() -> None:
    def counted(lead: float) -> float:
        found = Candidates(np.arange(2), np.zeros(2, np.float32), np.array([0, 1], np.float32), 1.0, lead)
        return float(fused(found, Hybrid(weight=1))[1])

    assert [counted(lead) for lead in (0, 1.5)] == [1, 1]
    assert counted(1.5 + 1 / 1.5) == pytest.approx(np.exp(-1))
    assert counted(6) < 0.002


@pytest.mark.parametrize(
    ("rows", "allowed", "place"), [(19, 19, 1), (300, 300, 30), (3_000, 3_000, 100), (3_000, 50, 5)]
)
def test_the_lead_is_over_the_hundredth_row_or_a_tenth_of_few(rows: int, allowed: int, place: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((rows, 8)).astype(np.float32)
    blocks = [Block(0, vectors)]
    mask = None if allowed == rows else np.arange(rows) < allowed
    index = Index(blocks, "float32", blocks, "float32", None, mask)
    query = rng.standard_normal((1, 8)).astype(np.float32)
    scores = np.sort((vectors @ query[0])[:allowed])[::-1]
    [found] = candidates(index, Bm25(["fever"] * rows), ["chills"], query, 10)
    assert found.lead == pytest.approx((scores[0] - scores[place - 1]) / found.spread, rel=1e-4)
    assert len(found.rows) == 10


def test_the_spread_is_that_of_the_dense_scores_of_the_corpus(corpus: EmbeddedCorpus, fake: MedEmbed) -> None:
    query = "ankylosing"
    cosines = corpus.vectors() @ fake.encode_query([query])[0]
    both = corpus.search(query, k=4, hybrid=Hybrid(weight=1))
    words = Bm25(list(TEXTS.values())).scores(query)
    expected = {name: cosine + cosines.std() * word for name, cosine, word in zip(TEXTS, cosines, words, strict=True)}
    assert {hit.id: hit.score for hit in both} == pytest.approx(expected, abs=1e-4)


def test_a_query_without_known_words_is_searched_by_vectors_alone(corpus: EmbeddedCorpus) -> None:
    query = "zzz qqq"
    assert [hit.id for hit in corpus.search(query, k=4, hybrid=Hybrid())] == [
        hit.id for hit in corpus.search(query, k=4)
    ]


def test_filters_and_deletions_hold_for_both_sides(tmp_path: Path, fake: MedEmbed, corpus: EmbeddedCorpus) -> None:
    found = corpus.search("chest pain", k=4, hybrid=Hybrid(), filter={"kind": False})
    assert {hit.id for hit in found} == {"c", "d"}
    rows = [{"id": name, "text": text} for name, text in TEXTS.items()]
    own = EmbeddedCorpus.build(tmp_path / "c", rows, fake)
    own.delete(["a"])
    assert "a" not in {hit.id for hit in own.search("HLA-B27", k=4, hybrid=LEXICAL)}


def test_the_index_of_words_is_kept_and_made_again_when_rows_change(tmp_path: Path, fake: MedEmbed) -> None:
    rows = [{"id": name, "text": text} for name, text in TEXTS.items()]
    own = EmbeddedCorpus.build(tmp_path / "c", rows, fake)
    first = [hit.score for hit in own.search("ankylosing", hybrid=Hybrid())]
    [kept] = (tmp_path / "c" / "derived").glob("bm25*")
    again = EmbeddedCorpus.open(tmp_path / "c", fake)
    assert [hit.score for hit in again.search("ankylosing", hybrid=Hybrid())] == first
    again.append([{"id": "e", "text": "ankylosing spondylitis of the spine"}])
    assert {hit.id for hit in again.search("ankylosing", k=2, hybrid=LEXICAL)} == {"a", "e"}
    assert [path != kept for path in (tmp_path / "c" / "derived").glob("bm25*")] == [True]


made: list[float] = []


class Slow(Bm25):
    """BM25 that takes its time, and notes that it is being made."""

    def __init__(self, passages: Sequence[str]) -> None:
        if passages:  # one that is read from disk is made of none
            made.append(time.monotonic())
            time.sleep(0.3)
        super().__init__(passages)


@pytest.fixture
def slow(tmp_path: Path, fake: MedEmbed, monkeypatch: pytest.MonkeyPatch) -> EmbeddedCorpus:
    """A corpus of two patients, nothing derived yet, whose BM25 is slow to make."""
    made.clear()
    monkeypatch.setattr("medembed.corpus.store.Bm25", Slow)
    rows = [{"id": name, "text": text, "patient": "one" if name in "ab" else "other"} for name, text in TEXTS.items()]
    return EmbeddedCorpus.build(tmp_path / "c", rows, fake, Settings(Columns(scope="patient")))


def test_threads_that_search_for_the_first_time_make_the_index_of_words_once(slow: EmbeddedCorpus) -> None:
    scopes: list[Scope] = ["all", {"patient": "one"}] * 4
    with ThreadPoolExecutor(len(scopes)) as pool:
        found = list(pool.map(lambda scope: slow.search("ankylosing", k=1, hybrid=LEXICAL, scope=scope), scopes))
    assert [hits[0].id for hits in found] == ["a"] * len(scopes)
    assert len(made) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of any fork with threads
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_while_a_thread_makes_it_makes_its_own(slow: EmbeddedCorpus) -> None:
    def search() -> bool:
        return slow.search("ankylosing", k=1, hybrid=LEXICAL, scope="all")[0].id == "a"

    thread = threading.Thread(target=search)
    thread.start()
    while not made:
        time.sleep(0.01)
    child = multiprocessing.get_context("fork").Process(target=lambda: os._exit(0 if search() else 3))
    child.start()
    child.join(30)
    ended = child.exitcode
    child.kill()
    thread.join()
    assert ended == 0


def test_a_weight_is_chosen_where_it_is_known_what_is_relevant(corpus: EmbeddedCorpus) -> None:
    found = corpus.choose_weight(["ankylosing", "itchy"], [{"a": 1}, {"d": 2}])
    assert list(found)[:2] == [0.0, 0.01]
    assert found[1.0] == 1.0
    assert all(0 <= value <= 1 for value in found.values())
    with pytest.raises(SettingError, match="2 queries, but judgements for 1"):
        corpus.choose_weight(["x", "y"], [{"a": 1}])


def test_what_hybrid_search_needs_is_said(tmp_path: Path, corpus: EmbeddedCorpus, fake: MedEmbed) -> None:
    with pytest.raises(InputTypeError, match="needs the queries' texts, not their vectors"):
        corpus.search(np.zeros((1, 16), dtype=np.float32), hybrid=Hybrid())
    bare = EmbeddedCorpus.build(tmp_path / "c", [{"id": "a", "text": "x"}], fake, Settings(store_text=False))
    with pytest.raises(CorpusError, match="holds no texts, which hybrid search needs: index again with --store-text"):
        bare.search("x", hybrid=Hybrid())
    with pytest.raises(SettingError, match=r"weight=-1: give what BM25 counts, from 0"):
        Hybrid(weight=-1)
    with pytest.raises(SettingError, match=r"hybrid is a bool: give hybrid=Hybrid\(\), from medembed import Hybrid"):
        corpus.search("gout", hybrid=True)  # type: ignore[call-overload]
    with pytest.raises(SettingError, match=r"weight=nan: give what BM25 counts, from 0"):
        Hybrid(weight=float("nan"))
    with pytest.raises(SettingError, match=r"depth=0: give at least 1 candidate a side"):
        Hybrid(depth=0)
