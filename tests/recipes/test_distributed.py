"""Training on several processes, as on several GPUs: two CPU processes under torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_processes_train_one_model(recipe_folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29617"]
    command += [
        "-m",
        "medembed.recipes.train",
        "--recipe",
        str(recipe_folder),
        f"execution.work={work}",
        "train.max_steps=3",
    ]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    [model] = work.glob("publish/*/model/model.safetensors")
    assert model.stat().st_size > 1_000_000
    [training] = work.glob("train/*/training.json")
    losses = [entry for entry in json.loads(training.read_text())["history"] if "loss" in entry]
    assert [entry["step"] for entry in losses] == [1, 2, 3]
