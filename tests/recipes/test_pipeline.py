"""A whole recipe, killed and resumed, run twice at once, and loaded by everybody who should be able to."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from medembed import MedEmbed
from medembed.checkpoints import tensors
from medembed.errors import RecipeConfigError, ScoreError
from medembed.recipes import pipeline
from medembed.recipes.artifacts import Artifact, hold, open_manifest
from medembed.recipes.cost import estimate
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.tables import print_plan
from tests.recipes.conftest import make_recipe, run_recipe

pytestmark = pytest.mark.thorough

Loaded = Callable[..., tuple[Recipe, Places]]
Start = Callable[..., "subprocess.Popen[str]"]
QUERY_WEIGHT = "encoder.layer.0.attention.self.query.weight"
LONG_RUN = ["train.max_steps=6", "execution.save_every_steps=2"]


def manifests(work: Path) -> dict[str, dict[str, Any]]:
    """Every finished artefact by stage and fingerprint, without what a clock says."""
    found = {}
    for path in work.glob("*/*/manifest.json"):
        manifest = json.loads(path.read_text())
        found[f"{manifest['stage']}/{manifest['fingerprint']}"] = {
            "rows": manifest["summary"].get("rows"),
            "counts": manifest["summary"].get("counts"),
            "inputs": manifest["inputs"],
        }
    return found


def model_file(work: Path, stage: str) -> bytes:
    [path] = work.glob(f"{stage}/*/model/model.safetensors")
    return path.read_bytes()


def test_a_whole_recipe_makes_a_model_that_everybody_loads(
    loaded: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = pipeline.build(*loaded())
    assert [item.step.key for item in built] == list(pipeline.NAMES)
    again = pipeline.build(*loaded(f"execution.out={tmp_path / 'out'}"))  # nothing left to build, and still delivered
    assert all(item.reused for item in again)
    folder = tmp_path / "out"
    pipeline.build(*loaded(f"execution.out={folder}"))  # and once more in the place of the first
    models = [folder, *(tmp_path / "work").glob("*/*/model")]
    modes = {path.stat().st_mode & 0o777 for model in models for path in model.rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "work").stat().st_mode & 0o666}  # a folder's mode is the umask's too
    texts = ["gout is treated with rest", "a fracture of the knee"]
    with MedEmbed(str(folder), threads=1, precision="fp32") as model:
        ours = model.encode(texts)
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel

    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(
        texts, normalize_embeddings=True
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert AutoModel.from_pretrained(str(folder), local_files_only=True).config.hidden_dropout_prob == 0.1
    card = (folder / "README.md").read_text()
    assert "base_model_relation" in card
    assert "made by the tests" in card
    assert "datasets:" not in card.partition("tags:")[0]

    _check_merge(tmp_path / "recipe" / "base", built[5].artifact, built[6].artifact)
    recipe, places = loaded()
    print_plan(recipe, places, pipeline.plan(recipe, places))
    assert "missing" not in capsys.readouterr().out
    log = "".join(path.read_text() for path in (tmp_path / "work" / "runs").iterdir())
    assert "complain of pain" not in log
    assert '"event": "training"' in log
    assert (built[5].artifact.folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_tuned_weights_are_mixed_with_the_anchors(loaded: Loaded, tmp_path: Path) -> None:
    base, anchor = tmp_path / "recipe" / "base", tmp_path / "anchor"
    shutil.copytree(base, anchor, ignore=shutil.ignore_patterns("model*"))
    weights = dict(tensors.plain(tensors.read_tensors(base)))
    for name in ("embeddings.word_embeddings.weight", QUERY_WEIGHT):
        weights[name] = np.zeros_like(weights[name])  # every word means the same: alone it finds nothing
    save_file(weights, anchor / tensors.WHOLE)
    plain, anchored = (
        {item.step.key: item.artifact for item in pipeline.build(*loaded("merge.ratios=[0.1]", *settings))}
        for settings in ([], [f"merge.anchor={anchor}"])
    )
    assert anchored["train"] == plain["train"]
    _check_merge(anchor, anchored["train"], anchored["merge"])
    # what it is compared with is the base that training started from, not the anchor
    assert anchored["merge"].summary["ratio 0"] == plain["merge"].summary["ratio 0"]


def _check_merge(rest: Path, tune: Artifact, merge: Artifact) -> None:
    """Tuned weights moved, and the merged ones lie where the ratio says."""
    base, tuned, merged = (
        tensors.read_tensors(folder) for folder in (rest, tune.folder / "model", merge.folder / "model")
    )
    name, ratio = QUERY_WEIGHT, merge.summary["ratio"]
    assert np.abs(tuned[name] - base[name]).max() > 1e-6
    np.testing.assert_allclose(merged[name], (1 - ratio) * base[name] + ratio * tuned[name], atol=1e-6)


def test_a_folder_of_something_else_is_not_replaced_by_the_model(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(RecipeConfigError, match="is not a model folder as a recipe published it"):
        pipeline.build(*loaded(f"execution.out={tmp_path / 'home'}"))
    assert (tmp_path / "home" / "thesis.txt").exists()
    assert not (tmp_path / "work").exists()


def test_a_model_that_does_not_rise_above_its_base_is_not_published(loaded: Loaded, tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"must rise(?s:.*)To publish it all the same: score\.must_rise=false"):
        pipeline.build(
            *loaded(
                "score.must_rise=true",
                "train.max_steps=1",
                "train.learning_rate=1e-12",
                "train.evaluations=0",
                "merge.ratios=[0.5]",
            )
        )
    assert list((tmp_path / "work").glob("score/*/results.json"))
    assert not (tmp_path / "work" / "publish").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = run_recipe(make_recipe(folder / "recipe"), folder / "work", *LONG_RUN)
    _, said = process.communicate()
    assert process.returncode == 0, said
    return folder / "work"


@pytest.mark.slow
@pytest.mark.parametrize("victim", pipeline.NAMES)
def test_a_run_killed_in_any_stage_and_resumed_equals_an_undisturbed_one(
    start: Start, tmp_path: Path, whole: Path, victim: str
) -> None:
    killed = tmp_path / "killed"
    process = start(*LONG_RUN, work=killed)
    deadline = time.monotonic() + 600
    while not list(killed.glob(f"{victim}/*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    if victim == "train":  # deep inside: after a checkpoint
        while (
            not list(killed.glob("train/*/scratch/training/checkpoints/checkpoint-2/whole"))
            and time.monotonic() < deadline
        ):
            time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    resumed = start(*LONG_RUN, work=killed)
    assert resumed.wait() == 0, resumed.stderr.read() if resumed.stderr else ""
    assert manifests(killed) == manifests(whole)
    a, b = (np.frombuffer(model_file(work, "merge")[-4000:], dtype=np.float32) for work in (whole, killed))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_run_killed_while_training_goes_on_at_its_checkpoint(start: Start, loaded: Loaded, tmp_path: Path) -> None:
    """The fast one of the kind: killed once, after a checkpoint, and the steps before it are not trained again."""
    settings = ["train.max_steps=4", "execution.save_every_steps=1", "train.evaluations=0", "merge.ratios=[1.0]"]
    process = start(*settings)
    work, deadline = tmp_path / "work", time.monotonic() + 600
    while not list(work.glob("train/*/scratch/training/checkpoints/checkpoint-2/whole")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    pipeline.build(*loaded(*settings), "train")
    logs = [
        json.loads(line)
        for path in sorted((work / "runs").iterdir(), key=lambda p: p.stat().st_mtime)
        for line in path.read_text().splitlines()
    ]
    second = [index for index, line in enumerate(logs) if line["event"] == "run_started"][1]
    steps = [line["step"] for line in logs[second:] if line["event"] == "training" and "loss" in line]
    assert steps
    assert min(steps) >= 3


def test_a_second_run_on_the_same_folder_is_refused_and_one_that_waits_gets_it(start: Start, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with hold(work, 0):
        refused = start(until="notes")
        assert refused.wait() == 1
        assert refused.stderr is not None
        assert "is in use by process" in refused.stderr.read()
        waiting = start("execution.lock_wait_s=60", until="notes")
        time.sleep(1.0)
        assert waiting.poll() is None
    assert waiting.wait() == 0


def test_a_corrupt_part_is_rebuilt_and_nothing_else(loaded: Loaded, tmp_path: Path) -> None:
    first = pipeline.build(*loaded(), "filters")
    part = first[1].artifact.parts("pairs")[0]
    content = part.read_bytes()
    part.write_bytes(content[:-1] + b"x")
    second = pipeline.build(*loaded(), "filters")
    assert [item.reused for item in second] == [True, False, True]
    assert part.read_bytes() == content


def test_the_overhead_of_a_finished_run_is_small(loaded: Loaded) -> None:
    pipeline.build(*loaded(), "triplets")
    started = time.perf_counter()
    pipeline.build(*loaded(), "triplets")
    assert time.perf_counter() - started < 2.0


def test_a_dry_run_writes_nothing(start: Start, tmp_path: Path) -> None:
    process = start("--dry-run", "execution.hourly_price=2")
    output, _ = process.communicate()
    assert process.returncode == 0
    assert "hours of training" in output
    assert not (tmp_path / "work").exists()


def test_hours_of_training_count_the_rows_that_are_left_once_they_are_made(loaded: Loaded) -> None:
    recipe, places = loaded('triplets.caps={"*"=30}', "triplets.held_out=0.0", "train.epochs=2", "train.max_steps=999")

    def hours() -> str:
        manifests = {step.key: open_manifest(step.folder) for step in pipeline.plan(recipe, places)}
        return next(line.how for line in estimate(recipe, places, manifests) if line.what == "hours of training")

    pipeline.build(recipe, places, "filters")
    assert "pairs before caps at" in hours()
    pipeline.build(recipe, places, "triplets")
    assert hours().startswith("60 pairs at")


def test_an_error_is_a_sentence_on_the_command_line(start: Start) -> None:
    process = start("train.epoch=2")
    _, said = process.communicate()
    assert process.returncode == 1
    assert "did you mean 'epochs'" in said
    assert "Traceback" not in said


def test_nothing_is_finished_without_its_manifest(loaded: Loaded) -> None:
    built = pipeline.build(*loaded(), "notes")
    (built[0].step.folder / "manifest.json").unlink()
    assert open_manifest(built[0].step.folder) is None
    assert pipeline.build(*loaded(), "notes")[0].reused is False
