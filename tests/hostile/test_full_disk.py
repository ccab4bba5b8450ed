"""Every writer on a disk that is full: one error of ours, nothing half-written, and the same command goes on when there is room."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medembed import EmbeddedCorpus, MedColBERT, MedEmbed, TokenIndex
from medembed.cli import app
from medembed.errors import CorpusError, InputFileError, StorageFullError
from medembed.recipes import bundle, catalog
from tests.colbert import folders
from tests.hostile import recipes_command
from tests.recipes.conftest import make_recipe

pytestmark = pytest.mark.thorough

ROWS = [{"id": f"d{number}", "text": f"pain in the joint number {number}"} for number in range(40)]
HALVES = re.compile(r".*\.(aside|partial|tmp|incomplete)|\.medembed-.*|tmp.*")


@dataclass(frozen=True)
class Given:
    """What writers read: all of it lies on another disk than they write to."""

    model: Path
    colbert: Path
    rows: Path
    recipe: Path
    results: Path
    task: Path


def _command(*words: str) -> Callable[[Path, Given], None]:
    """A command of ours, with places to be filled in."""

    def run(disk: Path, given: Given) -> None:
        ran = CliRunner().invoke(app, [word.format(disk=disk, **vars(given)) for word in words])
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        assert ran.exit_code in (0, 3), ran.output

    return run


def _recipes(*words: str) -> Callable[[Path, Given], None]:
    """A command of the recipes, which prints its errors."""

    def run(disk: Path, given: Given) -> None:
        code = recipes_command.run([word.format(disk=disk, **vars(given)) for word in words])
        if code:
            raise StorageFullError("told on standard error")

    return run


def _token_index(disk: Path, given: Given) -> None:
    with MedColBERT(given.colbert, threads=1) as model:
        TokenIndex.build(disk / "out", ROWS, model).close()


def _changed(change: Callable[[EmbeddedCorpus], object]) -> Callable[[Path, Given], None]:
    def run(disk: Path, given: Given) -> None:
        with MedEmbed(given.model, threads=1) as model, EmbeddedCorpus.open(disk / "corpus", model) as corpus:
            change(corpus)

    return run


def _bundle(disk: Path, given: Given) -> None:
    bundle.bundle(given.model, disk / "out", [str(row["text"]) for row in ROWS] * 3)


WRITERS: dict[str, Callable[[Path, Given], object]] = {
    "encode .npy": _command("encode", "{rows}", "-o", "{disk}/out.npy", "--model", "{model}"),
    "encode .jsonl": _command("encode", "{rows}", "-o", "{disk}/out.jsonl", "--model", "{model}"),
    "encode .parquet": _command("encode", "{rows}", "-o", "{disk}/out.parquet", "--model", "{model}"),
    "index": _command("index", "{rows}", "-o", "{disk}/out", "--model", "{model}"),
    "append": _changed(lambda corpus: corpus.append([{"id": "e", "text": "a cough"}])),
    "delete": _changed(lambda corpus: corpus.delete(["d1"])),
    "compact": _changed(lambda corpus: corpus.compact(5)),
    "corpus export": _command("corpus", "export", "{disk}/corpus", "-o", "{disk}/out.npy"),
    "token index": _token_index,
    "models export": _command("models", "export", "{model}", "{disk}/out"),
    "bundle": _bundle,
    "evaluate": _command("evaluate", "bm25", "-t", "{task}", "-o", "{disk}/out"),
    "compare": _command("compare", "{results}", "-o", "{disk}/out"),
    "leaderboard": _command("leaderboard", "build", "{results}", "-o", "{disk}/out"),
    "recipes copy": lambda disk, given: catalog.copy(str(given.recipe), disk / "out"),
    "recipes run": _recipes("run", "{recipe}", "--until", "triplets", "execution.work={disk}/out"),
}
ERRORS = (StorageFullError, CorpusError, InputFileError)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Given:
    home = tmp_path_factory.mktemp("given")
    (home / "rows.jsonl").write_text("".join(f'{{"id": "{row["id"]}", "text": "{row["text"]}"}}\n' for row in ROWS))
    recipe = make_recipe(home / "recipe")
    task = recipe / "development"
    result = Given(tiny_folder, folders.stanford(home / "colbert"), home / "rows.jsonl", recipe, home / "results", task)
    for name in ("bm25", str(tiny_folder)):
        _command("evaluate", name, "-t", "{task}", "-o", "{results}")(home, result)
    with MedEmbed(tiny_folder, threads=1) as model:
        EmbeddedCorpus.build(home / "corpus", ROWS, model).close()
    return result


@pytest.fixture
def disk(tmp_path: Path, given: Given) -> Iterator[Path]:
    """A file system of 2 MB with a corpus on it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    shutil.copytree(given.rows.parent / "corpus", folder / "corpus")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(disk: Path, free: int) -> None:
    """Leave so many bytes."""
    with (disk / "filler").open("wb", buffering=0) as file:
        file.write(b"\0" * (shutil.disk_usage(disk).free - free))


def _files(disk: Path) -> set[str]:
    return {path.relative_to(disk).as_posix() for path in disk.rglob("*") if path.is_file()}


@pytest.mark.parametrize("free", [0, 8 << 10])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_error_and_the_same_command_goes_on(
    writer: str, free: int, disk: Path, given: Given
) -> None:
    _fill(disk, free)
    before = {name: (disk / name).read_bytes() for name in _files(disk) if name != "filler"}
    try:
        WRITERS[writer](disk, given)
        failed = False
    except ERRORS:
        failed = True
    assert failed or free, "nothing was written"
    assert [name for name in _files(disk) if HALVES.fullmatch(Path(name).name)] == []
    assert list(disk.rglob(".medembed-*")) == []
    assert [name for name in _files(disk) if not name.endswith(".lock") and not (disk / name).stat().st_size] == []
    if failed:
        assert {name: (disk / name).read_bytes() for name in before} == before
    (disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    if failed:
        WRITERS[writer](disk, given)
