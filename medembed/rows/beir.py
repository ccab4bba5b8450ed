"""BEIR folders on disk. Their files are found and read, and every mistake is named by file and line.

Layout: ``corpus.jsonl`` and ``queries.jsonl`` (each may end in ``.gz``), ``qrels/<split>.tsv``.
Accepted without a warning: a byte-order mark, CRLF line ends, blank lines, integer ids, judgements without header line.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medembed.errors import InputFileError, TaskDataError
from medembed.rows import readers, sources
from medembed.rows.dialect import Dialect
from medembed.rows.source import Reject
from medembed.rows.wanted import Wanted

logger = logging.getLogger(__name__)

Qrels = dict[str, dict[str, int]]


@dataclass(frozen=True)
class BeirFolder:
    """The three files of a BEIR task, found but not yet read.

    Attributes:
        path: The folder.
        corpus: Documents, one JSON object a line.
        queries: Queries, one JSON object a line.
        qrels: Judgements: query id, document id, relevance.
        split: Name of the judgements file, ``"test"`` as a rule.
    """

    path: Path
    corpus: Path
    queries: Path
    qrels: Path
    split: str


@dataclass(frozen=True)
class Document:
    """One line of ``corpus.jsonl``. ``title`` is empty where there is none."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Query:
    """One line of ``queries.jsonl``."""

    id: str
    text: str


def open_folder(path: Path, split: str | None = None) -> BeirFolder:
    """Find the files of a BEIR folder.

    Args:
        path: Folder with ``corpus.jsonl[.gz]``, ``queries.jsonl[.gz]`` and ``qrels/*.tsv[.gz]``.
        split: Which file of ``qrels`` to use; by default ``test``, or the only one there is.

    Returns:
        The folder's files; nothing is read yet.

    Raises:
        TaskDataError: A file is missing, or there are two to choose from.
    """
    return BeirFolder(
        path=path,
        corpus=_one_of(path, "corpus.jsonl"),
        queries=_one_of(path, "queries.jsonl"),
        qrels=(chosen := _choose_qrels(path, split)),
        split=chosen.name.split(".")[0],
    )


def revision(folder: BeirFolder) -> str:
    """The revision that results of this folder are filed under.

    It is ``"sha256-<12 hex>"`` of the bytes of the three files.
    """
    digest = hashlib.sha256()
    for file in (folder.corpus, folder.queries, folder.qrels):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256-{digest.hexdigest()[:12]}"


def read_documents(folder: BeirFolder) -> Iterator[Document]:
    """Stream the corpus. Only the ids stay in memory, to find doubles.

    Documents with neither title nor text are kept, because published corpora hold some and leaving them out would
    change the score; one warning says how many there are.

    Raises:
        TaskDataError: A line that is not a JSON object, lacks ``_id`` or ``text``, or repeats an id.
    """
    n_empty, first_empty = 0, 0
    for number, row, row_id in _rows(folder.corpus):
        title, text = (_text(folder.corpus, number, row, field) for field in ("title", "text"))
        document = Document(row_id, title, text)
        if not document.title.strip() and not document.text.strip():
            n_empty += 1
            first_empty = first_empty or number
        yield document
    if n_empty:
        logger.warning(
            "%s: %d documents have neither title nor text (first at line %d); they are kept and embedded as empty",
            folder.corpus,
            n_empty,
            first_empty,
        )


def read_queries(folder: BeirFolder) -> Iterator[Query]:
    """Stream the queries.

    Raises:
        TaskDataError: As for documents; an empty query is an error too, since no ranking of it means anything.
    """
    for number, row, row_id in _rows(folder.queries):
        query = Query(row_id, _text(folder.queries, number, row, "text"))
        if not query.text.strip():
            raise _fault(folder.queries, number, "the query is empty; give it a text or remove the line")
        yield query


def read_qrels(folder: BeirFolder, query_ids: set[str], document_ids: set[str]) -> Qrels:
    """Read the judgements and check their ids. The ids must be those of the two other files.

    Args:
        folder: Where the judgements are.
        query_ids: Every id of ``queries.jsonl``.
        document_ids: Every id of ``corpus.jsonl``.

    Returns:
        Query id → document id → relevance.

    Raises:
        TaskDataError: A malformed line, a score that is not a whole number, an unknown id, a pair judged twice, or no
            relevant document at all.
    """
    qrels: Qrels = {}
    for number, values in _records(folder.qrels, "lines"):
        fields = str(values["text"]).split("\t")
        if number == 1 and len(fields) == 3 and not _is_number(fields[2]) and fields[0].lower().startswith("query"):
            continue
        query_id, document_id, score = _judgement(folder.qrels, number, fields)
        if query_id not in query_ids:
            raise _fault(folder.qrels, number, f"its query is not in {folder.queries.name}")
        if document_id not in document_ids:
            raise _fault(folder.qrels, number, f"its document is not in {folder.corpus.name}")
        judged = qrels.setdefault(query_id, {})
        if document_id in judged:
            raise _fault(folder.qrels, number, "the same query and document were judged before; keep one")
        judged[document_id] = score
    if not any(score > 0 for judged in qrels.values() for score in judged.values()):
        raise TaskDataError(f"{folder.qrels}: no query has a relevant document (a score above 0); nothing to measure")
    return qrels


def _one_of(path: Path, name: str) -> Path:
    found = [file for file in (path / name, path / f"{name}.gz") if file.is_file()]
    if not found:
        layout = "corpus.jsonl, queries.jsonl and qrels/<split>.tsv"
        raise TaskDataError(f"{path}: neither {name} nor {name}.gz is there; a BEIR folder holds {layout}")
    if len(found) == 2:
        raise TaskDataError(f"{path}: both {name} and {name}.gz are there; remove the one that is not meant")
    return found[0]


def _choose_qrels(path: Path, split: str | None) -> Path:
    folder = path / "qrels"
    found = {
        file.name.split(".")[0]: file for pattern in ("*.tsv.gz", "*.tsv") for file in sorted(folder.glob(pattern))
    }
    if not found:
        raise TaskDataError(f"{folder}: no judgements; put them in {folder / 'test.tsv'}: query-id, corpus-id, score")
    if split is None:
        split = "test" if "test" in found or len(found) > 1 else next(iter(found))
    if split not in found:
        there = ", ".join(sorted(found))
        raise TaskDataError(f"{folder}: no split {split!r}; there is {there}. Choose one with --split")
    return found[split]


def _records(file: Path, format: str) -> Iterator[tuple[int, dict[str, Any]]]:  # noqa: A002
    """Number and values of each line that is not blank.

    Raises:
        TaskDataError: The file or a line cannot be read.
    """
    try:
        for source in sources.find([str(file)], format, dialect=Dialect()):
            for item in readers.records(source, Wanted({}), lambda _: None):
                if isinstance(item, Reject):
                    raise _fault(file, item.line, item.reason)
                if format != "lines" or item.values["text"].strip():
                    yield item.line, item.values
    except InputFileError as error:
        raise TaskDataError(str(error)) from None


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Line number, JSON object and id of each line. Ids are unique."""
    seen: dict[str, int] = {}
    for number, row in _records(file, "jsonl"):
        row_id = row.get("_id")
        if isinstance(row_id, int) and not isinstance(row_id, bool):
            row_id = str(row_id)
        if not isinstance(row_id, str) or not row_id:
            raise _fault(file, number, f"'_id' is {type(row_id).__name__}; expected a string that is not empty")
        if row_id in seen:
            raise _fault(file, number, f"its id was used before, at line {seen[row_id]}; ids must be unique")
        seen[row_id] = number
        yield number, row, row_id
    if not seen:
        raise TaskDataError(f"{file}: holds no line")


def _fault(file: Path, number: int, problem: str) -> TaskDataError:
    return TaskDataError(f"{file}:{number}: {problem}")


def _text(file: Path, number: int, row: dict[str, Any], field: str) -> str:
    value = row.get(field, "" if field == "title" else None)
    if field == "title" and value is None:
        return ""
    if not isinstance(value, str):
        raise _fault(file, number, f"{field!r} is {type(value).__name__}; expected a string")
    return value


def _judgement(file: Path, number: int, fields: list[str]) -> tuple[str, str, int]:
    if len(fields) != 3:
        expected = "query-id, corpus-id, score (of TREC's four columns, drop the second)"
        raise _fault(file, number, f"{len(fields)} tab-separated fields; expected 3: {expected}")
    query_id, document_id, score = (field.strip() for field in fields)
    if not _is_number(score) or float(score) != int(float(score)):
        raise _fault(file, number, "the score is not a whole number")
    return query_id, document_id, int(float(score))


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text) and abs(float(text)) != float("inf")
    except ValueError:
        return False
