"""Files of vectors, written whole or not at all."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medembed.errors import InputFileError, StorageFullError
from medembed.rows import files

ROWS = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


def written(path: Path) -> Path:
    with files.VectorWriter(path, 5) as writer:
        writer.write(ROWS[:3])
        writer.write(ROWS[3:])
    return path


def test_npy_reads_back_exactly(tmp_path: Path) -> None:
    path = written(tmp_path / "v.npy")
    np.testing.assert_array_equal(np.load(path), ROWS)
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), ROWS)


def test_npy_of_nothing(tmp_path: Path) -> None:
    with files.VectorWriter(tmp_path / "v.npy", 5):
        pass
    assert np.load(tmp_path / "v.npy").shape == (0, 5)


def test_json_lines_read_back_exactly(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in written(tmp_path / "v.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == list(range(7))
    np.testing.assert_array_equal(np.array([row["vector"] for row in rows], dtype=np.float32), ROWS)


def test_parquet_reads_back_exactly(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(written(tmp_path / "v.parquet"))
    assert table["row"].to_pylist() == list(range(7))
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), dtype=np.float32), ROWS)


@pytest.mark.parametrize("ending", ["npy", "jsonl", "parquet"])
def test_an_error_leaves_neither_file_nor_half_of_one(tmp_path: Path, ending: str) -> None:
    def fail() -> None:
        with files.VectorWriter(tmp_path / f"v.{ending}", 5) as writer:
            writer.write(ROWS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("v.csv", "the ending '.csv' is unknown"),
        ("no/v.npy", "there is no folder"),
        ("folder.npy", "is a folder: name a file"),
    ],
)
def test_wrong_outputs_are_named(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(InputFileError, match=says):
        files.VectorWriter(tmp_path / name, 5)


def test_ids_stand_with_the_vectors(tmp_path: Path) -> None:
    names = ["a", 'quoted "b"', "é", "d", "e", "f", "g"]
    for ending in ("npy", "jsonl", "parquet"):
        with files.VectorWriter(tmp_path / f"v.{ending}", 5, with_ids=True) as writer:
            writer.write(ROWS[:3], names[:3])
            writer.write(ROWS[3:], names[3:])
    assert json.loads((tmp_path / "v.ids.json").read_text()) == names
    lines = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == names
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(tmp_path / "v.parquet")["id"].to_pylist() == names
    with files.VectorWriter(tmp_path / "none.npy", 5, with_ids=True):
        pass
    assert json.loads((tmp_path / "none.ids.json").read_text()) == []


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from medembed.errors import WriteError
from medembed.rows import files
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
rows = np.random.default_rng(0).normal(size=(1000, 100)).astype(np.float32)
try:
    with files.VectorWriter(Path(sys.argv[1]), 100, with_ids=True) as writer:
        for _ in range(3):
            writer.write(rows, [str(i) for i in range(1000)])
except WriteError as error:
    print(error)
"""


@pytest.mark.parametrize("ending", ["npy", "jsonl", "parquet"])
def test_a_disk_that_takes_no_more_leaves_nothing_behind(tmp_path: Path, ending: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / f"v.{ending}")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout == f"{tmp_path / f'v.{ending}'} cannot be written (File too large): name a file elsewhere\n", (
        ran.stderr
    )
    assert ran.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files._Npy, "write", full)
    with (
        pytest.raises(StorageFullError, match=r"no room left on the disk of .*v.npy"),
        files.VectorWriter(tmp_path / "v.npy", 5) as writer,
    ):
        writer.write(ROWS)
    assert list(tmp_path.iterdir()) == []
