"""Measuring through mteb: folders, caching, prompts, per-query scores, offline, resuming; with the bundled model."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed.checkpoints.registry import BUNDLED
from medembed.errors import ResultsError, SettingError, TaskDataError, TaskDownloadError, UnknownTaskError
from medembed.evaluation import mteb_bridge, mteb_tasks
from medembed.evaluation.models import Setup, model_ref
from medembed.evaluation.results import load_results
from medembed.evaluation.run import Outcome, evaluate
from medembed.evaluation.tasks import TASK_SETS, task_refs
from medembed.storage import asides
from tests.evaluation.conftest import write_folder

# mteb and its libraries are noisy; what they warn of is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")
SETUP = Setup(threads=1)


def changed(path: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Outcome]]:
    """A folder, its results, and what `evaluate` said; measured once for many tests."""
    root = tmp_path_factory.mktemp("measured")
    names = ("anaemia", "asthma", "diabetes", "sepsis", "stroke", "migraine", "gout", "hepatitis")
    documents = {f"d{i}": f"A patient with {name} was treated." for i, name in enumerate(names)}
    queries = {f"q{i}": f"what helps against {name}?" for i, name in enumerate(names)}
    folder = write_folder(root / "diseases", documents, queries, [(f"q{i}", f"d{i}") for i in range(len(names))])
    return folder, root / "out", evaluate([BUNDLED, "bm25"], [folder], root / "out", setup=SETUP)


def test_a_folder_is_measured_by_mteb_with_our_model_and_with_bm25(measured: tuple[Path, Path, list[Outcome]]) -> None:
    _, output, outcomes = measured
    assert [(o.model, o.task, o.error, o.reused) for o in outcomes] == [
        ("medembed/mini", "diseases", None, False),
        ("mteb/baseline-bm25s", "diseases", None, False),
    ]
    ours, bm25 = (json.loads(o.path.read_text()) for o in outcomes if o.path)
    assert ours["scores"]["test"][0]["ndcg_at_10"] > 0.95
    assert bm25["scores"]["test"][0]["ndcg_at_10"] == 1.0
    assert ours["task_name"] == "diseases"
    assert ours["dataset_revision"].startswith("sha256-")
    assert ours["mteb_version"].startswith("2.")
    assert outcomes[0].path is not None
    assert outcomes[0].path.relative_to(output).parts[:2] == ("results", "medembed__mini")
    meta = json.loads((outcomes[0].path.parent / "model_meta.json").read_text())
    assert meta["revision"].startswith("sha256-")
    assert meta["n_parameters"] == 22_713_216


def test_scores_per_query_average_to_mtebs_scores(measured: tuple[Path, Path, list[Outcome]]) -> None:
    for item in load_results([measured[1]]):
        assert item.query_ids == tuple(f"q{i}" for i in range(8))
        assert set(item.per_query) > {"ndcg_at_10", "recall_at_100"}
        for measure, values in item.per_query.items():
            assert np.mean(values) == pytest.approx(item.scores[measure], abs=1e-5)


def test_encoding_time_and_device_are_kept(measured: tuple[Path, Path, list[Outcome]]) -> None:
    details = json.loads(next(measured[1].glob("details/medembed__mini/*/diseases.json")).read_text())
    assert details["encoding"]["texts"] == 16
    assert details["encoding"]["device"] == "cpu"
    assert 0 < details["encoding"]["seconds"] < details["seconds"]


def test_each_task_counts_its_own_truncated_texts(measured: tuple[Path, Path, list[Outcome]], tmp_path: Path) -> None:
    shutil.copytree(measured[0], tmp_path / "second")
    setup = Setup(threads=1, max_seq_length=6)  # every text of these folders is longer
    evaluate([BUNDLED], [measured[0], tmp_path / "second"], tmp_path / "out", setup=setup)
    encodings = [json.loads(path.read_text())["encoding"] for path in tmp_path.glob("out/details/**/*.json")]
    assert [(encoding["texts"], encoding["truncated_texts"]) for encoding in encodings] == [(16, 16), (16, 16)]


def test_a_second_run_measures_nothing_and_touches_nothing(measured: tuple[Path, Path, list[Outcome]]) -> None:
    folder, output, first = measured
    before = changed(output)
    again = evaluate([BUNDLED, "bm25"], [folder], output, setup=SETUP)
    assert all(outcome.reused for outcome in again)
    assert [outcome.score for outcome in again] == [outcome.score for outcome in first]
    assert changed(output) == before


def test_changed_data_are_measured_again(measured: tuple[Path, Path, list[Outcome]], tmp_path: Path) -> None:
    folder, output, _ = measured
    copy, results = tmp_path / "diseases", tmp_path / "out"
    shutil.copytree(folder, copy)
    shutil.copytree(output, results)
    judged = (copy / "qrels" / "test.tsv").read_text()
    (copy / "qrels" / "test.tsv").write_text(judged.replace("q0\td0", "q0\td1"))
    (outcome,) = evaluate(["bm25"], [copy], results)
    assert not outcome.reused
    assert outcome.score is not None
    assert outcome.score < 1.0
    assert evaluate(["bm25"], [copy], results)[0].reused


def test_a_result_without_its_details_is_measured_again(
    measured: tuple[Path, Path, list[Outcome]], tmp_path: Path
) -> None:
    results = tmp_path / "out"
    shutil.copytree(measured[1], results)
    shutil.rmtree(results / "details")
    assert not evaluate(["bm25"], [measured[0]], results)[0].reused
    assert load_results([results])[-1].per_query


def test_a_broken_result_file_is_named(measured: tuple[Path, Path, list[Outcome]], tmp_path: Path) -> None:
    results = tmp_path / "out"
    shutil.copytree(measured[1], results)
    path = next(results.glob("results/mteb__baseline-bm25s/*/diseases.json"))
    path.write_text(path.read_text()[:100])
    with pytest.raises(ResultsError, match=r"diseases.json: not a result of mteb .* remove it to measure again"):
        evaluate(["bm25"], [measured[0]], results)


def test_prompted_and_unprompted_are_two_results(measured: tuple[Path, Path, list[Outcome]], tmp_path: Path) -> None:
    from medembed.checkpoints.checkpoint import BUNDLED_FOLDER

    model = tmp_path / "prompted"
    shutil.copytree(BUNDLED_FOLDER, model)
    settings: dict[str, Any] = json.loads((model / "config_sentence_transformers.json").read_text())
    settings["prompts"] = {"query": "zebra giraffe elephant: ", "document": ""}
    (model / "config_sentence_transformers.json").write_text(json.dumps(settings))
    output = tmp_path / "out"
    for prompts in ("model", "none"):
        evaluate([model], [measured[0]], output, setup=Setup(threads=1, prompts=prompts))
    plain, prompted = sorted(load_results([output]), key=lambda item: item.model.variant, reverse=True)
    assert (plain.model.label, prompted.model.label) == ("local/prompted (prompts=none)", "local/prompted")
    assert plain.path.parent.parts[-2:] == ("experiments", "prompts_none")
    assert plain.model.revision == prompted.model.revision
    assert (
        plain.scores["nauc_ndcg_at_1_max"] != prompted.scores["nauc_ndcg_at_1_max"] or plain.scores != prompted.scores
    )


def test_a_model_without_prompts_has_one_result_either_way(measured: tuple[Path, Path, list[Outcome]]) -> None:
    (outcome,) = evaluate([BUNDLED], [measured[0]], measured[1], setup=Setup(threads=1, prompts="none"))
    assert outcome.reused


def test_the_query_prompt_is_put_before_queries_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from mteb.types import PromptType

    from medembed import FakeEngine, MedEmbed

    model = MedEmbed(BUNDLED, engine=FakeEngine(384))
    object.__setattr__(model.spec, "prompts", {"query": "query: ", "document": "passage: "})
    ref = model_ref(BUNDLED, SETUP)
    prompted = mteb_bridge.MedEmbedEncoder(ref, SETUP, loaded=model)
    plain = mteb_bridge.MedEmbedEncoder(ref, Setup(prompts="none"), loaded=model)
    batches = [{"text": ["gout", "sepsis"]}, {"text": ["stroke"]}]
    texts = ["gout", "sepsis", "stroke"]
    expected = {
        PromptType.query: model.encode(texts, prompt="query: "),
        PromptType.document: model.encode(texts, prompt="passage: "),
        None: model.encode(texts),
    }
    for kind, vectors in expected.items():
        np.testing.assert_array_equal(prompted.encode(batches, prompt_type=kind), vectors)
        np.testing.assert_array_equal(plain.encode(batches, prompt_type=kind), expected[None])


def test_mini_is_never_called_zero_shot_on_what_it_was_tuned_on() -> None:
    assert mteb_bridge.model_meta(model_ref(BUNDLED, SETUP)).training_datasets == {"MedicalQARetrieval"}


def test_wrong_data_cost_only_their_own_task(measured: tuple[Path, Path, list[Outcome]], beir_folder: Path) -> None:
    bad = beir_folder.rename(beir_folder.with_name("bad"))
    with (bad / "qrels" / "test.tsv").open("a") as file:
        file.write("q0\tnothing\t1\n")
    outcomes = evaluate(["bm25"], [bad, measured[0]], measured[1])
    assert isinstance(outcomes[0].error, TaskDataError)
    assert "test.tsv:12: its document is not in corpus.jsonl" in str(outcomes[0].error)
    assert outcomes[1].score == 1.0


def test_nothing_is_left_behind_when_writing_fails(measured: tuple[Path, Path, list[Outcome]], tmp_path: Path) -> None:
    (task,) = mteb_tasks.load_tasks(task_refs([measured[0]]))
    cache = mteb_bridge.WholeFiles(tmp_path)
    meta = mteb_bridge.model_meta(model_ref("bm25", SETUP))
    result = cache._load(next(measured[1].glob("results/mteb__baseline-bm25s/*/diseases.json")))

    def disk_full() -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    cache.describe = disk_full
    with pytest.raises(OSError, match="no room left"):
        cache.save_to_cache(result, meta)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [".lock"]
    assert not cache.is_complete(task, meta)


def test_leftovers_are_removed_even_where_nothing_is_measured(
    measured: tuple[Path, Path, list[Outcome]], tmp_path: Path
) -> None:
    results = tmp_path / "out"
    shutil.copytree(measured[1], results)
    killed = results / ".medembed-0123456789abcdef.aside"
    (killed / "new").mkdir(parents=True)
    (killed / asides._LOCK).touch()
    assert evaluate(["bm25"], [measured[0]], results)[0].reused
    assert list(results.glob(".medembed-*")) == []


CHILD = """
import itertools, json, os, signal, sys
sockets = []
sys.addaudithook(lambda event, args: sockets.append(event) if event in ("socket.connect", "socket.getaddrinfo") else None)
from pathlib import Path
from medembed.evaluation import mteb_bridge, mteb_tasks
from medembed.evaluation.models import Setup
from medembed.evaluation.run import evaluate

*folders, output, killed_at = sys.argv[1:]
describer, tasks = mteb_bridge.details.describer, itertools.count(1)

def killing_describer(*args):
    describe, killed = describer(*args), next(tasks) == int(killed_at)
    return lambda: os.kill(os.getpid(), signal.SIGKILL) if killed else describe()

mteb_bridge.details.describer = killing_describer
outcomes = evaluate(["mini", "bm25"], [Path(f) for f in folders], Path(output), setup=Setup(threads=1))
errors = [str(o.error) for o in outcomes if o.error]
print(json.dumps({"sockets": sockets, "reused": [o.reused for o in outcomes], "errors": errors}))
"""


@pytest.mark.thorough
def test_a_run_killed_while_it_writes_goes_on_there_leaves_nothing_and_opens_no_socket(
    measured: tuple[Path, Path, list[Outcome]], tmp_path: Path
) -> None:
    second, output = tmp_path / "second", tmp_path / "out"
    shutil.copytree(measured[0], second)
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}

    def run(killed_at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CHILD, str(measured[0]), str(second), str(output), str(killed_at)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    # killed between mteb's file and ours, both still aside
    assert run(killed_at=2).returncode == -signal.SIGKILL
    (leftover,) = output.glob(".medembed-*.aside")
    assert list(leftover.rglob("second.json"))
    assert len(list(output.glob("results/medembed__mini/*/diseases.json"))) == 1
    assert list(output.glob("results/**/second.json")) == []
    again = run(killed_at=0)
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout.splitlines()[-1])
    assert told == {"sockets": [], "reused": [True, False, False, False], "errors": []}
    assert list(output.glob(".medembed-*.aside")) == []


def test_unknown_tasks_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownTaskError, match="no task 'NFCorpsu': did you mean 'NFCorpus'"):
        evaluate(["bm25"], ["NFCorpsu"], tmp_path)
    with pytest.raises(UnknownTaskError, match="did you mean 'medembed-five'"):
        evaluate(["bm25"], ["medembed-fiv"], tmp_path)
    with pytest.raises(UnknownTaskError, match="no such folder; give a BEIR folder"):
        evaluate(["bm25"], ["./nowhere"], tmp_path)


def test_a_task_without_network_says_what_it_needs_and_where_it_goes(tmp_path: Path) -> None:
    (outcome,) = evaluate(["bm25"], ["NFCorpus"], tmp_path)
    assert isinstance(outcome.error, TaskDownloadError)
    for part in (
        "NFCorpus needs the dataset mteb/nfcorpus",
        "ec0fa4fe99da2ff19ca1214b7966684033a58814",
        "mteb___nfcorpus",
    ):
        assert part in str(outcome.error)


@pytest.mark.parametrize(
    "name", ["NFCorpusDecontaminated", "SciFactDecontaminated", "TrecCOVIDDecontaminated", "ArguAnaDecontaminated"]
)
def test_a_decontaminated_task_without_network_says_what_it_needs(name: str, tmp_path: Path) -> None:
    (outcome,) = evaluate(["bm25"], [name], tmp_path)
    assert isinstance(outcome.error, TaskDownloadError)
    assert f"{name} needs the dataset iamfortytwo/" in str(outcome.error)


def test_task_sets_and_benchmarks_are_mtebs_tasks() -> None:
    assert [task.metadata.name for task in mteb_tasks.load_tasks(TASK_SETS["medembed-five"])] == [
        "ArguAna",
        "MedicalQARetrieval",
        "NFCorpus",
        "PublicHealthQA",
        "TRECCOVID",
    ]
    english = mteb_tasks.load_tasks(TASK_SETS["medical-en"])
    assert {language for task in english for language in task.metadata.languages} >= {"eng"}
    assert [task.hf_subsets for task in english if task.metadata.name in ("CUREv1", "PublicHealthQA")] == [
        ["en"],
        ["english"],
    ]
    assert len(mteb_tasks.load_tasks(task_refs(["MTEB(Medical, v1)"]))) == 12
    decontaminated = [task.metadata.name for task in mteb_tasks.load_tasks(TASK_SETS["decontaminated"])]
    assert decontaminated == [f"{name}Decontaminated" for name in ("ArguAna", "NFCorpus", "SciFact", "TrecCOVID")]
    health = mteb_tasks.load_tasks(task_refs(["RTEB(Health)"]))
    assert {"ChatDoctorRetrieval", "CUREv1"} < {task.metadata.name for task in health}


def test_two_folders_of_one_name_are_refused(measured: tuple[Path, Path, list[Outcome]], tmp_path: Path) -> None:
    shutil.copytree(measured[0], tmp_path / "diseases")
    with pytest.raises(TaskDataError, match="have the same name, 'diseases'"):
        task_refs([measured[0], tmp_path / "diseases"])


def test_a_folder_named_like_a_task_of_mteb_is_kept_apart(
    measured: tuple[Path, Path, list[Outcome]], tmp_path: Path
) -> None:
    shutil.copytree(measured[0], tmp_path / "NFCorpus")
    (task,) = mteb_tasks.load_tasks(task_refs([tmp_path / "NFCorpus"]))
    assert task.metadata.name == "NFCorpus-local"


def test_mteb_is_imported_in_two_files() -> None:
    import ast

    import medembed

    users = {
        path.name
        for path in Path(medembed.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mteb")
        or (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "mteb" for name in node.names))
    }
    assert users == {"mteb_bridge.py", "mteb_tasks.py"}


def test_prompts_must_be_one_of_two() -> None:
    with pytest.raises(SettingError, match="choose 'model'"):
        Setup(prompts="sometimes")  # type: ignore[arg-type]
