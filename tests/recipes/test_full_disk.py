"""A work folder on a file system that is too small: a sentence, nothing half-written, and the same command goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

NAMESPACE = ["unshare", "--map-root-user", "--mount"]


def _may_mount(folder: Path) -> bool:
    """Whether this system lets us mount a file system of our own."""
    try:
        tried = subprocess.run(
            [*NAMESPACE, "mount", "-t", "tmpfs", "none", str(folder)], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return tried.returncode == 0


def in_small_disk(folder: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script where ``$RUN`` runs the recipe and ``$DISK`` is a file system of ``$SIZE``; it is gone afterwards."""
    disk = folder.parent / "disk"
    disk.mkdir()
    if not _may_mount(disk):
        pytest.skip("this system lets nobody mount a tmpfs of their own")
    run = f"{sys.executable} -m medembed.recipes.train --recipe {folder} execution.work={disk}/work"
    return subprocess.run(
        [*NAMESPACE, "sh", "-c", f'mount -t tmpfs -o size="$SIZE" none "$DISK"; {script}'],
        env={**os.environ, "RUN": run, "DISK": str(disk), **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


FILES = 'find "$DISK/work" -name "*.aside*"; find "$DISK/work" -size 0 -name "part-*"'


def test_a_full_disk_stops_the_data_stages_with_a_sentence_and_the_same_command_goes_on(recipe_folder: Path) -> None:
    script = f"""
        $RUN --until triplets; echo "first $?"; {FILES}
        ls "$DISK"/work/triplets/*/manifest.json
        mount -o remount,size=64m "$DISK"
        $RUN --until triplets; echo "second $?"; ls "$DISK"/work/triplets/*/manifest.json"""
    done = in_small_disk(recipe_folder, script, SIZE="44k")
    said = done.stdout.splitlines()
    assert said[0] == "first 1", done.stderr
    assert "StorageFullError: no room left" in done.stderr
    assert "Traceback" not in done.stderr
    second = said.index("second 0")
    assert said[-1].endswith("manifest.json")
    assert not [line for line in said[1:second] if "aside" in line or "part-" in line]


@pytest.mark.slow
def test_a_disk_that_fills_up_in_training_loses_no_finished_stage(recipe_folder: Path) -> None:
    script = f"""
        $RUN; echo "first $?"; {FILES}
        mount -o remount,size=2g "$DISK"
        $RUN; echo "second $?"; ls "$DISK"/work/publish/*/model/model.safetensors"""
    done = in_small_disk(recipe_folder, script, SIZE="150m")
    assert done.stdout.startswith("first 1\n"), done.stderr
    assert "StorageFullError: no room left" in done.stderr
    assert "second 0" in done.stdout, done.stderr
    assert done.stdout.rstrip().endswith("model.safetensors")
