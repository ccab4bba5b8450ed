"""Hybrid search: both sides' candidates, fused by weight or rank."""

from pathlib import Path

import numpy as np
import pytest

from medembed import EmbeddedCorpus, MedEmbed
from medembed.corpus.embed import Settings
from medembed.corpus.hybrid import Candidates, Hybrid, fused
from medembed.errors import CorpusError, InputTypeError, SettingError

TEXTS = {
    "a": "HLA-B27 is associated with ankylosing spondylitis",
    "b": "chest pain and shortness of breath",
    "c": "pain in the chest on exertion",
    "d": "itchy rash of the hands",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, fake: MedEmbed) -> EmbeddedCorpus:
    rows = [{"id": name, "text": text, "kind": name in "ab"} for name, text in TEXTS.items()]
    from medembed.rows.read import Columns

    return EmbeddedCorpus.build(tmp_path_factory.mktemp("c"), rows, fake, Settings(Columns(kept={"kind": "bool"})))


def test_the_ends_of_the_weight_are_dense_and_lexical_search(corpus: EmbeddedCorpus) -> None:
    query = "chest pain in the hands"
    dense = [hit.id for hit in corpus.search(query, k=4)]
    assert [hit.id for hit in corpus.search(query, k=4, hybrid=Hybrid(weight=1))] == dense
    lexical = corpus.search("ankylosing", k=4, hybrid=Hybrid(weight=0))
    assert (lexical[0].id, lexical[0].score) == ("a", 1.0)
    assert {hit.score for hit in lexical[1:]} == {0.0}


def test_formulas_of_the_fusions_on_a_hand_worked_case() -> None:
    found = Candidates(np.arange(3), np.array([0.9, 0.5, 0.1], np.float32), np.array([0, 10, 5], np.float32))
    np.testing.assert_allclose(fused(found, Hybrid(weight=0.25)), [0.25, 0.125 + 0.75, 0.375], atol=1e-6)
    np.testing.assert_allclose(
        fused(found, Hybrid("rrf")), [1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 63 + 1 / 62], atol=1e-6
    )


def test_scores_that_are_all_the_same_count_fully_unless_they_are_nought() -> None:
    one = Candidates(np.arange(1), np.array([0.4], np.float32), np.array([0], np.float32))
    assert fused(one, Hybrid(weight=0.75)).tolist() == [0.75]


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
    assert "a" not in {hit.id for hit in own.search("HLA-B27", k=4, hybrid=Hybrid(weight=0))}


def test_the_index_of_words_is_kept_and_made_again_when_rows_change(tmp_path: Path, fake: MedEmbed) -> None:
    rows = [{"id": name, "text": text} for name, text in TEXTS.items()]
    own = EmbeddedCorpus.build(tmp_path / "c", rows, fake)
    first = [hit.score for hit in own.search("ankylosing", hybrid=Hybrid())]
    [kept] = (tmp_path / "c" / "derived").glob("bm25*")
    again = EmbeddedCorpus.open(tmp_path / "c", fake)
    assert [hit.score for hit in again.search("ankylosing", hybrid=Hybrid())] == first
    again.append([{"id": "e", "text": "ankylosing spondylitis of the spine"}])
    assert {hit.id for hit in again.search("ankylosing", k=2, hybrid=Hybrid(weight=0))} == {"a", "e"}
    assert [path != kept for path in (tmp_path / "c" / "derived").glob("bm25*")] == [True]


def test_a_weight_is_chosen_where_it_is_known_what_is_relevant(corpus: EmbeddedCorpus) -> None:
    found = corpus.choose_weight(["ankylosing", "itchy"], [{"a": 1}, {"d": 2}])
    assert list(found)[:2] == [0.0, 0.05]
    assert found[0.0] == 1.0
    assert all(0 <= value <= 1 for value in found.values())
    with pytest.raises(SettingError, match="2 queries, but judgements for 1"):
        corpus.choose_weight(["x", "y"], [{"a": 1}])


def test_what_hybrid_search_needs_is_said(tmp_path: Path, corpus: EmbeddedCorpus, fake: MedEmbed) -> None:
    with pytest.raises(InputTypeError, match="needs the queries' texts, not their vectors"):
        corpus.search(np.zeros((1, 16), dtype=np.float32), hybrid=Hybrid())
    bare = EmbeddedCorpus.build(tmp_path / "c", [{"id": "a", "text": "x"}], fake, Settings(store_text=False))
    with pytest.raises(CorpusError, match="holds no texts, which hybrid search needs: index again with --store-text"):
        bare.search("x", hybrid=Hybrid())
    with pytest.raises(SettingError, match=r"weight=1.5: give a share of the dense score, from 0 to 1"):
        Hybrid(weight=1.5)
    with pytest.raises(SettingError, match="fusion='sum': choose one of weighted, rrf"):
        Hybrid("sum")  # type: ignore[arg-type]
