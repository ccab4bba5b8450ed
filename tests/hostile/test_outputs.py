"""Every command that writes: never onto an input, and over nothing that exists unless that was asked for."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from medembed import EmbeddedCorpus, MedEmbed, demo
from medembed.cli import app
from medembed.errors import MedEmbedError, SettingError
from medembed.rows.outputs import all_or_none, check_outputs
from tests.evaluation.conftest import write_result  # noqa: F401 - a fixture
from tests.recipes.conftest import make_recipe

PRECIOUS = "precious"
ROWS = [{"id": f"d{number}", "text": f"pain in the joint number {number}"} for number in range(8)]
# notes that questions can be made of
LONG = [{"id": passage.id, "text": passage.text} for passage in demo.passages()[:40]]
FORMAT1 = Path(__file__).parents[1] / "data" / "format1" / "corpus-float32"

# what replaces with --overwrite: its words, and every file of somebody's that it would replace
REPLACES: dict[str, tuple[str, tuple[str, ...]]] = {
    "encode": ("encode n.jsonl -o out.npy --id-column id --model model", ("out.npy", "out.ids.json")),
    "corpus export .npy": ("corpus export corpus -o out.npy", ("out.npy", "out.ids.json")),
    "corpus export .parquet": ("corpus export corpus -o out.parquet", ("out.parquet",)),
    "assess": ("assess long.jsonl --models bm25 model --html out.html", ("out.html",)),
    "compare": ("compare results -o out", ("out/report.md", "out/report.json", "out/report.html", "out/scores.svg", "out/wins.png")),
    "leaderboard build": (
        "leaderboard build results -o out",
        ("out/leaderboard.html", "out/leaderboard.md", "out/leaderboard-results/results/a__m/rev1/NFCorpus.json"),
    ),
    "leaderboard build, where nothing is said": ("leaderboard build", ("docs/leaderboard.html", "docs/leaderboard.md")),
}  # fmt: skip
# what never replaces what it finds: a folder that holds anything of somebody else's is refused, asked for or not
REFUSES: dict[str, tuple[str, str]] = {
    "index": ("index n.jsonl -o out --model model", "out/rejects.jsonl"),
    "index --overwrite": ("index n.jsonl -o out --model model --overwrite", "out/manifest.json"),
    "corpus import": ("corpus import old -o out", "out/manifest.json"),
    "corpus import beside": ("corpus import old -o out", "out/holder.txt"),
    "models export": ("models export model out", "out/config.json"),
    "recipes copy": ("recipes copy recipe out", "out/recipe.toml"),
    "leaderboard --submit": ("leaderboard build results -o page --submit out", "out/README.md"),
    "leaderboard --submit --overwrite": ("leaderboard build results -o page --submit out --overwrite", "out/README.md"),
}
# an output that is an input, or lies in it: refused with --overwrite too
ONTO: dict[str, tuple[str, str]] = {
    "encode": ("encode n.jsonl -o n.jsonl --model model --overwrite", "n.jsonl"),
    "encode ids": ("encode n.ids.json -o n.npy --format jsonl --id-column id --model model --overwrite", "n.ids.json"),
    "encode into a store": ("encode n.jsonl -o corpus/v.npy --model model --overwrite", "n.jsonl"),
    "assess": ("assess long.jsonl --models bm25 model --html long.jsonl --overwrite", "long.jsonl"),
    "index": ("index corpus-texts -o corpus-texts --model model --overwrite", "corpus-texts/n.jsonl"),
    "corpus export into the store": ("corpus export corpus -o corpus/v.npy --overwrite", "corpus/manifest.json"),
    "corpus import": ("corpus import old -o old/new", "old/manifest.json"),
    "models export": ("models export model model/new", "model/config.json"),
    "recipes copy": ("recipes copy recipe recipe/new", "recipe/recipe.toml"),
    "recipes run": ("recipes run reads-here --until notes execution.work=reads-here/work", "reads-here/n.jsonl"),
}
# why the other commands are in no table
NOTHING_WRITTEN = {"demo", "search", "doctor", "corpus info", "corpus verify", "models"}
NOTHING_WRITTEN |= {"recipes list", "recipes show", "recipes status", "mcp", "keys list"}
CHANGE_THE_STORE_THAT_THEY_NAME = {"corpus delete", "corpus compact", "recipes clean"}  # what its manifests list
# named by what is in them, or added to (an audit log, a file of keys): a file of another content has another name, or is measured or fetched again
KEEP_BY_CONTENT = {"serve", "keys add", "keys remove", "evaluate", "recipes run", "recipes download", "models download"}
ALIASES = {"token-index"}  # calls index


def commands(group: Any, above: str = "") -> Iterator[str]:
    """All commands of the program by the words that call them."""
    for name, command in getattr(group, "commands", {}).items():
        called = f"{above} {name}".strip()
        if getattr(command, "invoke_without_command", False) or not hasattr(command, "commands"):
            yield called
        yield from commands(command, called)


def test_every_command_is_in_a_table() -> None:
    told = {
        " ".join(word for word in key.replace(",", "").split() if word[0] not in "-.") for key in (*REPLACES, *REFUSES)
    }
    known = NOTHING_WRITTEN | CHANGE_THE_STORE_THAT_THEY_NAME | KEEP_BY_CONTENT | ALIASES
    there = set(commands(typer.main.get_command(app)))
    assert {name for name in there if name not in known and not any(key.startswith(name) for key in told)} == set()
    assert known <= there


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an input of every kind; commands run in it."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "corpus-texts").mkdir()
    (folder / "reads-here").mkdir()
    for name in ("n.jsonl", "n.ids.json", "corpus-texts/n.jsonl", "reads-here/n.jsonl"):
        (folder / name).write_text(lines)
    (folder / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LONG))
    (folder / "reads-here" / "recipe.toml").write_text(
        'name = "here"\n[notes]\nmin_words = 1\n[notes.sources.mine]\nformat = "jsonl"\npath = "."\n[merge]\nratios = [1.0]\n'
    )
    shutil.copytree(tiny_folder, folder / "model")
    shutil.copytree(FORMAT1, folder / "old")
    if "recipe" in request.node.name:
        make_recipe(folder / "recipe")
    if "corpus" in request.node.name or "store" in request.node.name:
        with MedEmbed(folder / "model", threads=1) as model:
            EmbeddedCorpus.build(folder / "corpus", ROWS, model).close()
    write = request.getfixturevalue("write_result")
    for name in ("a/m", "b/n"):
        made = write(name, "NFCorpus", [0.2, 0.4, 0.9], folder="place/results")
    assert made == folder / "results"
    return folder


def run(words: str) -> BaseException | None:
    """Run a command; gives the error that it ended with."""
    ran = CliRunner().invoke(app, words.split())
    error = ran.exception
    if error is not None and not isinstance(error, MedEmbedError | SystemExit):
        raise error
    assert error is not None or ran.exit_code == 0, ran.output
    return error


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "name"), [(words, name) for words, names in REPLACES.values() for name in names],
    ids=[f"{key} {name}" for key, (_, names) in REPLACES.items() for name in names],
)  # fmt: skip
def test_what_exists_is_replaced_only_when_asked_for(words: str, name: str, place: Path) -> None:
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(PRECIOUS)
    before = contents(place)
    error = run(words)
    assert isinstance(error, SettingError)
    assert f"{name} exists: name another place, or replace it with --overwrite" in str(error)
    assert contents(place) == before
    assert run(f"{words} --overwrite") is None
    assert (place / name).read_bytes() != PRECIOUS.encode()


@pytest.mark.parametrize(("words", "name"), REFUSES.values(), ids=REFUSES.keys())
def test_a_folder_of_somebody_elses_is_never_replaced(words: str, name: str, place: Path) -> None:
    (place / name).parent.mkdir(parents=True)
    (place / name).write_text(PRECIOUS)
    assert isinstance(error := run(words), MedEmbedError)
    assert "out" in str(error)
    assert contents(place / "out") == {Path(name).name: PRECIOUS.encode()}


@pytest.mark.parametrize(("words", "name"), ONTO.values(), ids=[f"{key} corpus" for key in ONTO])
def test_an_input_is_never_written_onto(words: str, name: str, place: Path) -> None:
    before = contents(place)
    assert isinstance(run(words), MedEmbedError)
    after = contents(place)
    assert {path: kept for path, kept in after.items() if not path.startswith("reads-here/work/")} == before
    assert after[name] == before[name]


def test_a_file_that_standard_input_comes_from_is_no_output(place: Path) -> None:
    words = [sys.executable, "-m", "medembed", "encode", "-", "-o", "n.jsonl", "--overwrite", "--model", "model"]
    with (place / "n.jsonl").open("rb") as file:
        ran = subprocess.run(words, stdin=file, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert ran.returncode == 1
    assert "n.jsonl is an input of this command" in ran.stderr
    assert (place / "n.jsonl").read_text().count("\n") == len(ROWS)


def test_an_empty_folder_is_nothing_to_lose(tmp_path: Path) -> None:
    check_outputs([tmp_path], overwrite=False)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(SettingError, match="exists"):
        check_outputs([tmp_path / "link"], overwrite=False)


def test_files_that_belong_together_go_together(tmp_path: Path) -> None:
    there, new = tmp_path / "there", tmp_path / "new"
    there.write_text(PRECIOUS)
    with pytest.raises(IsADirectoryError), all_or_none([there, new]):
        new.write_bytes(tmp_path.read_bytes() if new.write_text("half") else b"")
    assert contents(tmp_path) == {"there": PRECIOUS.encode()}


def test_a_submission_is_replaced_when_asked_for_and_only_its_own(place: Path) -> None:
    words = "leaderboard build results -o page{} --submit sub"
    assert run(words.format(1)) is None
    assert "sub exists" in str(run(words.format(2)))
    assert run(words.format(3) + " --overwrite") is None
    (place / "sub" / "README.md").write_text(PRECIOUS)
    assert "holds files that are not a submission as it was written" in str(run(words.format(4) + " --overwrite"))
