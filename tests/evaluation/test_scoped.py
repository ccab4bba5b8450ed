"""MODEL+scopes: a ranking that is put in the order of what documents assert."""

from typing import Any

import pytest

pytest.importorskip("mteb")

from medembed.evaluation.models import Setup, model_ref
from medembed.evaluation.mteb_bridge import ScopedSearch, model_meta

TEXTS = ["She denies chest pain.", "She reports chest pain."]


class Equal:
    """A search that tells no document from another."""

    def index(self, corpus: Any, **_: Any) -> None:
        self.names = corpus["id"]

    def search(self, queries: Any, **_: Any) -> dict[str, dict[str, float]]:
        return {row["id"]: dict.fromkeys(self.names, 0.5) for row in queries}


@pytest.mark.parametrize(
    ("query", "scores"),
    [
        ("patient with chest pain", [0.25, 0.5]),
        ("patient without chest pain", [0.5, 0.25]),
        ("chest pain", [0.5, 0.5]),
    ],
)
def test_documents_that_assert_something_else_fall_back(query: str, scores: list[float]) -> None:
    from datasets import Dataset

    searching = ScopedSearch(Equal(), model_meta(model_ref("bm25+scopes", Setup())))
    rows = [{"id": str(place), "title": "", "text": text} for place, text in enumerate(TEXTS)]
    searching.index(Dataset.from_list(rows))
    assert searching.search([{"id": "q", "text": query}])["q"] == {"0": scores[0], "1": scores[1]}


@pytest.mark.parametrize("name", ["mini", "bm25", "colbert:mini"])
def test_the_results_are_of_a_variant(name: str) -> None:
    plain, scoped = model_ref(name, Setup()), model_ref(f"{name}+scopes", Setup())
    assert (plain.scoped, scoped.scoped) == (False, True)
    assert scoped.variant == {**plain.variant, "scopes": "query"}
    assert model_meta(scoped).experiment_kwargs == dict(scoped.variant)
    assert model_meta(plain).experiment_kwargs != model_meta(scoped).experiment_kwargs
