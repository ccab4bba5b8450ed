"""What can go wrong, really done: killed processes, full disks, flipped bytes, two writers at once."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from medembed import EmbeddedCorpus, Hybrid, MedEmbed
from medembed.corpus.embed import Settings, index
from medembed.errors import CorpusBusyError, CorpusDamagedError, CorpusError
from medembed.storage.places import MANIFEST
from tests.corpus.conftest import Contents, text_of, write_rows

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
SMALL = Settings(shard_rows=8)


def start(source: Path, folder: Path, seconds: float, workers: int = 1, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "tests.corpus.index_program",
        str(source),
        str(folder),
        str(seconds),
        str(workers),
        *more,
    ]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_shards(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(12_000):
        if len(list(folder.glob("shards/*.arrow"))) >= count:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("no shard appeared within two minutes")


def test_killed_at_ten_random_moments_no_row_is_lost_and_none_is_there_twice(
    tmp_path: Path, fake: MedEmbed, contents: Contents
) -> None:
    source = write_rows(tmp_path / "notes.jsonl", 400)
    index([str(source)], tmp_path / "undisturbed", fake, SMALL)
    moments = random.Random(7)
    killed_with = []
    for _ in range(10):
        there = len(list((tmp_path / "c").glob("shards/*.arrow")))
        process = start(source, tmp_path / "c", 0.03)
        wait_for_shards(tmp_path / "c", there + 1, process)
        time.sleep(moments.uniform(0, 0.12))
        process.kill()
        process.communicate()
        killed_with.append(len(list((tmp_path / "c").glob("shards/*.arrow"))))
    assert not (tmp_path / "c" / MANIFEST).exists()
    assert killed_with == sorted(killed_with)
    summary = index([str(source)], tmp_path / "c", fake, SMALL)
    assert summary.resumed >= 8 * 10
    assert summary.resumed + summary.embedded == 400
    assert contents(tmp_path / "c") == contents(tmp_path / "undisturbed")
    assert [path.name for path in tmp_path.glob("c/**/*.aside")] == []


@pytest.mark.slow
def test_the_real_model_killed_at_random_moments(tmp_path: Path, mini: MedEmbed) -> None:
    source = write_rows(tmp_path / "notes.jsonl", 600)
    command = [
        sys.executable,
        "-m",
        "medembed",
        "index",
        str(source),
        "-o",
        str(tmp_path / "c"),
        "--batch-rows",
        "16",
        "--threads",
        "1",
    ]
    moments = random.Random(11)
    for _ in range(5):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(1.5, 4))
        process.kill()
        process.wait()
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    corpus = EmbeddedCorpus.open(tmp_path / "c", mini)
    assert corpus.ids == [f"n{i}" for i in range(600)]
    expected = mini.encode_document([text_of(i) for i in range(600)])
    assert abs(corpus.vectors() - expected).max() < 1e-2


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_finishes_the_shard_and_says_how_to_go_on(
    number: signal.Signals, code: int, tmp_path: Path, tiny_folder: Path
) -> None:
    source = write_rows(tmp_path / "notes.jsonl", 30_000)
    folder = tmp_path / "c"
    command = [sys.executable, "-m", "medembed", "index", str(source), "-o", str(folder), "--model", str(tiny_folder)]
    process = subprocess.Popen(
        [*command, "--batch-rows", "64", "--threads", "1"], cwd=ROOT, text=True, stderr=subprocess.PIPE, env=os.environ
    )
    wait_for_shards(folder, 1, process)
    process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code, said
    assert "finishing the shard" in said
    whole = len(list(folder.glob("shards/*.arrow")))
    assert f"stopped with {64 * whole} rows in whole shards" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    assert [path.name for path in folder.glob("**/*.aside")] == []


def test_a_killed_worker_process_is_an_error_and_the_next_run_goes_on(
    tmp_path: Path, fake: MedEmbed, contents: Contents
) -> None:
    source = write_rows(tmp_path / "notes.jsonl", 200)
    process = start(source, tmp_path / "c", 0.1, workers=2)
    wait_for_shards(tmp_path / "c", 2, process)
    workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "a worker process ended by itself" in said
    assert "run the same command again" in said
    summary = index([str(source)], tmp_path / "c", fake, SMALL)
    assert summary.resumed >= 16
    index([str(source)], tmp_path / "undisturbed", fake, SMALL)
    assert contents(tmp_path / "c") == contents(tmp_path / "undisturbed")


@pytest.mark.skipif(os.name != "posix", reason="Windows has other ways to end a process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_worker_processes_end_with_the_one_that_started_them(number: int, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "notes.jsonl", 400)
    process = start(source, tmp_path / "c", 0.1, workers=2)
    wait_for_shards(tmp_path / "c", 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(number)
    process.communicate(timeout=30)
    _, left = psutil.wait_procs(children, timeout=20)
    for child in left:
        child.kill()
    assert left == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)):
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def test_a_full_disk_keeps_what_is_whole_and_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path, fake: MedEmbed, contents: Contents
) -> None:
    source = write_rows(tmp_path / "notes.jsonl", 2000)
    with pytest.raises(CorpusError, match=r"cannot be written \(No space left on device\): what was finished is kept"):
        index([str(source)], small_disk / "c", fake, SMALL)
    assert [path.name for path in small_disk.glob("c/**/*.aside")] == []
    there = len(list(small_disk.glob("c/shards/*.arrow")))
    assert there > 10
    assert mount("-o", "remount,size=16m", str(small_disk))
    summary = index([str(source)], small_disk / "c", fake, SMALL)
    assert summary.resumed == 8 * there
    index([str(source)], tmp_path / "undisturbed", fake, SMALL)
    assert contents(small_disk / "c") == contents(tmp_path / "undisturbed")


def test_a_read_only_folder_can_be_searched_and_says_that_it_cannot_be_written(
    small_disk: Path, notes: Path, fake: MedEmbed, caplog: pytest.LogCaptureFixture
) -> None:
    index([str(notes)], small_disk / "c", fake, SMALL)
    assert mount("-o", "remount,ro", str(small_disk))
    assert EmbeddedCorpus.open(small_disk / "c", fake).search(text_of(3), k=1)[0].id == "n3"
    assert caplog.text == ""  # nothing has to be derived to search floats
    assert EmbeddedCorpus.open(small_disk / "c", fake).search(text_of(3), k=1, scan="binary")[0].id == "n3"
    assert "what is derived from it cannot be written (WriteError), so it is held in memory" in caplog.text
    with pytest.raises(CorpusError, match=r"cannot be written \(Read-only file system\)"):
        index([str(notes)], small_disk / "c", fake, SMALL)
    with pytest.raises(CorpusError, match=r"cannot be written \(Read-only file system\)"):
        EmbeddedCorpus.open(small_disk / "c", fake).delete(["n3"])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink], ids=["truncated", "flipped", "missing"])
def test_a_damaged_shard_is_found_and_alone_embedded_again(
    damage: Callable[[Path], object], notes: Path, tmp_path: Path, fake: MedEmbed
) -> None:
    index([str(notes)], tmp_path / "c", fake, SMALL)
    corpus = EmbeddedCorpus.open(tmp_path / "c", fake)
    before = corpus.vectors()
    shard = tmp_path / "c" / corpus.manifest.shards[4].file
    damage(shard)
    assert corpus.verify() == [corpus.manifest.shards[4].file]
    with pytest.raises(CorpusDamagedError, match="run the same `medembed index` command again"):
        EmbeddedCorpus.open(tmp_path / "c", fake).search("x")
    summary = index([str(notes)], tmp_path / "c", fake, SMALL)
    assert (summary.embedded, summary.resumed) == (8, 92)
    again = EmbeddedCorpus.open(tmp_path / "c", fake)
    assert again.verify() == []
    assert (again.vectors() == before).all()


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink], ids=["truncated", "flipped", "missing"])
def test_a_damaged_derived_file_is_made_again(
    damage: Callable[[Path], object], notes: Path, tmp_path: Path, fake: MedEmbed, caplog: pytest.LogCaptureFixture
) -> None:
    index([str(notes)], tmp_path / "c", fake, SMALL)
    before = EmbeddedCorpus.open(tmp_path / "c", fake).search(text_of(3), k=9, scan="binary")
    [derived] = (tmp_path / "c" / "derived").glob("binary-*")
    damage(derived / "table.arrow")
    with EmbeddedCorpus.open(tmp_path / "c", fake) as corpus:
        assert corpus.search(text_of(3), k=9, scan="binary") == before
    assert "is damaged and is made again" in caplog.text
    damage(derived / "table.arrow")
    assert EmbeddedCorpus.open(tmp_path / "c").verify() == [f"derived/{derived.name}"]
    assert not derived.exists()


@pytest.mark.parametrize(("way", "what"), [({"scan": "binary"}, "binary"), ({"hybrid": Hybrid()}, "bm25")])
def test_what_is_derived_from_other_rows_is_made_again(
    way: dict[str, Any], what: str, notes: Path, tmp_path: Path, fake: MedEmbed
) -> None:
    """Whoever hands over a store can put files of another one into it, with right hashes."""
    index([str(notes)], tmp_path / "c", fake, SMALL)
    before = EmbeddedCorpus.open(tmp_path / "c", fake).search(text_of(3), k=9, **way)
    with EmbeddedCorpus.build(tmp_path / "few", [{"id": "x", "text": "gout"}], fake, SMALL) as few:
        few.search("gout", k=1, **way)
    [own], [other] = (list((tmp_path / name / "derived").glob(f"{what}*")) for name in ("c", "few"))
    shutil.rmtree(own)
    other.rename(own)
    for _ in range(2):
        with EmbeddedCorpus.open(tmp_path / "c", fake) as corpus:
            assert corpus.search(text_of(3), k=9, **way) == before


def test_two_writers_at_once_are_refused(tmp_path: Path, fake: MedEmbed) -> None:
    source = write_rows(tmp_path / "notes.jsonl", 400)
    process = start(source, tmp_path / "c", 0.05)
    wait_for_shards(tmp_path / "c", 1, process)
    with pytest.raises(CorpusBusyError, match=f"is in use by process {process.pid} on .*Wait until it has ended"):
        index([str(source)], tmp_path / "c", fake, SMALL)
    process.kill()
    process.communicate()
    assert index([str(source)], tmp_path / "c", fake, SMALL).n_rows == 400


def test_a_searcher_keeps_its_answers_while_the_corpus_is_rewritten(
    notes: Path, tmp_path: Path, fake: MedEmbed
) -> None:
    index([str(notes)], tmp_path / "c", fake, SMALL)
    reader = EmbeddedCorpus.open(tmp_path / "c", fake)
    before = [hit.id for hit in reader.search("chest pain", k=20)]
    writer = EmbeddedCorpus.open(tmp_path / "c", fake)
    writer.delete(before[:5])
    writer.compact(shard_rows=50)
    assert [hit.id for hit in reader.search("chest pain", k=20)] == before
    assert {hit.id for hit in EmbeddedCorpus.open(tmp_path / "c", fake).search("chest pain", k=20)}.isdisjoint(
        before[:5]
    )


def test_errors_carry_no_text(tmp_path: Path, fake: MedEmbed) -> None:
    with pytest.raises(CorpusError) as caught:
        EmbeddedCorpus.build(tmp_path / "c", [{"id": "a", "text": ["Mr Smith"]}], fake)
    assert "Smith" not in str(caught.value)
