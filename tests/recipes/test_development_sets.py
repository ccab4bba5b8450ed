"""Development sets: how much of one is measured, and that the fingerprint knows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medembed.recipes import pipeline
from medembed.recipes.retrieval import RetrievalSet, read_sets
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places

Loaded = Callable[..., tuple[Recipe, Places]]


def only_set(loaded: Loaded, *settings: str) -> RetrievalSet:
    [item] = read_sets(*loaded(*settings))
    return item


def test_fewer_documents_keep_every_answer(loaded: Loaded) -> None:
    whole = only_set(loaded)
    part = only_set(loaded, "development.dev.max_queries=4", "development.dev.max_documents=6")
    assert len(part.queries) == 4
    assert len(part.documents) == 6 < len(whole.documents)
    assert {document for judged in part.qrels.values() for document in judged} <= set(part.documents)
    assert part == only_set(loaded, "development.dev.max_queries=4", "development.dev.max_documents=6")


def test_answers_are_kept_even_above_the_limit(loaded: Loaded) -> None:
    part = only_set(loaded, "development.dev.max_documents=1")
    assert {document for judged in part.qrels.values() for document in judged} == set(part.documents)


@pytest.mark.parametrize("setting", ["max_queries", "max_documents"])
def test_another_part_of_a_set_is_another_measure(loaded: Loaded, setting: str, tmp_path: Path) -> None:
    before, after = (
        {step.key: step.fingerprint for step in pipeline.plan(*loaded(*settings))}
        for settings in ((), (f"development.dev.{setting}=5",))
    )
    assert [name for name in before if before[name] != after[name]] == ["train", "merge", "score", "publish"]
