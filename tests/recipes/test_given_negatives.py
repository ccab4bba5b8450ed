"""Negatives that a source brings along: every layout is read, and mining leaves them in place."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from medembed.recipes import pipeline
from medembed.recipes.artifacts import Artifact
from medembed.recipes.records import Failure, Mined, Pair, Triplet, content_id, read_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from tests.recipes.conftest import write_lines

Loaded = Callable[..., tuple[Recipe, Places]]
COURTS = ["supreme", "district", "family", "labor", "tax", "maritime"]
ASKED = [f"appeal to the {court} court" for court in COURTS]
RIGHT = [f"An appeal to the {court} court is filed within thirty days of its ruling." for court in COURTS]
WRONG = [
    [f"A {court} court {verb} nothing of the matter in that first year." for verb in ("hears", "writes")]
    for court in COURTS
]
TABLE = list(zip(ASKED, RIGHT, WRONG, strict=True))


def _jsonl(path: Path) -> str:
    write_lines(path / "given.jsonl", [{"query": q, "positive": p, "negatives": n} for q, p, n in TABLE])
    return 'format = "jsonl"\npath = "given.jsonl"\nnegatives = "negatives"'


def _parquet(path: Path) -> str:
    parquet.write_table(pa.table({"query": ASKED, "positive": RIGHT, "negatives": WRONG}), path / "given.parquet")
    return 'format = "parquet"\npath = "given.parquet"\nnegatives = "negatives"'


def _csv(path: Path) -> str:
    with (path / "given.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "positive", "negative_1", "negative_2"])
        writer.writerows([q, p, *n] for q, p, n in TABLE)
    return 'format = "csv"\npath = "given.csv"\nnegatives = ["negative_1", "negative_2"]'


def _flag_embedding(path: Path) -> str:
    write_lines(path / "given.jsonl", [{"query": q, "pos": [p], "neg": n} for q, p, n in TABLE])
    return 'format = "jsonl"\npath = "given.jsonl"\npositive = "pos"\nnegatives = "neg"'


def _triplets(path: Path) -> str:
    lines = [{"query": q, "pos": p, "neg": text} for q, p, n in TABLE for text in n]
    write_lines(path / "given.jsonl", lines)
    return 'format = "jsonl"\npath = "given.jsonl"\npositive = "pos"\nnegatives = "neg"'


def _anchors(path: Path) -> str:
    lines = [{"anchor": q, "positive": p, "negative": text} for q, p, n in TABLE for text in n]
    write_lines(path / "given.jsonl", lines)
    return 'format = "jsonl"\npath = "given.jsonl"\nquery = "anchor"\nnegatives = "negative"'


LAYOUTS = {
    "jsonl": _jsonl,
    "parquet": _parquet,
    "csv": _csv,
    "flag-embedding": _flag_embedding,
    "triplets": _triplets,
    "anchor-positive-negative": _anchors,
}


@pytest.fixture
def given(recipe_folder: Path, loaded: Loaded) -> Callable[..., dict[str, Artifact]]:
    """Build the small recipe with a source of pairs in it, up to a stage."""

    def build(source: str, *settings: str, until: str = "triplets") -> dict[str, Artifact]:
        recipe = recipe_folder / "recipe.toml"
        recipe.write_text(recipe.read_text() + f"\n[pairs.sources.given]\n{source}\n")
        built = pipeline.build(*loaded("triplets.held_out=0", *settings), until)
        return {item.step.key: item.artifact for item in built}

    return build


def rows_of(built: dict[str, Artifact]) -> dict[str, Triplet]:
    rows = read_parquet(built["triplets"].parts("train"), Triplet)
    return {row.query: row for row in rows if row.source == "given"}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_same_rows(
    layout: Callable[[Path], str], recipe_folder: Path, given: Callable[..., dict[str, Artifact]]
) -> None:
    built = given(layout(recipe_folder), "negatives.method=none", "pairs.writer=none")
    rows = rows_of(built)
    assert {query: (row.positive, row.negatives) for query, row in rows.items()} == {q: (p, n) for q, p, n in TABLE}
    exported = built["triplets"].folder / "dataset/flagembedding/train.jsonl"
    lines = [json.loads(line) for line in exported.read_text().splitlines()]
    assert {line["query"]: line["neg"] for line in lines} == dict(zip(ASKED, WRONG, strict=True))


@pytest.mark.parametrize("method", ["dense", "bm25", "both"])
def test_mining_leaves_given_negatives_in_place_and_fills_up(
    method: str, recipe_folder: Path, given: Callable[..., dict[str, Artifact]]
) -> None:
    wanted = ("negatives.per_query=3", "negatives.max_score_ratio=1.0", "negatives.rank_to=40")
    built = given(_jsonl(recipe_folder), f"negatives.method={method}", *wanted)
    rows = rows_of(built)
    for query, positive, negatives in TABLE:
        row = rows[query]
        assert row.negatives[:2] == negatives
        assert len(row.negatives) == 3
        assert len(set(row.negatives) | {positive}) == 4
        assert len(row.scores) == 4  # of the positive, and of each negative
    mined = {row.pair_id: row for row in read_parquet(built["negatives"].parts("mined"), Mined)}
    ones = [mined[content_id(query, positive)] for query, positive, _ in TABLE]
    assert all(score != 0 for row in ones for score in row.scores)


def test_more_given_than_asked_for_are_all_kept(recipe_folder: Path, given: Callable[..., dict[str, Artifact]]) -> None:
    rows = rows_of(given(_jsonl(recipe_folder), "negatives.method=bm25", "negatives.per_query=1"))
    assert [row.negatives for row in rows.values()] == [WRONG[ASKED.index(query)] for query in rows]


@pytest.mark.parametrize(
    ("changed", "pairs", "reasons"),
    [
        pytest.param({"negatives": None}, 1, [], id="null"),
        pytest.param({"negatives": []}, 1, [], id="empty-list"),
        pytest.param({"negatives": ["", " "]}, 1, [], id="blank"),
        pytest.param({"negatives": [3]}, 0, ["not text"], id="number"),
        pytest.param({"negatives": {"a": "b"}}, 0, ["not text"], id="object"),
        pytest.param({"negatives": [RIGHT[0].upper()]}, 1, ["negative that is a positive"], id="positive"),
        pytest.param({"positive": RIGHT[:2], "negatives": WRONG[0]}, 2, [], id="two-positives"),
        pytest.param({"positive": []}, 0, ["empty"], id="no-positive"),
        pytest.param({"query": [ASKED[0]]}, 1, [], id="query-in-a-list"),
    ],
)
def test_what_a_row_may_hold(
    changed: dict[str, Any],
    pairs: int,
    reasons: list[str],
    recipe_folder: Path,
    given: Callable[..., dict[str, Artifact]],
) -> None:
    other = {"query": "another", "positive": RIGHT[5], "negatives": WRONG[5]}
    write_lines(recipe_folder / "given.jsonl", [other, {"query": ASKED[0], "positive": RIGHT[0]} | changed])
    source = 'format = "jsonl"\npath = "given.jsonl"\nnegatives = "negatives"'
    built = given(source, "pairs.writer=none", until="pairs")["pairs"]
    found = [row for row in read_parquet(built.parts("pairs"), Pair) if row.query != "another"]
    assert len(found) == pairs
    assert [row.reason for row in read_parquet(built.parts("failures"), Failure)] == reasons


def test_a_negative_of_a_development_set_is_taken_out_and_counted(
    recipe_folder: Path, given: Callable[..., dict[str, Artifact]]
) -> None:
    measured = "The tenant pays the rent on the third working day of each month unless agreed otherwise in writing."
    write_lines(recipe_folder / "development/corpus.jsonl", [{"_id": "d", "text": measured}])
    write_lines(
        recipe_folder / "given.jsonl", [{"query": q, "positive": p, "negatives": [*n, measured]} for q, p, n in TABLE]
    )
    source = 'format = "jsonl"\npath = "given.jsonl"\nnegatives = "negatives"'
    built = given(source, "pairs.writer=none", until="filters")["filters"]
    assert built.summary["negatives_dropped"] == len(TABLE)
    assert [row.negatives for row in read_parquet(built.parts("pairs"), Pair)] == WRONG


def test_a_column_that_is_not_there_is_named_with_its_setting(
    recipe_folder: Path, given: Callable[..., dict[str, Artifact]]
) -> None:
    source = _jsonl(recipe_folder).replace('negatives = "negatives"', 'negatives = "hard"')
    with pytest.raises(Exception, match=r"hard.*pairs\.sources\.given\.negatives"):
        given(source, until="pairs")
