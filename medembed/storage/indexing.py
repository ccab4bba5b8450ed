"""Rows from files or from Python → a store of either kind. The store's builder gets what is read."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from medembed.errors import CorpusError
from medembed.rows import read
from medembed.rows.read import Columns, Row
from medembed.rows.rejects import Rejects, accepted
from medembed.rows.seen import SeenIds
from medembed.rows.source import Reject, Source
from medembed.rows.sources import Found
from medembed.storage.building import Plan, Summary, build
from medembed.storage.manifest import E, adds, read_manifest, writing

FROM_PYTHON = "rows from Python"
Rows = Iterable[Row | Reject]


def index_files(found: Found, columns: Columns, folder: Path, plan: Plan[E]) -> Summary:
    """Encode the rows of files into a store. Run again after a crash, it goes on where it was.

    Args:
        found: The files.
        columns: Which columns mean what.
        folder: The store; made if missing.
        plan: Kind, model, settings, mode; what becomes of rejected rows is decided here.

    Returns:
        Counts. Rejected rows stand in ``rejects.jsonl`` with file, line and reason.

    Raises:
        InputFileError: An input cannot be read.
        CorpusError: The folder holds another store, another process writes to it, or it cannot be written; what is written
            whole stays, and counts for the next run.
        IndexingStoppedError: ``plan.stop`` said so.
    """
    return index_rows(read.read(found, columns, plan.progress.read), folder, plan)


def index_rows(stream: Rows, folder: Path, plan: Plan[E]) -> Summary:
    """:func:`index_files` for rows that are read already."""
    with _writing(folder, plan), Rejects(folder) as rejects:

        def refuse(row: Any, reason: str) -> None:
            rejects.write(Reject(row.source, row.line, reason, row.id))

        plan = replace(plan, refuse=refuse, rejected=rejects.counts, unread=rejects.ids)
        return build(folder, accepted(stream, SeenIds(), rejects), plan)


def index_python(given: Iterable[Mapping[str, Any]], columns: Columns, folder: Path, plan: Plan[E]) -> Summary:
    """Encode rows from Python into a store. A row that cannot be used is an error.

    Raises:
        CorpusError: A row cannot be used (the message has its number, counted from 0), or as for :func:`index_files`.
    """
    numbers: Counter[str] = Counter()
    with _writing(folder, plan):
        plan = replace(plan, refuse=refused, rejected=numbers)
        return build(folder, rows_of(given, columns), plan)


def refused(row: Any, reason: str) -> NoReturn:
    """Refuse a row from Python.

    Raises:
        CorpusError: Always; the message has its number. An id may name a patient, so it is not shown.
    """
    raise CorpusError(f"row {row.line} cannot be used: {reason}")


def rows_of(given: Iterable[Mapping[str, Any]], columns: Columns) -> Iterator[Row]:
    """Mappings as rows.

    Raises:
        CorpusError: One that cannot be used, or an id that came before; the message has its number, counted from 0.
    """
    source = Source(FROM_PYTHON, "row", "jsonl", None)
    seen = SeenIds()
    for number, values in enumerate(given):
        if not isinstance(values, Mapping):
            raise CorpusError(f"row {number} is a {type(values).__name__}; expected a mapping with an id and a text")
        row = read.row_of(values, source, number, columns)
        if isinstance(row, Reject):
            raise CorpusError(f"row {number} cannot be used: {row.reason}")
        if not seen.add(row.id):
            raise CorpusError(f"row {number} cannot be used: its id came before")
        yield row


@contextmanager
def _writing(folder: Path, plan: Plan[Any]) -> Iterator[None]:
    """Hold the folder. Nothing is made where there is nothing to add to."""
    if adds(plan.mode, folder):
        read_manifest(folder, plan.kind)
    with writing(folder, plan.kind):
        yield
