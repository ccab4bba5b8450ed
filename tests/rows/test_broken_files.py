"""Every command that reads rows, with every broken file: one error from our tree, with the file, and nothing of the data."""

import gzip
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medembed.errors import MedEmbedError
from medembed.rows.beir import open_folder, read_documents
from tests.rows.conftest import Run

MARKER = "zq9marker Mrs Example has fever; seen today"
GOOD = "".join(json.dumps({"id": f"n{i}", "_id": f"n{i}", "text": f"{MARKER} {i}"}) + "\n" for i in range(30))
TABLE = "id,text\n" + "".join(f'n{i},"{MARKER}, {i}"\n' for i in range(30))

# name of the file, its bytes, what the error says
BROKEN: dict[str, tuple[str, bytes, str]] = {
    "UTF-16": ("t.jsonl", GOOD.encode("utf-16"), "is in UTF-16, and UTF-8 was expected"),
    "UTF-16 without a mark": ("t.jsonl", GOOD.encode("utf-16-le"), "is in UTF-16, and UTF-8 was expected"),
    "UTF-16 table": ("t.csv", TABLE.encode("utf-16"), "is in UTF-16, and UTF-8 was expected"),
    "truncated gzip": ("t.jsonl.gz", gzip.compress(GOOD.encode())[:-20], "cannot be read further (it ends too early)"),
    "no gzip": ("t.jsonl.gz", GOOD.encode(), "cannot be read further (damaged compression)"),
    "changed gzip": ("t.csv.gz", (squeezed := gzip.compress(TABLE.encode()))[:40] + b"\0\0" + squeezed[42:], "cannot be read further"),
    "open quote": ("t.csv", TABLE.encode() + f'x,"{MARKER}\n'.encode(), "line 32: a quote is opened and never closed"),
    "no header": ("t.csv", f'1,"{MARKER}"\n2,"{MARKER}"\n'.encode(), "columns whose names are not shown"),
    "empty table": ("t.csv", b"", "is empty: expected a first line"),
    "no Parquet": ("t.parquet", MARKER.encode(), "is not a Parquet file, or is damaged"),
    "empty Parquet": ("t.parquet", b"", "is not a Parquet file, or is damaged"),
    "other column": ("t.jsonl", GOOD.replace('"text"', '"note"').encode(), "field 'text', but the columns 'id', '_id', 'note'"),
    "unknown ending": ("t.odt", MARKER.encode(), "its ending is unknown"),
}  # fmt: skip
# rows that `index` leaves out and that end what needs every row
BAD_ROWS: dict[str, tuple[str, bytes, int, str]] = {
    "not JSON": ("t.jsonl", GOOD.encode() + f'{{"id": "x", "text": "{MARKER}\n'.encode(), 31, "not valid JSON"),
    "a list": ("t.jsonl", GOOD.encode() + f'["{MARKER}"]\n'.encode(), 31, "a JSON list, not an object"),
    "not UTF-8": ("t.jsonl", GOOD.encode() + f'{{"id": "x", "text": "{MARKER} \xe9"}}\n'.encode("latin-1"), 31, "not UTF-8"),
    "a number": ("t.jsonl", GOOD.encode() + b'{"id": "x", "_id": "x", "text": 5}\n', 31, "'text' holds a int, not text"),
    "too many": ("t.csv", TABLE.encode() + f"x,{MARKER},{MARKER}\n".encode(), 32, "3 fields, but the header has 2"),
    "too few": ("t.csv", TABLE.encode() + b"x\n", 32, "1 fields, but the header has 2"),
    "text behind a quote": ("t.csv", TABLE.encode() + f'x,"{MARKER}"{MARKER}\n'.encode(), 32, "text behind a closing quote"),
    "lone return": ("t.csv", TABLE.encode() + f"x,{MARKER}\r{MARKER}\n".encode(), 32, "a lone carriage return outside quotes"),
}  # fmt: skip


def encode(run: Run, folder: Path, name: str) -> Any:
    ran = run("encode", name, "-o", "v.jsonl", "--id-column", "id")
    assert {path.name for path in folder.iterdir()} <= {name, "v.jsonl"}, "nothing half written stays"
    return ran


def index(run: Run, folder: Path, name: str) -> Any:
    return run("index", name, "-o", "corpus")


def recipe(run: Run, folder: Path, name: str) -> Any:
    from medembed.recipes.execution import Execution
    from medembed.recipes.source_settings import NoteSource
    from medembed.recipes.sources import Places, rows

    kind: Any = {"csv": "csv", "jsonl": "jsonl", "parquet": "parquet"}.get(
        name.removesuffix(".gz").rpartition(".")[2], "jsonl"
    )
    source = NoteSource(format=kind, path=name)
    list(rows(source, "mine", Places(folder, Execution(work=folder / "work")), {"text": "notes.sources.mine.text"}))
    return None


def beir(run: Run, folder: Path, name: str) -> Any:
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("n0\tn0\t1\n")
    (folder / "queries.jsonl").write_text(GOOD)
    (folder / name).rename(folder / name.replace("t.", "corpus.", 1))
    list(read_documents(open_folder(folder)))
    return None


COMMANDS: dict[str, Callable[[Run, Path, str], Any]] = {
    "encode": encode,
    "index": index,
    "recipe": recipe,
    "evaluate": beir,
}


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, at the lowest level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def error_of(command: str, run: Run, folder: Path, name: str) -> tuple[BaseException | None, str]:
    """The error of a command, and all that it said."""
    if command == "evaluate" and not name.startswith("t.jsonl"):
        pytest.skip("BEIR folders hold JSON lines")
    try:
        ran = COMMANDS[command](run, folder, name)
    except MedEmbedError as error:
        return error, str(error)
    return ran.exception, f"{ran.output} {ran.exception}"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("name", "content", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_one_error(
    command: str, name: str, content: bytes, says: str, run: Run, tmp_path: Path, logged: io.StringIO
) -> None:
    (tmp_path / name).write_bytes(content)
    if command == "recipe" and name == "t.odt":
        pytest.skip("a recipe names the format")
    error, told = error_of(command, run, tmp_path, name)
    assert isinstance(error, MedEmbedError), error
    if command == "evaluate" and "text" in says:
        says = "'text' is NoneType; expected a string"
    assert says in told
    assert name.replace("t.", "corpus.", 1) in told if command == "evaluate" else name in told
    assert "zq9" not in told + logged.getvalue()
    assert "Traceback" not in told


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("name", "content", "line", "reason"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_named_alike_everywhere(
    command: str, name: str, content: bytes, line: int, reason: str, run: Run, tmp_path: Path, logged: io.StringIO
) -> None:
    (tmp_path / name).write_bytes(content)
    if command == "recipe" and reason.startswith("'text'"):
        pytest.skip("a recipe counts it as a failure of the note")
    error, told = error_of(command, run, tmp_path, name)
    if command == "index":
        assert isinstance(error, SystemExit)
        assert f"left out: 1 × {reason}" in told
        [reject] = [json.loads(item) for item in (tmp_path / "corpus" / "rejects.jsonl").read_text().splitlines()]
        assert (reject["line"], reject["reason"]) == (line, reason)
    elif command == "evaluate":
        assert f"corpus.jsonl:{line}: " in told
    else:
        assert isinstance(error, MedEmbedError)
        assert f"{name}, line {line}: {reason}" in told
    assert "zq9" not in told + logged.getvalue()
