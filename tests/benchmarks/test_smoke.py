"""The benchmarks run on the fake engine, so that they do not rot between measurements. Nothing here judges a time."""

import json
from pathlib import Path

import pytest

from medembed import FakeEngine, MedColBERT, MedEmbed
from medembed.runtime.engines.matrix_rate import forward_operations
from tests.benchmarks import (
    adapters,
    gpu,
    machine,
    models,
    near_copies,
    notes,
    readme,
    report,
    runner,
    small_vectors,
    texts,
    token_vectors,
)
from tests.benchmarks.__main__ import BENCHMARKS, main
from tests.benchmarks.engines import ENGINES
from tests.benchmarks.limit import precisions
from tests.benchmarks.report import Claim
from tests.benchmarks.sizes import FULL, QUICK

pytestmark = pytest.mark.thorough


def test_texts_are_enough_for_every_benchmark_and_as_long_as_said() -> None:
    passages, queries = texts.load("passages"), texts.load("queries")
    assert len(passages) >= max(FULL.passages, FULL.gpu_passages, FULL.fidelity)
    assert len(queries) >= max(FULL.queries, FULL.singles, FULL.fidelity)
    folder = models.folder("minilm")
    lengths = texts.token_counts(folder, "passages", len(passages))
    assert 180 < sum(lengths) / len(lengths) < 220
    assert max(lengths) == 512
    assert {*texts.token_counts(folder, "queries", len(queries))} <= {*range(10, 27)}


def test_asking_for_more_texts_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="2048 are committed"):
        texts.load("passages", 5000)


def test_benchmark_runs_in_turn_and_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passages", "--quick", "--engines", "fake", "--out", str(tmp_path)]) == 0
    assert "fake" in capsys.readouterr().out
    (path,) = tmp_path.glob("*/passages.json")
    found = json.loads(path.read_text())
    assert path.parent.name == machine.slug(found["machine"])
    assert len(found["raw"]["seconds"]["fake"]) == QUICK.rounds
    assert found["rows"][0]["texts/s"] > 0
    assert found["versions"]["fake"]["medembed"]
    assert found["settings"]["texts"] == QUICK.passages
    assert "passages --quick" in found["command"]


def test_every_shape_format_and_kind_of_text_has_its_share_of_the_limit(tmp_path: Path) -> None:
    assert main(["limit", "--quick", "--out", str(tmp_path)]) == 0
    [path] = tmp_path.glob("*/limit.json")
    rows = json.loads(path.read_text())["rows"]
    assert {(row["engine"], row["texts"]) for row in rows} == {
        (f"tiny {precision}", kind) for precision in precisions() for kind in ("short", "mixed", "long")
    }
    assert all(row["of the limit"] > 0 for row in rows)


@pytest.mark.parametrize("name", ["latency", "stream-memory", "import", "maxsim", "token-index"])
def test_benchmark_of_another_kind_runs(name: str, tmp_path: Path) -> None:
    engine = "medembed" if name == "import" else "fake"
    assert main([name, "--quick", "--engines", engine, "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob(f"*/{name}.json"))) == 1


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A BEIR folder of three sentences far apart, each asked for in other words."""
    documents = [
        "Sumatriptan relieves a migraine attack.",
        "Metformin lowers blood glucose.",
        "Wash a burn with cool water.",
    ]
    queries = ["what helps against migraine", "drug for high blood sugar", "first aid for burned skin"]
    for name, texts_ in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": f"{name}{i}", "title": "", "text": text}) for i, text in enumerate(texts_)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    judged = ["query-id\tcorpus-id\tscore", *(f"queries{i}\tcorpus{i}\t1" for i in range(3))]
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(judged))
    return tmp_path


def test_smaller_vectors_of_the_bundled_model_are_measured(three: Path) -> None:
    """Even 64 dimensions or bits tell three sentences from each other."""
    with MedEmbed() as model:
        found = small_vectors.measure(three, model)
    assert found.pop("engine") == three.name
    assert found.pop("queries") == 3
    assert set(found) >= {small_vectors.WHOLE, *small_vectors.PROMISED}
    assert set(found.values()) == {1.0}


def test_token_vectors_of_the_bundled_model_are_measured(three: Path) -> None:
    with MedColBERT(threads=1) as model:
        found = token_vectors.measure(three, model)
    assert found["tokens"] > 15
    assert {found[name] for name in (token_vectors.WHOLE, "index, 2 bits", "index, 4 bits")} == {1.0}


def test_committed_result_reads_back_as_it_was_written(tmp_path: Path) -> None:
    claims = [
        Claim("times", 4.5, at_least=4.0),
        Claim("seconds", 2.0, at_most=1.0),
        Claim("elsewhere", None, at_least=1.0),
    ]
    written = report.Result("x", "title", {"n": 1}, [{"engine": "a", "seconds": 0.5}], claims, 0.01)
    path = report.write(written, "command", "2026-01-01", tmp_path)
    assert report.read(path) == written
    assert [claim["met"] for claim in json.loads(path.read_text())["claims"]] == [True, False, None]


def test_readme_shows_the_committed_results() -> None:
    _, _, rest = readme.README.read_text(encoding="utf-8").partition(readme.BEGIN)
    assert rest.partition(readme.END)[0] == readme.readme_table(), 'renew it: make bench ARGS="--readme"'
    assert readme.PAGE.read_text(encoding="utf-8") == readme.claims_page(), 'renew it: make bench ARGS="--readme"'


def test_every_claim_stands_in_the_table_and_broken_promises_are_named(tmp_path: Path) -> None:
    claims = [Claim("speed: times", 4.5, at_least=4.0), Claim("seconds", 2.0, at_most=1.0)]
    report.write(report.Result("speed", "title", {}, [{"engine": "a"}], claims), "command", "2026-01-01", tmp_path)
    header, _, seconds, times = readme.claims_table(tmp_path).splitlines()
    assert header.startswith("| measured | value | promised |")
    assert seconds.startswith("| speed: seconds | 2 | ≤ 1.0 | **not met** | ")
    assert times.startswith("| speed: times | 4.5 | ≥ 4.0 |  | ")
    assert times.endswith(" | 2026-01-01 |")


def test_readme_shows_four_claims_and_how_many_fall_short(tmp_path: Path) -> None:
    for number, (name, what, _) in enumerate(readme.SHOWN):
        claims = [Claim(what, 2.0, at_least=1.0 + number), Claim("other", 2.0, at_most=1.0)]
        report.write(report.Result(name, "title", {}, [{"engine": "a"}], claims), "command", "2026-01-01", tmp_path)
    (tmp_path / "README.md").write_text(f"before\n{readme.BEGIN}old\n{readme.END}\nafter\n")
    readme.rewrite(tmp_path / "README.md", tmp_path, tmp_path / "promises.md")
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    rows = lines[4 : 4 + len(readme.SHOWN)]
    assert [row.split(" | ")[1:] for row in rows] == [
        ["2", "≥ 1.0 |"],
        ["2", "≥ 2.0 |"],
        ["2 (**not met**)", "≥ 3.0 |"],
        ["2 (**not met**)", "≥ 4.0 |"],
    ]
    assert "6 of 8 promises on 1 kinds of machines" in "\n".join(lines)
    assert "old" not in lines


def test_worker_that_fails_tells_why() -> None:
    with pytest.raises(runner.BenchmarkError, match="no device called this"), _worker_on_an_unknown_device():
        pass


def _worker_on_an_unknown_device() -> runner.Worker:
    return runner.Worker("medembed", runner.Setting(device="no device called this"))


def test_unknown_names_are_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pasages"])
    assert "choose of" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["passages", "--engines", "nobody"])
    assert "nobody" in capsys.readouterr().err


def test_paired_ratio_compares_within_a_round() -> None:
    answers = {"slow": [{"seconds": 4.0}, {"seconds": 8.0}], "fast": [{"seconds": 1.0}, {"seconds": 4.0}]}
    rounds = runner.Rounds(answers, {})
    assert rounds.paired("fast", "slow") == [4.0, 2.0]
    assert rounds.speedup("fast", "slow") == 3.0


def test_forward_operations_of_a_hand_worked_case() -> None:
    # h 2, f 3, 1 layer, one text of 2 tokens: 2·2·(4·4 + 2·6) = 112 for projections, 4·4·2 = 32 for attention
    assert forward_operations(2, 1, 3, [2]) == 144


def test_every_benchmark_and_engine_is_in_the_readme() -> None:
    text = (Path(__file__).parent / "README.md").read_text()
    assert [name for name in [*BENCHMARKS, *adapters.BENCHMARKS, *ENGINES] if f"`{name}`" not in text] == []


@pytest.mark.slow
def test_gpu_comparison_runs_on_any_device() -> None:
    found = gpu.measure("cpu", "tiny", 8, 1, ("st-fp32", "st-bf16", "medembed"))
    assert [row["engine"] for row in found.rows] == ["st-fp32", "st-bf16", "medembed"]
    assert len(found.claims) == 2


def test_copies_in_another_layout_are_told_apart_from_equal_ones() -> None:
    texts_ = [
        f"HPI: Patient {i} has had a cough since day {i}. Doesn't smoke. Works night-shifts.\n\nPLAN: Rest for {i} days. Call if worse."
        for i in range(60)
    ]
    made = notes.cases(texts_, near_copies.COPIED, 8, "sentence")
    with notes.Remembering(engine=FakeEngine(dimension=16)) as model:
        found = {name: near_copies.measure(made, layout, model) for name, layout in near_copies.LAYOUTS.items()}
    same, typeset = found["the same layout"], found["round quotes, long dashes"]
    assert same["once, of the text"] == same["near, of the text"] > 0.3
    assert same["same hits"] == same["same order"] == 1
    assert typeset["once, of the text"] < typeset["near, of the text"]
    assert all(row["near, of the text"] >= row["once, of the text"] for row in found.values())
