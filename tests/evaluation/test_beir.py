"""BEIR folders: what is accepted, and the file and line of what is not."""

import gzip
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from medembed.errors import TaskDataError
from medembed.rows.beir import open_folder, read_documents, read_qrels, read_queries, revision


def read_all(path: Path) -> tuple[int, int, int]:
    folder = open_folder(path)
    documents = {document.id for document in read_documents(folder)}
    queries = {query.id for query in read_queries(folder)}
    qrels = read_qrels(folder, queries, documents)
    return len(documents), len(queries), sum(map(len, qrels.values()))


def replace_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def compress(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def crlf(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def bom(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def blank_lines(path: Path) -> None:
    path.write_text(path.read_text().replace("\n", "\n\n"))


@pytest.mark.parametrize("change", [compress, crlf, bom, blank_lines], ids=lambda change: change.__name__)
def test_a_folder_is_read_whatever_program_wrote_it(beir_folder: Path, change: Callable[[Path], None]) -> None:
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        change(beir_folder / name)
    assert read_all(beir_folder) == (10, 10, 10)


def test_a_byte_order_mark_does_not_reach_the_first_id(beir_folder: Path) -> None:
    bom(beir_folder / "corpus.jsonl")
    crlf(beir_folder / "corpus.jsonl")
    first = next(read_documents(open_folder(beir_folder)))
    assert first.id == "d0"
    assert first.text.endswith("ward.")


def test_judgements_may_lack_the_header_line_and_ids_may_be_numbers(beir_folder: Path) -> None:
    replace_line(beir_folder / "corpus.jsonl", 1, '{"_id": 7, "title": null, "text": "gout"}')
    (beir_folder / "qrels" / "test.tsv").write_text("q0\t7\t1\nq1\td1\t2.0\n")
    assert read_all(beir_folder) == (10, 10, 2)


BAD_LINES = {
    "corpus is not JSON": ("corpus.jsonl", 3, "{'_id': 'd2'}", "corpus.jsonl:3: not valid JSON"),
    "corpus line is a list": ("corpus.jsonl", 4, "[1]", "corpus.jsonl:4: a JSON list"),
    "id missing": ("corpus.jsonl", 2, '{"text": "x"}', "corpus.jsonl:2: '_id' is NoneType"),
    "id empty": ("queries.jsonl", 2, '{"_id": "", "text": "x"}', "queries.jsonl:2: '_id' is str"),
    "document id twice": (
        "corpus.jsonl",
        5,
        '{"_id": "d0", "text": "x"}',
        "corpus.jsonl:5: its id was used before, at line 1",
    ),
    "query id twice": (
        "queries.jsonl",
        9,
        '{"_id": "q3", "text": "x"}',
        "queries.jsonl:9: its id was used before, at line 4",
    ),
    "text missing": ("corpus.jsonl", 6, '{"_id": "d5"}', "corpus.jsonl:6: 'text' is NoneType"),
    "title not a string": (
        "corpus.jsonl",
        6,
        '{"_id": "d5", "title": 3, "text": ""}',
        "corpus.jsonl:6: 'title' is int",
    ),
    "query empty": ("queries.jsonl", 7, '{"_id": "q6", "text": "  "}', "queries.jsonl:7: the query is empty"),
    "score not a number": ("qrels/test.tsv", 3, "q1\td1\tyes", "test.tsv:3: the score is not a whole number"),
    "score not whole": ("qrels/test.tsv", 3, "q1\td1\t0.5", "test.tsv:3: the score is not a whole number"),
    "score nan": ("qrels/test.tsv", 3, "q1\td1\tnan", "test.tsv:3: the score is not a whole number"),
    "four columns": ("qrels/test.tsv", 3, "q1\t0\td1\t1", "test.tsv:3: 4 tab-separated fields"),
    "spaces for tabs": ("qrels/test.tsv", 3, "q1 d1 1", "test.tsv:3: 1 tab-separated fields"),
    "unknown query": ("qrels/test.tsv", 4, "nobody\td1\t1", "test.tsv:4: its query is not in queries.jsonl"),
    "unknown document": (
        "qrels/test.tsv",
        4,
        "q2\tnothing\t1",
        "test.tsv:4: its document is not in corpus.jsonl",
    ),
    "pair judged twice": (
        "qrels/test.tsv",
        5,
        "q0\td0\t1",
        "test.tsv:5: the same query and document were judged before",
    ),
}


@pytest.mark.parametrize(("name", "number", "line", "message"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_named_by_file_and_line(
    beir_folder: Path, name: str, number: int, line: str, message: str
) -> None:
    replace_line(beir_folder / name, number, line)
    with pytest.raises(TaskDataError, match=re.escape(message)):
        read_all(beir_folder)


def test_a_long_field_in_place_of_a_score_is_not_repeated(beir_folder: Path) -> None:
    replace_line(beir_folder / "qrels" / "test.tsv", 3, "q1\td1\tThe patient, Mr Smith, was admitted")
    with pytest.raises(TaskDataError, match=r"test.tsv:3: the score is not a whole number") as caught:
        read_all(beir_folder)
    assert "Smith" not in str(caught.value)


def test_text_of_a_broken_json_line_is_not_repeated(beir_folder: Path) -> None:
    replace_line(beir_folder / "corpus.jsonl", 2, '{"_id": "d1", "text": "Mr Smith has gout')
    with pytest.raises(TaskDataError, match=r"corpus.jsonl:2: not valid JSON") as caught:
        read_all(beir_folder)
    assert "Smith" not in str(caught.value)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file_is_named_with_the_layout(beir_folder: Path, name: str) -> None:
    (beir_folder / name).unlink()
    with pytest.raises(TaskDataError, match=rf"neither {name} nor {name}.gz .* a BEIR folder holds corpus.jsonl"):
        open_folder(beir_folder)


def test_missing_judgements_say_where_to_put_them(beir_folder: Path) -> None:
    (beir_folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(TaskDataError, match=r"no judgements; put them in .*test\.tsv"):
        open_folder(beir_folder)


def test_a_file_and_its_gz_are_ambiguous(beir_folder: Path) -> None:
    (beir_folder / "corpus.jsonl.gz").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(TaskDataError, match=r"both corpus.jsonl and corpus.jsonl.gz"):
        open_folder(beir_folder)


def test_a_truncated_gz_is_named_with_the_line_it_breaks_at(beir_folder: Path) -> None:
    compress(beir_folder / "corpus.jsonl")
    path = beir_folder / "corpus.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(
        TaskDataError, match=r"corpus.jsonl.gz, after line \d+: cannot be read further \(it ends too early\)"
    ):
        read_all(beir_folder)


def test_a_file_in_another_encoding_is_named_with_its_line(beir_folder: Path) -> None:
    path = beir_folder / "corpus.jsonl"
    path.write_bytes(path.read_bytes().replace(b"asthma", b"an\xe6mia"))
    with pytest.raises(TaskDataError, match=r"corpus.jsonl:2: not UTF-8"):
        read_all(beir_folder)


def test_judgements_without_a_relevant_document_are_refused(beir_folder: Path) -> None:
    (beir_folder / "qrels" / "test.tsv").write_text("q0\td0\t0\n")
    with pytest.raises(TaskDataError, match="no query has a relevant document"):
        read_all(beir_folder)


def test_an_empty_file_is_refused(beir_folder: Path) -> None:
    (beir_folder / "queries.jsonl").write_text("")
    with pytest.raises(TaskDataError, match=r"queries.jsonl: holds no line"):
        read_all(beir_folder)


def test_empty_documents_are_kept_and_counted(beir_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    replace_line(beir_folder / "corpus.jsonl", 3, '{"_id": "d2", "title": "", "text": " "}')
    with caplog.at_level(logging.WARNING):
        assert read_all(beir_folder)[0] == 10
    assert "1 documents have neither title nor text (first at line 3)" in caplog.text


def test_the_split_is_test_or_the_only_one_or_asked_for(beir_folder: Path) -> None:
    qrels = beir_folder / "qrels"
    (qrels / "dev.tsv").write_text("q0\td0\t1\n")
    assert open_folder(beir_folder).split == "test"
    assert open_folder(beir_folder, "dev").split == "dev"
    (qrels / "test.tsv").unlink()
    assert open_folder(beir_folder).split == "dev"
    with pytest.raises(TaskDataError, match=r"no split 'train'; there is dev. Choose one with --split"):
        open_folder(beir_folder, "train")


def test_the_revision_follows_the_bytes_of_every_file(beir_folder: Path) -> None:
    seen = {revision(open_folder(beir_folder))}
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (beir_folder / name).write_bytes((beir_folder / name).read_bytes() + b"\n")
        seen.add(revision(open_folder(beir_folder)))
    assert len(seen) == 4
    assert all(len(name) == len("sha256-") + 12 for name in seen)
