"""What is read from standard input and from lists of ids: the right result, or one error of ours that shows no value."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medembed import EmbeddedCorpus, MedEmbed
from medembed.errors import InputFileError, MedEmbedError
from medembed.storage.places import is_store
from tests.rows.conftest import Run

MARKER = "zq9marker"
# bytes of a list of questions or ids, and how many lines they are; or what the error says
LISTS: dict[str, tuple[bytes, int | str]] = {
    "plain": (f"n1\n{MARKER}\n".encode(), 2),
    "no line end": (f"n1\n{MARKER}".encode(), 2),
    "Windows": (f"n1\r\n{MARKER}\r\n".encode(), 2),
    "old Macintosh": (f"n1\r{MARKER}\r".encode(), 2),
    "a mark": (b"\xef\xbb\xbf" + f"n1\n{MARKER}\n".encode(), 2),
    "blank lines": (f"\n \nn1\n\n{MARKER}\n".encode(), 2),
    "a zero byte": (f"n1\n{MARKER}\0\n".encode(), 2),
    "accents": (f"n1\nMénière {MARKER} β ≥\n".encode(), 2),
    "latin": (f"n1\n{MARKER} \xe9\n".encode("latin-1"), "line 2: not UTF-8"),
    "half a character": (f"n1\n{MARKER} \xc3".encode("latin-1"), "line 2: not UTF-8"),
    "UTF-16": (f"n1\n{MARKER}\n".encode("utf-16"), "is in UTF-16"),
    "UTF-16 without a mark": (f"n1\n{MARKER}\n".encode("utf-16-le"), "is in UTF-16"),
    "UTF-32": (f"n1\n{MARKER}\n".encode("utf-32"), "is in UTF-32"),
    "compressed": (gzip.compress(f"n1\n{MARKER}\n".encode()), "not UTF-8"),
    "nothing": (b"", 0),
    "blank": (b" \n\n", 0),
}


@pytest.fixture
def corpus(tmp_path: Path, tiny_folder: Path) -> Path:
    rows = [{"id": f"n{number}", "text": f"pain in the joint number {number}"} for number in range(5)]
    with MedEmbed(tiny_folder, threads=1) as model:
        EmbeddedCorpus.build(tmp_path / "corpus", rows, model).close()
    return tmp_path / "corpus"


def search(run: Run, content: bytes) -> list[str]:
    ran = run("search", "corpus", "-", "--json", "--hybrid", stdin=content)
    if ran.exception is not None:
        raise ran.exception
    return [json.loads(line)["query"] for line in ran.output.splitlines()]


def delete(run: Run, content: bytes) -> list[str]:
    Path("ids.txt").write_bytes(content)
    before = set(EmbeddedCorpus.open("corpus").ids)
    ran = run("corpus", "delete", "corpus", "--ids-from", "ids.txt")
    if ran.exception is not None:
        raise ran.exception
    return sorted(before - set(EmbeddedCorpus.open("corpus").ids))


@pytest.mark.parametrize(("content", "expected"), LISTS.values(), ids=LISTS.keys())
def test_questions_from_standard_input(run: Run, corpus: Path, content: bytes, expected: int | str) -> None:
    if isinstance(expected, int) and expected:
        asked = search(run, content)
        assert (len(asked), asked[0]) == (expected, "n1")
        assert MARKER in asked[1]
        return
    with pytest.raises(MedEmbedError) as caught:
        search(run, content)
    assert (expected or "standard input holds no question") in str(caught.value)
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize(("content", "expected"), LISTS.values(), ids=LISTS.keys())
def test_ids_from_a_file(run: Run, corpus: Path, content: bytes, expected: int | str) -> None:
    """The second id is in no corpus: the error names its place, and nothing is deleted."""
    if expected == 0:
        assert delete(run, content) == []
        return
    with pytest.raises(MedEmbedError) as caught:
        delete(run, content)
    told = (
        expected
        if isinstance(expected, str)
        else "1 of 2 ids are not in corpus; the first of these is number 1 of those given"
    )
    assert told in str(caught.value)
    assert MARKER not in str(caught.value)
    if isinstance(expected, int):
        content = content.replace(MARKER.encode(), b"n2") if b"\0" not in content else b"n1\nn2"
        content = content.replace("Ménière n2 β ≥".encode(), b"n2")
        assert delete(run, content) == ["n1", "n2"]


READERS: dict[str, Callable[[Run, bytes], object]] = {
    "encode": lambda run, content: run("encode", "-", "-o", "v.npy", stdin=content),
    "encode lines": lambda run, content: run("encode", "-", "-o", "v.npy", "--format", "lines", stdin=content),
    "encode csv": lambda run, content: run("encode", "-", "-o", "v.npy", "--format", "csv", stdin=content),
    "encode parquet": lambda run, content: run("encode", "-", "-o", "v.npy", "--format", "parquet", stdin=content),
    "index": lambda run, content: run("index", "-", "-o", "made", stdin=content),
    "index files": lambda run, content: run("index", "-", "-o", "made", "--format", "files", stdin=content),
}


@pytest.mark.parametrize("content", [content for content, _ in LISTS.values()], ids=LISTS.keys())
@pytest.mark.parametrize("reader", READERS)
def test_rows_from_standard_input(run: Run, reader: str, content: bytes, tmp_path: Path) -> None:
    ran: object = READERS[reader](run, content)
    error = ran.exception  # type: ignore[attr-defined]
    assert error is None or isinstance(error, MedEmbedError | SystemExit), repr(error)
    assert MARKER not in f"{error} {ran.output}"  # type: ignore[attr-defined]


def test_a_hyphen_among_questions_is_standard_input(run: Run, corpus: Path) -> None:
    ran = run("search", "corpus", "first", "-", "last", "--json", stdin=b"second\n")
    assert [json.loads(line)["query"] for line in ran.output.splitlines()] == ["first", "second", "last"]
    assert "standard input can be read once" in str(run("search", "corpus", "-", "-", stdin=b"x\n").exception)


@pytest.mark.parametrize(
    "words",
    [
        ["search", "corpus", "\udce9"],
        ["search", "corpus", "x", "--where", "id=\udce9"],
        ["corpus", "delete", "corpus", "\udce9"],
    ],
)
def test_arguments_that_are_not_text_are_one_error(run: Run, corpus: Path, words: list[str]) -> None:
    ran = run(*words)
    assert isinstance(ran.exception, MedEmbedError), repr(ran.exception)


def test_standard_input_is_read_as_a_file_is(run: Run, tmp_path: Path) -> None:
    ran = run("encode", "-", "-o", "v.npy", stdin=b'{"text": "a"}\n{"text": 5}\n')
    assert isinstance(ran.exception, InputFileError)
    assert "standard input, line 2: 'text' holds a int, not text" in str(ran.exception)
    assert not is_store(tmp_path)
