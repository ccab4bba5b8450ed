"""Parts appear whole, carry their hash, and a manifest comes last."""

import errno
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from medembed.errors import StorageFullError, WorkFolderBusyError
from medembed.recipes.artifacts import ArtifactWriter, hold, open_artifact
from medembed.storage.durable import write_text_whole


def write(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def finished(folder: Path) -> ArtifactWriter:
    out = ArtifactWriter(folder)
    out.write_part("rows", 0, "txt", write("one"))
    out.write_part("rows", 1, "txt", write("two"))
    out.finish({"fingerprint": "abc"}, {"rows": 2})
    return out


def test_an_artefact_exists_only_with_its_manifest(tmp_path: Path) -> None:
    out = ArtifactWriter(tmp_path / "a")
    out.write_part("rows", 0, "txt", write("one"))
    assert open_artifact(tmp_path / "a") is None
    out.finish({}, {"rows": 1})
    found = open_artifact(tmp_path / "a")
    assert found is not None
    assert found.summary == {"rows": 1}


def test_a_corrupt_part_is_found_removed_and_only_it_is_missing(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    part = next((tmp_path / "a" / "rows").glob("part-00001.*"))
    part.write_text("twO")
    assert open_artifact(tmp_path / "a") is None
    again = ArtifactWriter(tmp_path / "a")
    assert again.part("rows", 0) is not None
    assert again.part("rows", 1) is None


def test_a_corrupt_part_of_an_unfinished_stage_is_found_too(tmp_path: Path) -> None:
    ArtifactWriter(tmp_path / "a").write_part("rows", 0, "txt", write("one"))
    next((tmp_path / "a" / "rows").glob("part-*")).write_text("onE")
    assert ArtifactWriter(tmp_path / "a").part("rows", 0) is None


def test_a_damaged_manifest_means_build_again(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").write_text('{"files":')
    assert open_artifact(tmp_path / "a") is None


def _fill_disk(folder: Path) -> None:
    """Write a part with the file size limited, so that the system itself refuses the rest, as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails with EFBIG instead of ending the process
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        ArtifactWriter(folder).write_part("rows", 0, "txt", write("x" * 5000))
    except OSError as error:
        os._exit(7 if error.errno == errno.EFBIG else 8)
    os._exit(9)


def test_a_full_disk_leaves_no_half_written_part(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_fill_disk, args=(tmp_path / "a",))
    process.start()
    process.join()
    assert process.exitcode == 7
    assert [path for path in (tmp_path / "a").rglob("*") if path.is_file()] == []


def test_a_failed_folder_leaves_the_earlier_one(tmp_path: Path) -> None:
    out = ArtifactWriter(tmp_path / "a")
    out.write_folder("model", lambda folder: (folder / "w").write_text("old"))

    def fail(folder: Path) -> None:
        (folder / "w").write_text("half")
        raise OSError(errno.ENOSPC, "disk full")

    with pytest.raises(StorageFullError, match="no room left"):
        out.write_folder("model", fail)
    assert (tmp_path / "a" / "model" / "w").read_text() == "old"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["model"]


def test_a_text_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_text_whole(tmp_path / "x.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_held_folder_is_refused_with_the_holder_named(tmp_path: Path) -> None:
    with hold(tmp_path, 0), pytest.raises(WorkFolderBusyError, match=f"process {os.getpid()}"), hold(tmp_path, 0):
        pass
    with hold(tmp_path, 0):
        pass
