"""Late-interaction models measured through mteb: over whole corpora, and after a first stage."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from medembed import MedColBERT
from medembed.errors import SettingError
from medembed.evaluation.models import Setup, model_ref
from medembed.evaluation.results import load_results
from medembed.evaluation.run import evaluate
from tests.colbert import folders

# mteb and its libraries are noisy; what they warn of is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def colbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.stanford(tmp_path_factory.mktemp("colbert") / "late")


def ranking(folder: Path, beir: Path) -> dict[str, list[str]]:
    """Documents of each query by MaxSim, without mteb."""
    documents = [json.loads(line) for line in (beir / "corpus.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (beir / "queries.jsonl").read_text().splitlines()]
    with MedColBERT(folder, precision="fp32", threads=1) as model:
        return {
            query["_id"]: [
                documents[item.index]["_id"] for item in model.rerank(query["text"], [d["text"] for d in documents])
            ]
            for query in queries
        }


def test_a_whole_corpus_is_searched_by_maxsim(colbert: Path, beir_folder: Path, tmp_path: Path) -> None:
    setup = Setup(threads=1, precision="fp32")
    outcome = evaluate([colbert], [beir_folder], tmp_path / "out", setup=setup)[0]
    assert outcome.error is None
    assert outcome.model == "local/late (precision=fp32)"
    found = load_results([tmp_path / "out"])[0]
    expected = [float(ranked[0] == f"d{query[1:]}") for query, ranked in sorted(ranking(colbert, beir_folder).items())]
    assert list(found.per_query["ndcg_at_1"]) == expected
    details: Any = json.loads(next((tmp_path / "out" / "details").rglob("diseases.json")).read_text())
    assert details["encoding"]["query_length"] == 16
    assert details["encoding"]["texts"] == 20
    assert evaluate([colbert], [beir_folder], tmp_path / "out", setup=setup)[0].reused


def test_what_a_first_stage_leaves_out_cannot_come_back(colbert: Path, beir_folder: Path, tmp_path: Path) -> None:
    shallow = Setup(threads=1, first_stage="bm25", depth=1)
    outcome = evaluate([colbert, "bm25"], [beir_folder], tmp_path / "out", setup=shallow)
    assert [o.error for o in outcome] == [None, None]
    reranked, bm25 = sorted(load_results([tmp_path / "out"]), key=lambda item: "bm25s" in item.model.name)
    # with one document a query there is nothing to put in another order
    assert list(reranked.per_query["ndcg_at_1"]) == list(bm25.per_query["ndcg_at_1"])
    assert max(reranked.per_query["recall_at_100"]) <= 1.0


def test_a_dense_first_stage_is_named_in_the_results(colbert: Path, beir_folder: Path, tmp_path: Path) -> None:
    setup = Setup(threads=1, first_stage="mini", depth=5)
    outcome = evaluate([colbert], [beir_folder], tmp_path / "out", setup=setup)[0]
    assert outcome.error is None
    assert re.search(r"depth.*5", outcome.model)
    assert re.search(r"first_stage=medembed.mini@sha256-", outcome.model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts": "none"}, "prompts='none' is for dense models"),
        ({"truncate_dim": 8}, "truncate_dim=8 is for dense models"),
    ],
    ids=["prompts", "dimensions"],
)
def test_settings_of_dense_models_are_refused(colbert: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        model_ref(colbert, Setup(**settings))


def test_a_first_stage_is_dense_and_deep_enough(colbert: Path) -> None:
    with pytest.raises(SettingError, match="is a late-interaction model: give a dense model or bm25"):
        model_ref(colbert, Setup(first_stage=str(colbert)))
    with pytest.raises(SettingError, match="depth=0: give at least 1 document"):
        Setup(depth=0)
