"""Rankings kept as TREC run files: what is in them, when they are written, and what cannot be."""

from pathlib import Path

import pytest

from medembed.checkpoints.registry import BUNDLED
from medembed.errors import TaskDataError
from medembed.evaluation.models import Setup
from medembed.evaluation.rankings import RunFiles, lines
from medembed.evaluation.results import load_results
from medembed.evaluation.run import evaluate
from medembed.search.ranking import ndcg
from tests.evaluation.conftest import write_folder

# mteb and its libraries are noisy; what they warn of is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_run_file_gives_the_scores_of_its_result(beir_folder: Path, tmp_path: Path) -> None:
    evaluate([BUNDLED, "bm25"], [beir_folder], tmp_path / "out", setup=Setup(threads=1), rankings=tmp_path / "runs")
    runs = sorted((tmp_path / "runs").rglob("*.run"))
    measured = load_results([tmp_path / "out"])
    assert len(runs) == len(measured) == 2
    for path, result in zip(runs, measured, strict=True):
        rows = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
        assert {(len(row), row[1]) for row in rows} == {(6, "Q0")}
        by_query = {query: [row for row in rows if row[0] == query] for query in result.query_ids}
        assert sum(map(len, by_query.values())) == len(rows)
        for query, value in zip(result.query_ids, result.per_query["ndcg_at_10"], strict=True):
            ranking = by_query[query]
            assert [int(row[3]) for row in ranking] == list(range(1, len(ranking) + 1))
            assert [float(row[4]) for row in ranking] == sorted((float(row[4]) for row in ranking), reverse=True)
            assert ndcg([row[2] for row in ranking], {f"d{query[1:]}": 1}) == pytest.approx(value, abs=1e-6)


def test_what_was_measured_without_them_is_measured_again_once(beir_folder: Path, tmp_path: Path) -> None:
    def run(rankings: Path | None) -> bool:
        (outcome,) = evaluate(["bm25"], [beir_folder], tmp_path / "out", rankings=rankings)
        return outcome.reused

    runs = tmp_path / "runs"
    assert [run(None), run(None), run(runs), run(runs), run(None)] == [False, True, False, True, True]
    assert len(list(runs.rglob("*"))) == len(list(runs.rglob("*.run"))) + len(
        [p for p in runs.rglob("*") if p.is_dir()]
    )


def test_equal_scores_stand_as_trec_eval_takes_them() -> None:
    found = {"q2": {"a": 1.0}, "q1": {"a": 0.5, "c": 0.5, "b": 0.5}}
    assert [line.split()[:4] for line in lines(found, "m")] == [
        ["q1", "Q0", "c", "1"],
        ["q1", "Q0", "b", "2"],
        ["q1", "Q0", "a", "3"],
        ["q2", "Q0", "a", "1"],
    ]


def test_a_task_of_several_parts_has_a_file_for_each(tmp_path: Path) -> None:
    runs = RunFiles(tmp_path / "m" / "task.run", (("test", "en"), ("test", "de")), "m")
    runs.write("test", "en", {"q": {"a": 1.0}})
    assert not runs.are_there()
    runs.write("test", "de", {"q": {"a": 1.0}})
    assert runs.are_there()
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["task.test.de.run", "task.test.en.run"]


@pytest.mark.parametrize("where", ["query", "document"])
def test_an_id_with_a_blank_costs_its_task_and_is_not_shown(where: str, tmp_path: Path) -> None:
    query, document = ("smith j", "d") if where == "query" else ("q", "smith j")
    folder = write_folder(tmp_path / "set", {document: "Gout.", "e": "Asthma."}, {query: "gout?"}, [(query, document)])
    (outcome,) = evaluate(["bm25"], [folder], tmp_path / "out", rankings=tmp_path / "runs")
    assert isinstance(outcome.error, TaskDataError)
    assert "measure without --save-rankings" in str(outcome.error)
    assert "smith" not in str(outcome.error)
    assert [path for path in (tmp_path / "runs").rglob("*") if path.is_file()] == []
