"""Processes really killed while they change a store: the old state or the new one, never a third, and no row twice."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.colbert import folders
from tests.storage.conftest import Kind

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore::medembed.TruncationWarning")]


def start(kind: Kind, folder: Path, number: int, how: str) -> subprocess.Popen[str]:
    arguments = [str(folder), kind.name, str(number), kind.model.name, str(folders.HIDDEN), how]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.storage.change_program", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE)


def check(store: Any, number: int) -> int:
    """Every change is there wholly or not at all, in order; returns the last one."""
    ids = store.ids
    assert len(ids) == len(set(ids))
    versions: dict[int, int] = {}
    for name in ids:
        if name.startswith("w"):
            version = int(name[1:].partition("-")[0])
            versions[version] = versions.get(version, 0) + 1
    last = max(versions, default=0)
    assert sorted(versions) == list(range(1, last + 1))
    assert all(count == 9 or (count == 8 and version % 3 == 0) for version, count in versions.items())
    assert last >= number
    [same] = store.search("fever", 1, filter={"id": "same"})
    assert same.text == f"fever in version {last}"
    return last


def check_synced(store: Any, number: int) -> int:
    """The rows of one export are there and no others; returns its number."""
    [same] = store.search("fever", 1, filter={"id": "same"})
    assert same.text is not None
    last = int(same.text.rpartition(" ")[2])
    wanted = {"same", *(f"w{last}-{i}" for i in range(9))} if last else {"same"}
    assert (len(store.ids), set(store.ids)) == (len(wanted), wanted)
    assert last >= number
    return last


@pytest.mark.parametrize("how", ["changes", "sync"])
@pytest.mark.parametrize("kills", [4, pytest.param(125, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_store_is_whole(kind: Kind, tmp_path: Path, kills: int, how: str) -> None:
    kind.build(
        tmp_path / "s", [{"id": "same", "text": "fever in version 0"}], columns=type(kind.settings.columns)()
    ).close()
    moments, number = random.Random(5), 0
    for _ in range(kills):
        process = start(kind, tmp_path / "s", number, how)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        first = int(process.stdout.readline())
        time.sleep(moments.uniform(0, 0.3))  # somewhere in the next change
        process.kill()
        done = [first, *(int(line) for line in process.communicate()[0].split())]
        with kind.open(tmp_path / "s") as store:
            number = (check if how == "changes" else check_synced)(store, max([number, *done]))
    assert number >= kills
    with kind.open(tmp_path / "s") as store:
        store.compact()
        assert store.verify() == []
