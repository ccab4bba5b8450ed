"""Files and folders appear whole, with the permissions that the umask says, and nothing is left by errors or kills."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from medembed.cli import app
from medembed.errors import StorageFullError, WriteError
from medembed.recipes import bundle
from medembed.storage import asides, durable


def _weights(path: Path) -> None:
    """Some weights, as the library writes them: for the owner alone."""
    save_file({"x": np.zeros(3, dtype=np.float32)}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _model(folder: Path) -> None:
    (folder / "deep").mkdir(mode=0o700)
    _weights(folder / "deep" / "model.safetensors")
    (folder / "config.json").write_text("{}")


WRITERS: dict[str, Callable[[Path], object]] = {
    "write_whole": lambda folder: durable.write_whole(folder / "x", _weights),
    "write_text_whole": lambda folder: durable.write_text_whole(folder / "x", "text"),
    "write_hashed": lambda folder: durable.write_hashed(folder, lambda sha: f"x.{sha}", _weights),
    "write_folder": lambda folder: durable.write_folder(folder / "x", _model),
}


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[bool, set[int]]:
    """Permissions below a folder, of folders (True) and of files (False)."""
    found: dict[bool, set[int]] = {True: set(), False: set()}
    for path in folder.rglob("*"):
        found[path.is_dir()].add(stat.S_IMODE(path.stat().st_mode))
    return found


@pytest.mark.parametrize("writer", WRITERS)
def test_permissions_are_what_the_umask_says(writer: str, umask: int, tmp_path: Path) -> None:
    WRITERS[writer](tmp_path)
    found = modes(tmp_path)
    assert found[False] == {0o666 & ~umask}
    assert found[True] <= {0o777 & ~umask}


@pytest.mark.parametrize("command", ["models export", "bundle"])
def test_model_folders_have_the_permissions_of_the_umask(
    command: str, umask: int, tiny_folder: Path, tmp_path: Path
) -> None:
    if command == "bundle":
        bundle.bundle(tiny_folder, tmp_path / "model", [f"text number {number}" for number in range(100)])
    else:
        ran = CliRunner().invoke(app, ["models", "export", str(tiny_folder), str(tmp_path / "model")])
        assert ran.exit_code == 0, ran.output
    assert modes(tmp_path) == {True: {0o777 & ~umask}, False: {0o666 & ~umask}}


def _fails(path: Path) -> None:
    if path.is_dir():
        path = path / "config.json"
    path.write_text("half")
    raise ValueError("the writer failed")


@pytest.mark.parametrize("write", [durable.write_whole, durable.write_folder], ids=["file", "folder"])
def test_an_error_leaves_what_was_there_and_nothing_else(write: Callable[..., object], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the writer failed"):
        write(tmp_path / "x", _fails)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x").write_text("earlier")
    with pytest.raises(ValueError, match="the writer failed"):
        write(tmp_path / "x", _fails)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "earlier"


def test_a_folder_replaces_an_earlier_one_whole(tmp_path: Path) -> None:
    durable.write_folder(tmp_path / "x", lambda folder: (folder / "old").write_text(""))
    durable.write_folder(tmp_path / "x", lambda folder: (folder / "new").write_text(""))
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["x", "x/new"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("years of work")
    (tmp_path / "x").symlink_to(tmp_path / "thesis")
    durable.write_text_whole(tmp_path / "x", "other")
    assert (tmp_path / "thesis").read_text() == "years of work"
    assert (tmp_path / "x").read_text() == "other"


@pytest.mark.parametrize(
    ("place", "says"), [("no/such/x", "No such file"), ("file/x", "Not a directory"), ("folder", "is a folder")]
)
def test_a_place_that_cannot_be_written_is_named(place: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match=says):
        durable.write_text_whole(tmp_path / place, "text")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_every_librarys_full_disk_is_one_error(error: Exception, tmp_path: Path) -> None:
    def write(_path: Path) -> None:
        raise error

    with pytest.raises(StorageFullError, match="no room left on the disk of"):
        durable.write_whole(tmp_path / "x", write)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from medembed.storage import durable
def write(path):
    (path / "half" if path.is_dir() else path).write_text("half")
    print("writing", flush=True)
    os.kill(os.getpid(), signal.SIGKILL) if sys.argv[3] == "killed" else sys.stdin.read()
getattr(durable, sys.argv[2])(Path(sys.argv[1], "x"), write)
"""


def _start(folder: Path, function: str, what: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", KILLED, str(folder), function, what]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("function", ["write_whole", "write_folder"])
def test_the_next_write_removes_what_a_killed_process_left_and_nothing_of_a_living_one(
    function: str, tmp_path: Path
) -> None:
    (tmp_path / ".medembed-not-ours.aside").mkdir()
    with _start(tmp_path, function, "living") as living:
        assert living.stdout is not None
        assert living.stdout.readline() == "writing\n"
        with _start(tmp_path, function, "killed") as killed:
            assert killed.wait() == -signal.SIGKILL
        assert len(list(tmp_path.glob(".medembed-????????????????.aside"))) == 2
        durable.write_text_whole(tmp_path / "y", "text")
        assert len(list(tmp_path.glob(".medembed-????????????????.aside"))) == 1
        assert not (tmp_path / "x").exists()
        living.communicate("")
        assert living.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".medembed-not-ours.aside", "x", "y"]


def test_leftovers_are_private_and_their_names_differ(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):
        with asides.beside(tmp_path / "x") as made:
            folder = made.parents[1]
            names.add(folder.name)
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(names) == 20
    assert list(tmp_path.iterdir()) == []


def _many(folder: Path, number: int) -> None:
    for turn in range(30):
        durable.write_text_whole(folder / "file", f"{number} {turn}\n" * 1000)
        durable.write_text_whole(folder / f"own-{number}", "x")


def test_processes_that_write_the_same_file_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(_many, tmp_path), range(4)))
    lines = (tmp_path / "file").read_text().splitlines()
    assert len(lines) == 1000
    assert len(set(lines)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "own-0", "own-1", "own-2", "own-3"]
