"""What comes from outside: sizes, depths, halves of characters, numbers and files that are none."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medembed import border
from medembed.errors import CorruptFileError

MARKER = "Mrs-Marker-1953"

BROKEN = {
    "empty": (b"", "not valid JSON"),
    "cut": (b'{"a":', "not valid JSON"),
    "words": (MARKER.encode(), "not valid JSON"),
    "latin-1": (b'{"a": "caf\xe9"}', "not valid JSON"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "not valid JSON"),
    "1,000 lists": (b"[" * 1000 + b"]" * 1000, "nested more than 64 levels"),
    "10,000,000 lists": (b"[" * 10_000_000, "nested more than 64 levels"),
    "65 lists": (b"[" * 65 + b"]" * 65, "nested more than 64 levels"),
    "65 objects": (b'{"a":' * 65 + b"1" + b"}" * 65, "nested more than 64 levels"),
    "NaN": (b'{"a": NaN}', "not valid JSON"),
    "minus infinity": (b"[-Infinity]", "not valid JSON"),
    "beyond a float": (b"[1e999]", "not valid JSON"),
    "an integer of 5,000 digits": (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
    "half a pair as a value": (b'{"a": "\\ud800"}', "half of a UTF-16 pair"),
    "half a pair as a key": (b'{"\\uDFFF": 1}', "half of a UTF-16 pair"),
    "half a pair deep inside": (b'[[{"a": ["\\ud83d"]}]]', "half of a UTF-16 pair"),
}


@pytest.mark.parametrize(("content", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_each_broken_document_gives_one_error_without_its_content(content: bytes, says: str) -> None:
    with pytest.raises(CorruptFileError, match=f"a file .*{says}") as caught:
        border.parse_json(content, source="a file", error=CorruptFileError)
    assert MARKER not in str(caught.value)
    # a traceback shows what an error was raised from, and the parser's words quote the document
    assert caught.value.__context__ is None or caught.value.__suppress_context__


GOOD: dict[str, object] = {
    "64 lists": json.loads("[" * 64 + "]" * 64),
    "a thousand shallow lists": [[1]] * 1000,
    "brackets in strings": ["[" * 1000],
    "a whole pair": ["\U0001f600"],
    "a spelled escape": ["\\ud800"],
    "numbers": [0, -1, 1.5, 10**30],
}


@pytest.mark.parametrize("value", GOOD.values(), ids=GOOD.keys())
@pytest.mark.parametrize("ascii_only", [True, False])
def test_good_documents_come_back(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert border.parse_json(text.encode(), source="a file", error=CorruptFileError) == value
    assert border.parse_json(text, source="a file", error=CorruptFileError) == value


def test_a_byte_order_mark_is_read_over() -> None:
    assert border.parse_json(b"\xef\xbb\xbf[1]", source="a file", error=CorruptFileError) == [1]


def test_halves_become_replacement_characters_where_asked() -> None:
    content = b'{"\\ud800k": ["a\\udc00", {"b": "\\ud83d\\ude00"}]}'
    parsed = border.parse_json(content, source="a reply", error=CorruptFileError, surrogates="replace")
    assert parsed == {"\ufffdk": ["a\ufffd", {"b": "\U0001f600"}]}
    assert border.parse_json('["\ud800"]', source="a", error=CorruptFileError, surrogates="replace") == ["\ufffd"]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def gigabyte(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 30)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda p: p.mkdir(), "not a regular file"),
    "a link to zeros without end": (lambda p: p.symlink_to("/dev/zero"), "not a regular file"),
    "a pipe nobody writes to": (pipe, "not a regular file"),
    "a link to itself": (lambda p: p.symlink_to(p), "cannot be opened"),
    "a gigabyte": (gigabyte, "at most 134,217,728 were expected"),
    "a list": (lambda p: p.write_text("[]"), "holds a JSON list; an object was expected"),
    "null": (lambda p: p.write_text("null"), "holds a JSON null"),
}


@pytest.mark.parametrize(("make", "says"), FILES.values(), ids=FILES.keys())
def test_each_odd_file_gives_one_error(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    make(tmp_path / "x.json")
    with pytest.raises(CorruptFileError, match=says):
        border.read_json_object(tmp_path / "x.json", error=CorruptFileError)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "x.json", tmp_path / "file" / "x.json"):
        with pytest.raises(FileNotFoundError):
            border.read_json_object(path, error=CorruptFileError)


def test_a_link_to_a_regular_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text('{"a": 1}')
    (tmp_path / "x.json").symlink_to("blob")
    assert border.read_json_object(tmp_path / "x.json", error=CorruptFileError) == {"a": 1}


NUMBERS: dict[str, tuple[object, str]] = {
    "below": (0, "is 0; a whole number from 1 to 512 was expected"),
    "above": (513, "is 513;"),
    "a truth value": (True, "is a truth value;"),
    "a fraction": (1.0, "is a number;"),
    "text": (MARKER, "is a string;"),
    "none": (None, "is a null;"),
    "thousands of digits": (10**4000, "is a number;"),
}


@pytest.mark.parametrize(("value", "says"), NUMBERS.values(), ids=NUMBERS.keys())
def test_each_wrong_number_gives_one_error_with_the_bounds(value: object, says: str) -> None:
    with pytest.raises(CorruptFileError, match=says) as caught:
        border.whole_number(value, named="max_seq_length", least=1, most=512, error=CorruptFileError)
    assert MARKER not in str(caught.value)


def test_a_number_within_the_bounds_is_given_back() -> None:
    assert [border.whole_number(n, named="n", least=1, most=512, error=CorruptFileError) for n in (1, 512)] == [1, 512]
