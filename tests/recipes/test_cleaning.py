"""Stages of earlier runs are removed, and nothing else in a work folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medembed.cli.recipes import recipes_app
from medembed.errors import UnsafePathError, WorkFolderBusyError
from medembed.recipes import cleaning, pipeline
from medembed.recipes.artifacts import MANIFEST, hold
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places

Loaded = Callable[..., tuple[Recipe, Places]]
FIRST, SECOND = "pairs.extractive.per_note=1", "pairs.extractive.per_note=2"


def ran(loaded: Loaded, *settings: str) -> Path:
    """The folder of the pairs that a run made."""
    return pipeline.build(*loaded(*settings), "pairs")[-1].artifact.folder


def cleaned(loaded: Loaded, *settings: str) -> list[cleaning.Old]:
    recipe, places = loaded(*settings)
    return cleaning.remove_old(recipe, pipeline.plan(recipe, places))


def tree(work: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in work.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize(
    ("runs", "now", "gone"),
    [
        pytest.param([[FIRST]], [FIRST], False, id="in the plan"),
        pytest.param([[FIRST], [SECOND]], [FIRST], False, id="in the plan again"),
        pytest.param([[FIRST], [SECOND]], [SECOND], True, id="of an earlier run"),
        pytest.param([[FIRST]], [SECOND], True, id="of the last run"),
        pytest.param([[FIRST], ["name=other", FIRST], [SECOND]], [SECOND], False, id="another recipe's last run"),
        pytest.param(
            [[FIRST], ["name=other", FIRST], ["name=other", SECOND]], [SECOND], True, id="another's earlier run"
        ),
        pytest.param([["name=other", FIRST]], [SECOND], False, id="another recipe's alone"),
        pytest.param([["name=other", FIRST], ["name=other", SECOND]], [SECOND], False, id="another's own to clean"),
    ],
)
def test_a_stage_goes_when_neither_the_recipe_nor_another_uses_it(
    runs: list[list[str]], now: list[str], gone: bool, loaded: Loaded
) -> None:
    [first, *_] = [ran(loaded, *settings) for settings in runs]
    work, size, before = first.parents[1], sum(map(len, tree(first).values())), tree(first.parents[1])
    old = {item.name: item.n_bytes for item in cleaned(loaded, *now)}
    assert (old.get(f"pairs/{first.name}") == size) is gone
    assert first.exists() is not gone
    assert tree(work) == {
        path: data for path, data in before.items() if not any(path.is_relative_to(work / name) for name in old)
    }
    assert cleaned(loaded, *now) == []


def add(folder: Path) -> Path:
    (folder / "mine.txt").write_text("mine")
    return folder / "mine.txt"


def change(folder: Path) -> Path:
    part = next((folder / "pairs").iterdir())
    part.write_bytes(b"changed")
    return part


def unfinish(folder: Path) -> Path:
    (folder / MANIFEST).unlink()
    return next((folder / "pairs").iterdir())


@pytest.mark.parametrize("touch", [add, change, unfinish])
def test_what_no_manifest_lists_as_it_is_stays(touch: Callable[[Path], Path], loaded: Loaded) -> None:
    folder = ran(loaded, FIRST)
    kept = touch(folder)
    cleaned(loaded, SECOND)
    assert kept.is_file()
    if touch is not unfinish:
        assert [path for path in folder.rglob("*") if path.is_file()] == [kept]


def test_a_link_in_a_folder_stops_it(loaded: Loaded, tmp_path: Path) -> None:
    folder = ran(loaded, FIRST)
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    before = tree(folder)
    with pytest.raises(UnsafePathError, match="link"):
        cleaned(loaded, SECOND)
    assert tree(folder) == before


def test_a_manifest_cannot_have_a_file_elsewhere_removed(loaded: Loaded, tmp_path: Path) -> None:
    folder = ran(loaded, FIRST)
    (tmp_path / "victim").write_text("x")
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"files": {', '"files": {"../../../victim": "00",'))
    with pytest.raises(UnsafePathError, match="not a name below"):
        cleaned(loaded, SECOND)
    assert (tmp_path / "victim").exists()


def test_a_folder_at_work_is_left_alone(loaded: Loaded) -> None:
    folder = ran(loaded, FIRST)
    with hold(folder.parents[1], 0.0), pytest.raises(WorkFolderBusyError):
        cleaned(loaded, SECOND)
    assert folder.exists()


def test_a_torn_log_says_nothing(loaded: Loaded) -> None:
    folder = ran(loaded, FIRST)
    [log] = (folder.parents[1] / "runs").iterdir()
    log.write_bytes(log.read_bytes()[:60])
    assert cleaned(loaded, SECOND) == []


def test_the_command_says_what_goes_and_a_dry_run_removes_nothing(loaded: Loaded, recipe_folder: Path) -> None:
    folder = ran(loaded, FIRST)
    work = folder.parents[1]
    n_files, size = len(tree(folder)), sum(map(len, tree(folder).values()))
    arguments = ["clean", str(recipe_folder), SECOND, f"execution.work={work}"]
    for dry, done in ((["--dry-run"], "would be removed"), ([], "removed")):
        said = CliRunner().invoke(recipes_app, [*arguments, *dry])
        assert said.exit_code == 0, said.output
        assert f"pairs/{folder.name}: {n_files} files, {size:,} bytes {done}\n" in said.output
        assert f"1 old stage(s) of small-test, {size:,} bytes {done}\n" in said.output
        assert folder.exists() is (dry != [])
