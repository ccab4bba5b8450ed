"""Folders, recipes and manifests from somebody else: no command touches anything outside of what it was given.

Each test runs one attack against one command, as a user runs it. ``outside`` stands for the user's own files; its names, bytes
and times of change are compared before and after.
"""

import hashlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from typer.testing import CliRunner

from medembed import EmbeddedCorpus, MedColBERT, MedEmbed, TokenIndex
from medembed.cli import app
from medembed.errors import MedEmbedError
from medembed.recipes import bundle
from tests.colbert import folders
from tests.hostile import recipes_command
from tests.recipes.conftest import make_recipe

ROWS = [{"id": f"d{number}", "text": f"pain in the joint number {number}"} for number in range(6)]
THESIS = b"years of work"
Attack = Callable[[Path, Path], None]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The user's own files, some with names that a sweep of ours looks for."""
    folder = tmp_path / "outside"
    (folder / "folder").mkdir(parents=True)
    for name in ("thesis.docx", "folder/000099.0123abcd.0123abcd.parquet", "folder/part-00099.0123abcd.parquet"):
        (folder / name).write_bytes(THESIS)
    (folder / "folder" / "old.aside").write_bytes(THESIS)
    return folder


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Each file below a folder: what it holds and when it was changed; links by what they point to."""
    found = {}
    for path in folder.rglob("*"):
        held = bytes(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(held).hexdigest(), path.lstat().st_mtime_ns
    return found


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """A command that waits for a pipe or a device fails after a minute."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError("the command waits for something that never comes")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# ------------------------------------------------------------------------------------------------ attacks on a folder


def _linked(name: str, target: str, folder: Path, outside: Path) -> None:
    """A name that commands use, or any other, is a link to something of the user's."""
    path = folder / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside / target)


def _moved(pick: Callable[[Path], bool], folder: Path, outside: Path) -> None:
    """What is in the folder lies elsewhere, and links stand in its place: every file and folder is found as it was."""
    for path in sorted(folder.iterdir()):
        if pick(path):
            held = outside / "moved" / path.name
            held.parent.mkdir(exist_ok=True)
            path.rename(held)
            if held.is_dir():
                shutil.copy(outside / "folder" / "old.aside", held / "old.aside")
            path.symlink_to(held)


def _pipe(folder: Path, _outside: Path) -> None:
    home = next(path for path in sorted(folder.rglob("*")) if path.is_dir())
    os.mkfifo(home / "000099.0123abcd.0123abcd.parquet")


def _second_name(folder: Path, outside: Path) -> None:
    """The lock is the user's own file under another name."""
    (folder / ".lock").unlink(missing_ok=True)
    os.link(outside / "thesis.docx", folder / ".lock")


def _renamed(name: str, folder: Path, outside: Path) -> None:
    """The manifest names files elsewhere, by a name to be formatted with the path of ``outside``."""
    for path in folder.rglob("manifest.json"):
        given = name.format(outside=outside, up="/".join([".."] * len(path.relative_to(outside.parent).parent.parts)))
        path.write_text(json.dumps(_with_names(json.loads(path.read_text()), path.parent, given)))


def _with_names(value: Any, home: Path, given: str) -> Any:
    if isinstance(value, dict):
        return {_with_names(key, home, given): _with_names(held, home, given) for key, held in value.items()}
    if isinstance(value, list):
        return [_with_names(held, home, given) for held in value]
    return given if isinstance(value, str) and value and (home / value).is_file() else value


LINKS: dict[str, Attack] = {
    **{
        f"{name} is a link to {target}": partial(_linked, name, target)
        for name, target in {
            "shards": "folder",
            "maps": "folder",
            "derived": "folder",
            "holder.txt": "thesis.docx",
            ".lock": "thesis.docx",
            "rejects.jsonl": "thesis.docx",
            "manifest.json": "thesis.docx",
            "shards/000099.0123abcd.0123abcd.parquet": "thesis.docx",
            "maps/bm25-0123456789abcdef": "folder",
            "deep/er/any": "not-there-yet",
        }.items()
    },
    "every folder lies elsewhere": partial(_moved, Path.is_dir),
    "every file lies elsewhere": partial(_moved, Path.is_file),
}
NAMES: dict[str, Attack] = {
    f"a manifest names {name}": partial(_renamed, name)
    for name in ("{up}/outside/thesis.docx", "{outside}/thesis.docx", "x/../{up}/outside/thesis.docx")
}
ATTACKS = {**LINKS, **NAMES, "a pipe": _pipe, "a lock with a second name": _second_name}


# ------------------------------------------------------------------------------------------------ corpora and token indexes

CORPUS_COMMANDS: dict[str, list[str]] = {
    "info": ["corpus", "info", "{corpus}"],
    "verify": ["corpus", "verify", "{corpus}"],
    "delete": ["corpus", "delete", "{corpus}", "d1"],
    "compact": ["corpus", "compact", "{corpus}"],
    "export": ["corpus", "export", "{corpus}", "-o", "{tmp}/out.npy"],
    "search": ["search", "{corpus}", "pain", "--hybrid"],
    "append": ["index", "{more}", "-o", "{corpus}", "--append", "--model", "{model}"],
    "overwrite": ["index", "{more}", "-o", "{corpus}", "--overwrite", "--model", "{model}"],
    "index": ["index", "{more}", "-o", "{corpus}", "--model", "{model}"],
}
# those that never write what the attack is about, or write it without reading the manifest
UNHARMED = {("a lock with a second name", name) for name in ("info", "verify", "export", "search")} | {
    (attack, "overwrite") for attack in NAMES
}


@pytest.fixture(scope="module")
def honest_corpus(tmp_path_factory: pytest.TempPathFactory, tiny: MedEmbed) -> Path:
    """A corpus with deleted rows, maps and a BM25 index, and more rows beside it."""
    folder = tmp_path_factory.mktemp("honest") / "corpus"
    with EmbeddedCorpus.build(folder, ROWS, tiny) as corpus:
        corpus.delete(["d0"])
    assert CliRunner().invoke(app, ["search", str(folder), "pain", "--hybrid"]).exit_code == 0
    (folder.parent / "more.jsonl").write_text('{"id": "e", "text": "a cough"}\n{"id": "e", "text": "again"}\n')
    return folder


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("command", CORPUS_COMMANDS)
def test_no_command_on_a_corpus_touches_what_is_outside(
    attack: str, command: str, honest_corpus: Path, tiny_folder: Path, tmp_path: Path, outside: Path
) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(honest_corpus, corpus)
    ATTACKS[attack](corpus, outside)
    before = state(outside)
    places = {"corpus": corpus, "tmp": tmp_path, "more": honest_corpus.parent / "more.jsonl", "model": tiny_folder}
    ran = CliRunner().invoke(app, [part.format(**places) for part in CORPUS_COMMANDS[command]])
    assert state(outside) == before
    if (attack, command) not in UNHARMED:
        assert isinstance(ran.exception, MedEmbedError), ran.output


def test_honest_folders_are_taken(honest_corpus: Path, tiny_folder: Path, tmp_path: Path) -> None:
    corpus, more = tmp_path / "corpus", tmp_path / "more.jsonl"
    more.write_text('{"id": "e", "text": "a cough"}\n')
    shutil.copytree(honest_corpus, corpus)
    (tmp_path / "reached").symlink_to(corpus)  # the folder's own name is the user's
    places = {"corpus": tmp_path / "reached", "tmp": tmp_path, "more": more, "model": tiny_folder}
    for command in ("info", "verify", "delete", "append", "compact", "export", "search"):
        ran = CliRunner().invoke(app, [part.format(**places) for part in CORPUS_COMMANDS[command]])
        assert ran.exit_code == 0, (command, ran.output)


def test_a_file_of_the_users_in_a_corpus_is_not_swept(honest_corpus: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(honest_corpus, corpus)
    kept = [corpus / "notes.txt", *(path / "thesis.docx" for path in corpus.iterdir() if path.is_dir())]
    for path in kept:
        path.write_bytes(THESIS)
    for command in ("delete", "compact"):
        words = [part.format(corpus=corpus) for part in CORPUS_COMMANDS[command]]
        assert CliRunner().invoke(app, words).exit_code == 0
    assert [path for path in kept if not path.is_file()] == []


def _append(index: TokenIndex) -> None:
    index.append([{"id": "e", "text": "a cough"}])


def _delete(index: TokenIndex) -> None:
    index.delete(["d1"])


def _search(index: TokenIndex) -> None:
    index.search("pain", 2)


@pytest.fixture(scope="module")
def colbert(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MedColBERT]:
    with MedColBERT(folders.stanford(tmp_path_factory.mktemp("colbert") / "model"), threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def honest_index(tmp_path_factory: pytest.TempPathFactory, colbert: MedColBERT) -> Path:
    folder = tmp_path_factory.mktemp("honest") / "index"
    TokenIndex.build(folder, ROWS, colbert).close()
    return folder


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("use", [_append, _delete, _search, TokenIndex.verify], ids=lambda use: use.__name__)
def test_nothing_done_to_a_token_index_touches_what_is_outside(
    attack: str,
    use: Callable[[TokenIndex], object],
    honest_index: Path,
    colbert: MedColBERT,
    tmp_path: Path,
    outside: Path,
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(honest_index, folder)
    ATTACKS[attack](folder, outside)
    before = state(outside)
    try:
        with TokenIndex.open(folder, colbert) as index:
            use(index)
        refused = False
    except MedEmbedError:
        refused = True
    assert state(outside) == before
    assert refused or (attack == "a lock with a second name" and use in (_search, TokenIndex.verify))


# ------------------------------------------------------------------------------------------------ recipes


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small recipe, and beside it a work folder where its first stages are built."""
    folder = make_recipe(tmp_path_factory.mktemp("recipe") / "small")
    assert (
        recipes_command.run(["run", str(folder), "--until", "pairs", f"execution.work={folder.parent / 'work'}"]) == 0
    )
    return folder


RECIPE_ATTACKS: dict[str, Attack] = {
    **{
        f"{name} is a link to {target}": partial(_linked, name, target)
        for name, target in {
            "notes": "folder",
            "runs": "folder",
            "filters": "folder",
            "holder.txt": "thesis.docx",
            ".lock": "thesis.docx",
            "deep/er/any": "not-there-yet",
        }.items()
    },
    "every folder lies elsewhere": partial(_moved, Path.is_dir),
    **NAMES,
    "a pipe": _pipe,
    "a lock with a second name": _second_name,
}


@pytest.mark.parametrize("attack", RECIPE_ATTACKS)
@pytest.mark.parametrize("command", ["run", "status"])
def test_no_run_on_a_work_folder_touches_what_is_outside(
    attack: str, command: str, recipe: Path, tmp_path: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    shutil.copytree(recipe.parent / "work", work)
    RECIPE_ATTACKS[attack](work, outside)
    before = state(outside)
    until = ["--until", "filters"] if command == "run" else []
    code = recipes_command.run([command, str(recipe), f"execution.work={work}", *until])
    assert state(outside) == before
    if command == "run":
        assert code == 1
        assert "UnsafePathError" in capsys.readouterr().err


SERVED = b"alias ls='rm -rf'\n"


@pytest.fixture
def address() -> Iterator[str]:
    """A server that answers everything with the same bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SERVED)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/rows"
    server.shutdown()
    server.server_close()


NAMED_BY_RECIPES = {
    "absolute": "{outside}/thesis.docx",
    "upwards": "../../outside/thesis.docx",
    "down and upwards": "x/../../../outside/thesis.docx",
    "upwards, to a new file": "../../outside/new.jsonl",
    "the folder itself": ".",
    "through a link": "linked/thesis.docx",
    "a link": "link.jsonl",
}


@pytest.mark.parametrize("named", NAMED_BY_RECIPES)
def test_a_download_stays_below_its_folder(
    named: str, address: str, recipe: Path, tmp_path: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, work = tmp_path / "recipe", tmp_path / "work"
    downloads = work / "downloads"
    downloads.mkdir(parents=True)
    (downloads / "linked").symlink_to(outside)
    (downloads / "link.jsonl").symlink_to(outside / "thesis.docx")
    shutil.copytree(recipe, folder)
    _add_source(folder, NAMED_BY_RECIPES[named].format(outside=outside), address)
    before = state(outside)
    assert recipes_command.run(["download", str(folder), f"execution.work={work}"]) == 1
    assert "UnsafePathError" in capsys.readouterr().err
    assert state(outside) == before


def test_an_honest_download_arrives(address: str, recipe: Path, tmp_path: Path) -> None:
    folder, work = tmp_path / "recipe", tmp_path / "work"
    shutil.copytree(recipe, folder)
    _add_source(folder, "deep/rows.jsonl", address)
    assert recipes_command.run(["download", str(folder), f"execution.work={work}"]) == 0
    assert (work / "downloads" / "deep" / "rows.jsonl").read_bytes() == SERVED


def _add_source(folder: Path, path: str, address: str) -> None:
    sha256 = hashlib.sha256(SERVED).hexdigest()
    table = {"format": "articles", "path": path, "url": address, "sha256": sha256, "license": "CC0", "origin": "tests"}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    with (folder / "recipe.toml").open("a") as file:
        file.write(f"[notes.sources.fetched]\n{lines}")


# ------------------------------------------------------------------------------------------------ folders that are replaced


def _model_with_a_thesis(model: Path, target: Path, outside: Path) -> None:
    shutil.copytree(model, target)
    shutil.copy(outside / "thesis.docx", target)


def _model_with_a_link(model: Path, target: Path, outside: Path) -> None:
    shutil.copytree(model, target)
    (target / "link").symlink_to(outside)


TARGETS: dict[str, Callable[[Path, Path, Path], object]] = {
    "a file": lambda _model, target, outside: shutil.copy(outside / "thesis.docx", target),
    "a folder of something else": lambda _model, target, outside: shutil.copytree(outside, target),
    "a link": lambda _model, target, outside: target.symlink_to(outside),
    "a model with a thesis": _model_with_a_thesis,
    "a model with a link": _model_with_a_link,
}


def _bundle(model: Path, target: Path, _recipe: Path) -> int:
    texts = [f"text number {number}" for number in range(100)]
    try:
        bundle.bundle(model, target, texts)
    except MedEmbedError:
        return 1
    return 0


def _export(model: Path, target: Path, _recipe: Path) -> int:
    return CliRunner().invoke(app, ["models", "export", str(model), str(target)]).exit_code


def _publish(_model: Path, target: Path, recipe: Path) -> int:
    return recipes_command.run(
        ["run", str(recipe), f"execution.work={target.parent / 'work'}", f"execution.out={target}"]
    )


@pytest.mark.parametrize("held", TARGETS)
@pytest.mark.parametrize("command", [_bundle, _export, _publish], ids=lambda command: command.__name__)
def test_what_a_target_holds_is_not_replaced(
    held: str,
    command: Callable[[Path, Path, Path], int],
    recipe: Path,
    tiny_folder: Path,
    tmp_path: Path,
    outside: Path,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    TARGETS[held](tiny_folder, home / "target", outside)
    before = state(home), state(outside)
    assert command(tiny_folder, home / "target", recipe) == 1
    assert (state(home), state(outside)) == before


def test_a_bundle_is_replaced_by_the_next(tiny_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert _bundle(tiny_folder, target, tmp_path) == 0
    (target / "README.md").write_text("a card")
    assert _bundle(tiny_folder, target, tmp_path) == 0
    assert (target / "README.md").read_text() == "a card"
