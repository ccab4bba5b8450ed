"""Notes from a hub dataset and the upload of a model, with the real clients against a stand-in hub."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medembed.errors import SourceError
from medembed.recipes import pipeline
from medembed.recipes.artifacts import open_manifest
from medembed.recipes.records import Note, read_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from tests import tiny_bert
from tests.recipes.conftest import CONDITIONS, DRUGS, article, write_lines
from tests.recipes.stand_in_hub import COMMIT, DATASET, stand_in_hub

Loaded = Callable[..., tuple[Recipe, Places]]
FROM_HUB = [
    "notes.sources.articles.format=hub",
    f"notes.sources.articles.dataset={DATASET}",
    "notes.sources.articles.text=note",
    "notes.sources.articles.id=patient_id",
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset repository of one split, as Asclepius has one: patient_id and note."""
    sections = [article(name, drug)["sections"] for name, drug in zip(CONDITIONS, DRUGS * 3, strict=False)]
    rows = [{"patient_id": i, "note": parts[0]["text"], "task": "x"} for i, parts in enumerate(sections)]  # type: ignore[index]
    write_lines(tmp_path / "dataset" / "data" / "train.jsonl", rows)
    (tmp_path / "dataset" / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    return tmp_path / "dataset"


def run(endpoint: str, home: Path, *command: str, offline: bool = False) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's clients read their settings when they are imported."""
    environment = {
        **os.environ, "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "1" if offline else "0", "HF_TOKEN": "hf_standin", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=240, env=environment, check=False
    )


def notes_stage(recipe: Path, work: Path, *settings: str) -> list[str]:
    return [
        "-m",
        "medembed.recipes.train",
        "--until",
        "notes",
        "--recipe",
        str(recipe),
        f"execution.work={work}",
        *FROM_HUB,
        *settings,
    ]


@pytest.mark.parametrize("limit", [None, pytest.param(5, marks=pytest.mark.slow)], ids=["whole", "streamed"])
def test_notes_come_from_a_hub_dataset_and_its_commit_is_recorded(
    dataset: Path, recipe_folder: Path, tmp_path: Path, limit: int | None
) -> None:
    settings = ["notes.sources.articles.revision=main"] + ([f"notes.sources.articles.limit={limit}"] if limit else [])
    with stand_in_hub(dataset) as (endpoint, _):
        ran = run(endpoint, tmp_path, *notes_stage(recipe_folder, tmp_path / "work", *settings))
    assert ran.returncode == 0, ran.stderr
    [manifest] = (tmp_path / "work" / "notes").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["summary"]["commits"] == {"articles": COMMIT}
    notes = list(read_parquet(sorted(manifest.parent.glob("notes/part-*")), Note))
    assert [note.doc_id for note in notes] == [str(number) for number in range(limit or len(CONDITIONS))]
    assert notes[0].text.startswith("People with gout complain")


def test_ready_pairs_come_from_a_hub_dataset_and_its_commit_is_recorded(
    dataset: Path, recipe_folder: Path, tmp_path: Path
) -> None:
    source = {
        "format": "hub",
        "dataset": DATASET,
        "revision": "main",
        "query": "task",
        "positive": "note",
        "id": "patient_id",
    }
    settings = [f"pairs.sources.ready.{key}={value}" for key, value in source.items()] + ["pairs.writer=none"]
    command = [
        "-m",
        "medembed.recipes.train",
        "--until",
        "pairs",
        "--recipe",
        str(recipe_folder),
        f"execution.work={tmp_path / 'work'}",
    ]
    with stand_in_hub(dataset) as (endpoint, _):
        ran = run(endpoint, tmp_path, *command, *settings)
    assert ran.returncode == 0, ran.stderr
    [manifest] = (tmp_path / "work" / "pairs").glob("*/manifest.json")
    summary = json.loads(manifest.read_text())["summary"]
    assert summary["commits"] == {"ready": COMMIT}
    assert summary["counts"]["given"] >= len(CONDITIONS)


@pytest.mark.slow
def test_a_hub_dataset_at_a_commit_is_read_again_from_the_cache_without_a_network(
    dataset: Path, recipe_folder: Path, tmp_path: Path
) -> None:
    at_commit = f"notes.sources.articles.revision={COMMIT}"
    with stand_in_hub(dataset) as (endpoint, _):
        assert run(endpoint, tmp_path, *notes_stage(recipe_folder, tmp_path / "one", at_commit)).returncode == 0
    offline = run(endpoint, tmp_path, *notes_stage(recipe_folder, tmp_path / "two", at_commit), offline=True)
    assert offline.returncode == 0, offline.stderr
    [one], [two] = ((tmp_path / name / "notes").iterdir() for name in ("one", "two"))
    found = [open_manifest(folder) for folder in (one, two)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0]["files"] == found[1]["files"]


@pytest.mark.parametrize("revision", ["main", COMMIT], ids=["branch", "commit"])
def test_a_hub_that_cannot_be_reached_is_a_sentence_with_the_way_out(loaded: Loaded, revision: str) -> None:
    """The tests' own process is offline."""
    settings = [*FROM_HUB, f"notes.sources.articles.revision={revision}"]
    with pytest.raises(SourceError, match=f"dataset {DATASET}@{revision} cannot be read .*format='parquet' and path"):
        pipeline.build(*loaded(*settings), "notes")


PUSH = """
import sys
from pathlib import Path
from medembed.recipes.stages.publish import deliver
from medembed.recipes.execution import Execution
print(deliver(Path(sys.argv[1]), Execution(push_to_hub="clinic/model")))
"""


def test_a_model_is_pushed_whole_with_its_card(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "model")
    (folder / "README.md").write_text("---\nlibrary_name: sentence-transformers\n---\n# card\n")
    with stand_in_hub(tmp_path) as (endpoint, hub):
        ran = run(endpoint, tmp_path, "-c", PUSH, str(folder))
    assert ran.returncode == 0, ran.stderr
    assert f"/clinic/model/commit/{COMMIT}" in ran.stdout
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert hub.uploads == files


@pytest.mark.slow
def test_a_hub_that_refuses_the_model_says_where_it_is_and_what_to_do(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "model")
    with stand_in_hub(tmp_path, refuses_uploads=True) as (endpoint, hub):
        ran = run(endpoint, tmp_path, "-c", PUSH, str(folder))
    assert "PublishError: clinic/model cannot be pushed" in ran.stderr
    assert f"The model is in {folder}" in ran.stderr
    assert hub.uploads == {}
