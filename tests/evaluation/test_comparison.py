"""Comparisons: tables, verdicts and what is said where nothing can be said."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medembed.errors import ResultsError
from medembed.evaluation import plots, report
from medembed.evaluation.comparison import MEAN, Comparison, Question, compare
from medembed.evaluation.results import load_results
from tests.evaluation.conftest import WriteResult

pytestmark = pytest.mark.thorough

RNG = np.random.default_rng(0)
BASE = np.clip(RNG.normal(0.5, 0.2, 120), 0, 1).round(6)
BETTER = np.clip(BASE + RNG.normal(0.06, 0.05, 120), 0, 1).round(6)
ALIKE = np.clip(BASE + RNG.normal(0.0, 0.05, 120), 0, 1).round(6)


@pytest.fixture
def output(write_result: WriteResult) -> Path:
    tuned = {
        "n_parameters": 30_000_000,
        "adapted_from": "org/base",
        "license": "mit",
        "training_datasets": ["NFCorpus"],
    }
    for task in ("First", "Second"):
        write_result("org/base", task, BASE, meta={"n_parameters": 100_000_000})
        write_result("org/alike", task, ALIKE)
        write_result("org/tuned", task, BETTER, meta=tuned)
    return write_result("org/tuned", "Third", BETTER, meta=tuned)


@pytest.fixture
def comparison(output: Path) -> Comparison:
    return compare(load_results([output]), Question(resamples=999))


def verdict(comparison: Comparison, first: str, second: str, task: str = MEAN) -> str:
    for pair in comparison.pairs:
        if pair.task == task and {pair.first, pair.second} == {first, second}:
            turned = {"better": "worse", "worse": "better"}
            return pair.verdict if pair.first == first else turned.get(pair.verdict, pair.verdict)
    raise AssertionError(f"{first} and {second} were not tested on {task}")


def test_better_is_said_where_it_holds(comparison: Comparison) -> None:
    assert verdict(comparison, "org/tuned", "org/base") == "better"
    assert verdict(comparison, "org/base", "org/tuned", "First") == "worse"


def test_no_difference_is_shown_where_there_is_none(comparison: Comparison) -> None:
    assert verdict(comparison, "org/alike", "org/base") == "no difference shown"


def test_the_mean_is_over_tasks_every_model_has(comparison: Comparison) -> None:
    assert comparison.mean_tasks == ["First", "Second"]
    assert comparison.means["org/tuned"] == pytest.approx(BETTER.mean())
    assert "Third" not in comparison.scores["org/base"]


def test_correction_counts_every_test_of_the_report(comparison: Comparison) -> None:
    # 3 pairs x (2 tasks + their mean)
    assert len(comparison.pairs) == 9
    assert all(pair.p_holm >= pair.p_value for pair in comparison.pairs)
    smallest = min(pair.p_value for pair in comparison.pairs)
    assert min(pair.p_holm for pair in comparison.pairs) == pytest.approx(9 * smallest)


def test_a_difference_that_only_one_test_of_many_would_show_is_not_called_better(write_result: WriteResult) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, 60)
    # t = 0.03 / (0.1 / sqrt(60)) = 2.3: alone, p is about 0.02; of 10 tests it is one
    slightly_better = BASE[:60] + 0.03 + 0.1 * (noise - noise.mean()) / noise.std()
    for name, values in {"base": BASE[:60], "slightly": slightly_better}.items():
        write_result(f"org/{name}", "T", values)
    for name in "xyz":
        output = write_result(f"org/{name}", "T", rng.permutation(BASE[:60]))
    found = compare(load_results([output]), Question(resamples=999)).pairs
    alone = [pair for pair in found if pair.p_value < 0.05 and not pair.low <= 0 <= pair.high]
    assert alone
    assert {pair.verdict for pair in alone if pair.p_holm >= 0.05} == {"no difference shown"}


def test_against_tests_fewer_pairs(output: Path) -> None:
    found = compare(load_results([output]), Question(against="alike", tuned=["tuned"], base=["base"], resamples=99))
    assert {frozenset((pair.first, pair.second)) for pair in found.pairs} == {
        frozenset(("org/tuned", "org/alike")),
        frozenset(("org/base", "org/alike")),
        frozenset(("org/tuned", "org/base")),
    }


def test_a_small_tuned_model_is_held_against_larger_bases(comparison: Comparison) -> None:
    assert [(pair.first, pair.second, pair.verdict) for pair in comparison.tuned_against_base] == [
        ("org/tuned", "org/base", "better")
    ]


def test_a_base_model_of_the_same_size_is_not_larger(write_result: WriteResult) -> None:
    write_result("a/tuned", "T", BASE, meta={"n_parameters": 22_713_216, "adapted_from": "b/base"})
    output = write_result("b/base", "T", BETTER, meta={"n_parameters": 22_713_728})
    assert compare(load_results([output]), Question(resamples=99)).tuned_against_base == []


def test_sizes_and_speed_come_from_the_results(comparison: Comparison) -> None:
    assert comparison.sizes == {
        "under 35 M": ["org/tuned"],
        "35 to 120 M": ["org/base"],
        "size unknown": [label for label in comparison.models if label == "org/alike"],
    }
    assert comparison.speed["org/base"] == pytest.approx(50.0)


def test_wins_count_measures_on_tasks_both_have(comparison: Comparison) -> None:
    # two tasks x nDCG@10 and recall@10
    assert comparison.win_cells["org/tuned"]["org/base"] == 4
    assert comparison.wins["org/tuned"]["org/base"] == 4
    assert comparison.wins["org/base"]["org/tuned"] == 0


def test_a_task_of_several_parts_counts_only_the_parts_all_have(write_result: WriteResult) -> None:
    write_result("a/a", "Parts", {"english": [0.5, 0.5, 0.5], "french": [0.1, 0.1, 0.1]})
    output = write_result("b/b", "Parts", {"english": [0.25, 0.25, 0.25]})
    found = compare(load_results([output]), Question(resamples=99))
    assert found.scores == {"a/a": {"Parts": 0.5}, "b/b": {"Parts": 0.25}}
    assert found.pairs[0].difference == pytest.approx(0.25)


def test_parts_weigh_as_mteb_weighs_them(write_result: WriteResult) -> None:
    write_result("a/a", "Parts", {"x": [1.0] * 10, "y": [0.5, 0.5]})
    write_result("a/a", "Whole", [0.5, 0.5])
    write_result("b/b", "Parts", {"x": [0.0] * 10, "y": [0.5, 0.5]})
    output = write_result("b/b", "Whole", [0.5, 0.5])
    found = compare(load_results([output]), Question(resamples=99))
    by_task = {pair.task: pair.difference for pair in found.pairs}
    assert by_task == pytest.approx({MEAN: 0.25, "Parts": 0.5, "Whole": 0.0})


def test_results_without_scores_per_query_are_shown_but_not_tested(write_result: WriteResult) -> None:
    write_result("a/a", "T", BASE)
    output = write_result("b/b", "T", BETTER, details=False)
    found = compare(load_results([output]))
    assert found.pairs == []
    assert found.scores["b/b"]["T"] == pytest.approx(BETTER.mean())
    assert found.notes == ["T: b/b against a/a cannot be tested, scores per query are missing"]


def test_different_data_under_one_name_are_refused(write_result: WriteResult) -> None:
    write_result("a/a", "T", BASE)
    output = write_result("b/b", "T", BETTER, data="sha256-2")
    with pytest.raises(ResultsError, match=r"T was measured on different data: sha256-1 .* sha256-2"):
        compare(load_results([output]))


def test_one_model_is_not_a_comparison(write_result: WriteResult) -> None:
    with pytest.raises(ResultsError, match="1 model in these results; a comparison needs two"):
        compare(load_results([write_result("a/a", "T", BASE)]))


def test_an_unknown_model_is_named_with_the_known_ones(output: Path) -> None:
    with pytest.raises(ResultsError, match=r"'nobody' is not among the models .* org/alike, org/base, org/tuned"):
        compare(load_results([output]), Question(against="nobody"))


def test_models_go_by_the_names_they_were_evaluated_under(write_result: WriteResult) -> None:
    write_result("mteb/baseline-bm25s", "T", BASE)
    results = load_results([write_result("medembed/mini", "T", BETTER)])
    (pair,) = compare(results, Question(against="bm25")).pairs[:1]
    assert (pair.first, pair.second) == ("medembed/mini", "mteb/baseline-bm25s")
    assert compare(results, Question(against="mini")).pairs[0].second == "medembed/mini"


def test_two_revisions_of_a_model_are_two_models(write_result: WriteResult, tmp_path: Path) -> None:
    old = write_result("a/a", "T", BASE)
    new = write_result("a/a", "T", BETTER, folder="new", meta={"revision": "rev2"})
    found = compare(load_results([old, new]), Question(resamples=99))
    assert sorted(found.models) == ["a/a @rev1", "a/a @rev2"]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no results; expected results/<model>/<revision>/<task>.json"):
        load_results([tmp_path])


def test_a_broken_result_is_named(write_result: WriteResult) -> None:
    output = write_result("a/a", "T", BASE)
    path = next(output.glob("results/**/T.json"))
    path.write_text('{"task_name": "T"')
    with pytest.raises(ResultsError, match=r"T.json is not valid JSON"):
        load_results([output])
    path.write_text('{"task_name": "T"}')
    with pytest.raises(ResultsError, match=r"T.json: not a result of mteb"):
        load_results([output])


def test_markdown_shows_scores_tests_and_verdicts(comparison: Comparison) -> None:
    text = report.to_markdown(comparison, {"Scores by task": "scores.svg"})
    assert f"| org/tuned | {BETTER.mean() * 100:.2f} |" in text
    assert "| org/tuned against org/base | mean of tasks | +" in text
    assert "| 4 of 4 |" in text
    assert "no difference shown |" in text
    assert "![Scores by task](scores.svg)" in text


def test_json_holds_every_field(comparison: Comparison) -> None:
    parsed = json.loads(report.to_json(comparison))
    assert parsed.keys() == comparison.__dataclass_fields__.keys()
    assert parsed["models"]["org/tuned"]["trained_on"] == ["NFCorpus"]


def test_html_is_one_page_that_fetches_nothing(comparison: Comparison, tmp_path: Path) -> None:
    drawings = {name: path.read_text() for name, path in plots.draw(comparison, tmp_path).items()}
    page = report.to_html(comparison, drawings)
    assert page.count("<svg") == 3
    assert "org/tuned against org/base" in page
    for outside in ("src=", "<link", "@import", "url(http"):
        assert outside not in page


def test_plots_are_png_and_svg_and_the_same_each_time(comparison: Comparison, tmp_path: Path) -> None:
    first, second = plots.draw(comparison, tmp_path / "1"), plots.draw(comparison, tmp_path / "2")
    assert sorted(first) == ["scores", "speed", "wins"]
    for name, path in first.items():
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert path.read_text() == second[name].read_text()
        assert "org/tuned" in path.read_text()
    assert sorted(file.name for file in (tmp_path / "1").iterdir()) == sorted(
        f"{name}.{suffix}" for name in first for suffix in ("png", "svg")
    )


def test_the_command_prints_and_writes_the_report(output: Path, tmp_path: Path) -> None:
    target = tmp_path / "report"
    command = [sys.executable, "-m", "medembed", "compare", str(output), "-o", str(target), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["mean_tasks"] == ["First", "Second"]
    names = {"report.md", "report.json", "report.html", *(f"{n}.{s}" for n in plots.TITLES for s in ("png", "svg"))}
    assert {file.name for file in target.iterdir()} == names
