"""Every filter drops what it should, with its reason, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medembed.errors import EmptyStageError
from medembed.recipes import near_duplicates, pipeline
from medembed.recipes.decontamination import Overlap
from medembed.recipes.records import Pair, read_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stages.filters import anaphoric
from medembed.search import on_disk as topk
from tests.recipes.conftest import medical_words

Loaded = Callable[..., tuple[Recipe, Places]]
GOOD = "Allopurinol lowers uric acid and so prevents further attacks in most people with gout."


def run(
    loaded: Loaded, recipe_folder: Path, rows: list[tuple[str, str]], *settings: str
) -> tuple[list[str], dict[str, int]]:
    lines = [
        json.dumps({"query": query, "positive": passage, "source": "s", "doc_id": str(i)}) + "\n"
        for i, (query, passage) in enumerate(rows)
    ]
    (recipe_folder / "pairs.jsonl").write_text("".join(lines))
    given = ("pairs.sources.given.format=jsonl", "pairs.sources.given.path=pairs.jsonl", "pairs.writer=none")
    artifact = pipeline.build(*loaded(*given, *settings), "filters")[-1].artifact
    return [pair.query for pair in read_parquet(artifact.parts("pairs"), Pair)], artifact.summary["counts"]


@pytest.mark.parametrize(
    ("query", "passage", "reason"),
    [
        ("gout " * 70, GOOD, "query outside 1 to 64 words"),
        ("gout", "Rest and water.", "passage outside 8 to 400 words"),
        ("what prevents GOUT", GOOD.upper(), "exact duplicate"),
        ("gout gout", "gout gout gout gout gout gout gout gout", "degenerate positive"),
        ("fracture of the knee", GOOD + " Really.", "equals an evaluation text"),
    ],
    ids=["long query", "short passage", "duplicate", "degenerate", "evaluation"],
)
def test_a_bad_pair_is_dropped_with_its_reason(
    loaded: Loaded, recipe_folder: Path, query: str, passage: str, reason: str
) -> None:
    kept, counts = run(loaded, recipe_folder, [("what prevents gout", GOOD), (query, passage)])
    assert kept == ["what prevents gout"]
    assert counts == {reason: 1}


@pytest.mark.parametrize(
    ("query", "dropped"),
    [
        ("How did the patient's condition respond to the treatment?", True),
        ("This study enrolled forty adults.", True),
        ("It was then stopped.", True),
        ("What did the first trial show about aspirin?", True),
        ("How is gout treated?", False),
        ("patients with gout", False),
    ],
)
def test_queries_that_any_note_answers_are_anaphoric(query: str, dropped: bool) -> None:
    pair = Pair("p", "n", "d", "s", query, "question", GOOD, 0, 9, 5)
    assert (anaphoric(medical_words())(pair) == "anaphoric query") is dropped


def test_a_shared_run_of_thirteen_words_is_contamination_and_twelve_are_not() -> None:
    words = [f"w{index}" for index in range(30)]
    overlap = Overlap([" ".join(words)], 13)
    assert (
        overlap.reason("x " + " ".join(words[3:16]).upper() + ", y")
        == "shares 13 words in a row with an evaluation text"
    )
    assert overlap.reason("x " + " ".join(words[3:15]) + " y") is None


def test_near_duplicates_need_both_query_and_passage_alike() -> None:
    long = " ".join(f"word{index}" for index in range(60))
    queries = ["gout treatment", "gout treatment", "pain relief", "gout treatment"]
    passages = [long, long + " more", long + " more", "something quite different about other things altogether"]
    assert near_duplicates.find(queries, passages, 0.8) == [1]


def test_near_duplicates_agree_with_exact_jaccard() -> None:
    random = np.random.default_rng(0)
    texts = []
    for _ in range(60):
        words = [f"w{number}" for number in random.integers(0, 500, 80)]
        texts += [" ".join(words), " ".join(words[:78]), " ".join(f"v{n}" for n in random.integers(0, 500, 80))]
    found = near_duplicates.find(["same"] * len(texts), texts, 0.8)
    assert [index % 3 for index in found].count(1) == len(found) >= 57


def test_the_round_trip_keeps_what_its_query_finds(loaded: Loaded, recipe_folder: Path) -> None:
    parts = ["knee", "elbow", "wrist", "spine", "shoulder", "hip"]
    rows = [
        (f"{part} pain", f"Pain in the {part} gets better with rest and with warm water at night.") for part in parts
    ]
    rows.append(("hip pain", "Insulin lowers blood sugar and is given under the skin before most meals."))
    settings = ["base.model=mini", "filters.round_trip_top_k=2", "filters.near_duplicates=1.0"]
    kept, counts = run(loaded, recipe_folder, rows, *settings)
    assert kept == [f"{part} pain" for part in parts]
    assert counts == {"own passage not in the top 2 for its query": 1}


def test_the_llms_own_low_score_is_a_reason(loaded: Loaded, recipe_folder: Path) -> None:
    _, counts = run(loaded, recipe_folder, [("what prevents gout", GOOD)], "filters.min_relevance=5")
    assert counts == {}
    with pytest.raises(EmptyStageError, match="relevance score below 6"):
        run(loaded, recipe_folder, [("what prevents gout", GOOD)], "filters.min_relevance=6")


def test_nothing_left_stops_with_the_table_of_counts(loaded: Loaded, recipe_folder: Path) -> None:
    with pytest.raises(EmptyStageError) as caught:
        run(loaded, recipe_folder, [("gout", "Rest."), ("gout", "Water.")])
    assert "Of 2 pairs were dropped" in str(caught.value)
    assert "2  passage outside 8 to 400 words" in str(caught.value)
    assert "Rest." not in str(caught.value)


def test_exact_search_in_blocks_equals_sorting_everything(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    documents, queries = (random.normal(size=(count, 16)).astype(np.float32) for count in (500, 40))
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    parts = []
    for index in range(7):
        parts.append(tmp_path / f"{index}.npy")
        np.save(parts[-1], documents[index * 75 : (index + 1) * 75])
    rows, scores = topk.search(queries, parts, 12)
    exact = queries @ documents.T
    order = np.argsort(-exact, axis=1)[:, :12]
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_allclose(scores, np.take_along_axis(exact, order, axis=1), rtol=1e-5)
    np.save(tmp_path / "q.npy", queries)
    [(start, ranks)] = topk.ranks_of([tmp_path / "q.npy"], parts, list(order[:, 4]))
    assert start == 0
    np.testing.assert_array_equal(ranks, np.full(40, 5))
