"""Hard negatives: within the ranks, below the positive, and never an answer in disguise."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medembed.recipes import pipeline
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.records import Mined, Pair, Triplet, content_id, read_parquet
from medembed.recipes.reporting import Reporter
from medembed.recipes.schema import Negatives, Recipe, Triplets
from medembed.recipes.sources import Places
from medembed.recipes.stage import StageRun
from medembed.recipes.stages import negatives, triplets
from medembed.recipes.stages.negatives import allowed, choose, read_corpus
from medembed.recipes.stages.triplets import is_held_out
from medembed.recipes.training.selection import select
from medembed.search import on_disk as topk
from medembed.search.bm25 import Bm25

Loaded = Callable[..., tuple[Recipe, Places]]


def pair(query: str, passage: str, note: str = "", source: str = "s", doc: str = "d") -> Pair:
    return Pair(content_id(query, passage), note, doc, source, query, "given", passage, -1, -1, 5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Negatives(per_query=2, rank_to=6), [1, 2]),
        (Negatives(per_query=2, rank_to=2), [1]),
        (Negatives(per_query=2, rank_to=6, max_score_ratio=1.0), [0, 1]),
        (Negatives(per_query=4, rank_to=6, max_score_ratio=0.5), [3, 4, 5]),
    ],
    ids=["ratio", "rank to", "no margin", "wide margin"],
)
def test_negatives_are_chosen_by_rank_and_ratio(settings: Negatives, expected: list[int]) -> None:
    scores = np.array([0.78, 0.76, 0.6, 0.4, 0.3, 0.2, 0.1], dtype=np.float32)
    assert choose(np.arange(7), scores, 0.8, settings) == expected


def test_answers_in_disguise_are_masked() -> None:
    corpus = read_corpus(
        [
            pair("gout", "Allopurinol lowers uric acid.", doc="d1"),
            pair("uric acid", "allopurinol LOWERS uric acid!", doc="d2"),
            pair("diet", "Beer raises uric acid.", doc="d1"),
            pair("Gout?", "Colchicine stops the attack.", doc="d3"),
            pair("fever", "Paracetamol lowers a fever.", doc="d4"),
        ]
    )
    rows = np.arange(5)
    assert allowed(corpus, 0, rows).tolist() == [False, False, False, False, True]
    assert allowed(corpus, 4, rows).tolist() == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("other", "masked"),
    [
        ({"note": "window-2", "doc": "note-1"}, True),
        ({"note": "window-2", "doc": "note-1", "source": "notes:lead"}, True),
        ({"doc": "note-1#2"}, True),
        ({"doc": "note-2"}, False),
        ({"doc": "note-1", "source": "articles"}, False),
    ],
    ids=["another window", "another kind of pair", "a part", "another note", "another source"],
)
def test_no_passage_of_the_positives_own_document_is_a_negative(other: dict[str, str], masked: bool) -> None:
    own = pair("fever", "The fever went down at once.", note="window-1", doc="note-1", source="notes")
    corpus = read_corpus([own, pair("pulse", "The pulse was high all day.", **({"source": "notes"} | other))])
    assert allowed(corpus, 0, np.array([1])).tolist() == [not masked]


def test_a_passage_that_stands_in_two_documents_is_masked_for_both() -> None:
    shared = "Seen by the doctor on call."
    corpus = read_corpus([pair("a", shared, doc="1"), pair("b", shared, doc="2"), pair("c", "Nothing new.", doc="2")])
    assert allowed(corpus, 2, np.array([0])).tolist() == [False]


def test_windows_of_one_note_are_not_each_others_negatives(loaded: Loaded) -> None:
    """With windows this short, most of what looks alike is the rest of the same note."""
    built = {
        item.step.key: item.artifact
        for item in pipeline.build(*loaded("base.model=mini", "notes.max_words=24"), "negatives")
    }
    pairs = {row.pair_id: row for row in read_parquet(built["filters"].parts("pairs"), Pair)}
    documents: dict[str, set[str]] = {}
    for row in pairs.values():
        documents.setdefault(content_id(row.passage), set()).add(row.doc_id)
    mined = list(read_parquet(built["negatives"].parts("mined"), Mined))
    assert sum(len(row.negative_ids) for row in mined) > 20
    assert all(pairs[row.pair_id].doc_id not in documents[key] for row in mined for key in row.negative_ids)


@pytest.mark.parametrize("method", ["dense", "bm25", "both", "none"])
def test_every_method_mines_what_its_settings_allow(loaded: Loaded, method: str) -> None:
    built = {
        item.step.key: item.artifact for item in pipeline.build(*loaded(f"negatives.method={method}"), "negatives")
    }
    pairs = {row.pair_id: row for row in read_parquet(built["filters"].parts("pairs"), Pair)}
    mined = list(read_parquet(built["negatives"].parts("mined"), Mined))
    assert {row.pair_id for row in mined} == set(pairs)
    found = sum(len(row.negative_ids) for row in mined)
    assert (found == 0) is (method == "none")
    for row in mined:
        assert row.passage_id not in row.negative_ids
        assert len(row.negative_ids) <= 2
        assert all(score <= 0.95 * row.scores[0] for score in row.scores[1:])


def test_bm25_ranks_the_passage_with_the_words_first_and_scores_it_alike() -> None:
    index = Bm25(["allopurinol lowers uric acid", "insulin lowers blood sugar", "a cast mends bones"])
    rows, scores = index.search(["uric acid", "bones in a cast"], 5)
    assert rows[:, 0].tolist() == [0, 2]
    assert index.score_of("uric acid", 0) == pytest.approx(float(scores[0, 0]), rel=1e-4)
    assert index.score_of("unknownword", 0) == 0.0


def test_caps_join_all_sources_of_a_pattern() -> None:
    pairs = [pair(f"q{index}", f"p{index}", source=f"onto:{index % 2}") for index in range(100)]
    pairs += [pair(f"r{index}", f"p{index}", source="whole") for index in range(10)]
    chosen = select(pairs, Triplets(caps={"onto:*": 30}), 1)
    assert Counter(row.source.partition(":")[0] for row in chosen) == {"onto": 30, "whole": 10}
    assert select(reversed(pairs), Triplets(caps={"onto:*": 30}), 1) == chosen


def test_another_draw_takes_other_rows_of_capped_sources_and_all_of_the_rest() -> None:
    pairs = [pair(f"q{index}", f"p{index}", source="capped") for index in range(100)]
    pairs += [pair(f"r{index}", f"p{index}", source="whole") for index in range(10)]
    first, second = (
        {row.query for row in select(pairs, Triplets(caps={"capped": 20}, draw=draw), 1)} for draw in (0, 1)
    )
    assert len(first) == len(second) == 30
    assert first & second >= {f"r{index}" for index in range(10)}
    assert len(first & second) < 25


def test_only_pairs_that_will_be_trained_on_are_mined_for(loaded: Loaded) -> None:
    built = {item.step.key: item.artifact for item in pipeline.build(*loaded('triplets.caps={"*"=20}'), "triplets")}
    assert built["filters"].summary["rows"] > 20
    assert len(list(read_parquet(built["negatives"].parts("mined"), Mined))) == 20


def test_rounds_after_the_first_take_caps_of_their_own(loaded: Loaded, tmp_path: Path) -> None:
    """Mining and rows of round two, in the place of a whole run, which would train in between."""
    recipe, places = loaded("negatives.method=bm25", 'later.triplets.caps={"*"=7}', "triplets.held_out=0.0")
    built = {item.step.key: item.artifact for item in pipeline.build(recipe, places, "triplets")}
    assert built["triplets"].summary["rows"] > 7
    inputs = {"filters": built["filters"]}
    with Reporter(progress=False) as reporter, reporter.task("second round") as task:
        for stage in (negatives, triplets):
            out = ArtifactWriter(tmp_path / stage.STAGE.name)
            summary = stage.run(StageRun(recipe.of_round(2), places, inputs, out, task, round=2))
            inputs[stage.STAGE.name] = out.finish({}, summary)
            assert summary["rows"] == 7


def test_a_document_is_never_split(loaded: Loaded) -> None:
    built = pipeline.build(*loaded("triplets.held_out=0.3"), "triplets")[-1].artifact
    train, held_out = (
        {row.doc_id for row in read_parquet(built.parts(name), Triplet)} for name in ("train", "held_out")
    )
    assert train
    assert held_out
    assert not train & held_out
    assert all(is_held_out(doc, 13, 0.3) for doc in held_out)


def test_the_layouts_hold_the_same_rows(loaded: Loaded) -> None:
    folder = pipeline.build(*loaded(), "triplets")[-1].artifact.folder
    rows = list(read_parquet(sorted((folder / "train").glob("*.parquet")), Triplet))
    table = [
        json.loads(line) for line in (folder / "dataset/sentence-transformers/train.jsonl").read_text().splitlines()
    ]
    assert {tuple(line) for line in table} == {("query", "positive", "negative_1", "negative_2")}
    assert [line["query"] for line in table] == [row.query for row in rows]
    flag = [json.loads(line) for line in (folder / "dataset/flagembedding/train.jsonl").read_text().splitlines()]
    assert [(line["query"], line["pos"]) for line in flag] == [(row.query, [row.positive]) for row in rows]
    assert all(line["neg"][: len(row.negatives)] == row.negatives for line, row in zip(flag, rows, strict=True))
    lines = (folder / "dataset/triplets/train.jsonl").read_text().splitlines()
    assert len(lines) == 2 * len(rows)
    card = (folder / "dataset/README.md").read_text()
    assert "made by the tests" in card
    assert "CC0" in card


def test_vectors_come_by_row_number_from_any_part_and_never_from_outside(tmp_path: Path) -> None:
    vectors = np.arange(14, dtype=np.float32).reshape(7, 2)
    parts = [tmp_path / "0.npy", tmp_path / "1.npy"]
    np.save(parts[0], vectors[:4])
    np.save(parts[1], vectors[4:])
    assert topk.vectors_at(parts, np.array([6, 0, 4])).tolist() == vectors[[6, 0, 4]].tolist()
    with pytest.raises(AssertionError, match="2 of 3 rows lie outside of the 7"):
        topk.vectors_at(parts, np.array([7, 0, -1]))
