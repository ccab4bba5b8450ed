"""Note, Pair, Failure, Triplet: the rows that pass between stages, and their way to Parquet and back."""

import dataclasses
import hashlib
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medembed.extras import require


@dataclass(frozen=True, slots=True)
class Note:
    """A window of a note or of an article's section.

    Attributes:
        note_id: Hash of the text.
        doc_id: The document it was cut from; documents are never split between training and held-out rows.
        source: Name of the source in the recipe.
        title: Title of the document, or empty.
        heading: Heading of the section, parts joined by `` > ``, or empty.
        text: The cleaned text itself.
    """

    note_id: str
    doc_id: str
    source: str
    title: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the passage that answers it.

    Attributes:
        pair_id: Hash of query and passage.
        note_id: The note the passage was taken from; empty for ready pairs.
        doc_id: The document, as in ``Note``.
        source: Where the pair is from, as caps and weights name it.
        query: What somebody would ask.
        query_type: A type of the recipe's, a kind of the extractive writer, or ``"given"``.
        passage: The answer.
        start: Offset of the passage in the note's text; -1 for ready pairs.
        end: Offset after the passage; -1 for ready pairs.
        relevance_score: 1 to 5 as the writer judged it; 5 where nobody judged.
        negatives: Passages that are no answer, as a source gave them; mining adds to them.
    """

    pair_id: str
    note_id: str
    doc_id: str
    source: str
    query: str
    query_type: str
    passage: str
    start: int
    end: int
    relevance_score: int
    negatives: list[str] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that was dropped, with the reason. The text is never kept."""

    item_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Mined:
    """Hard negatives of one pair, by passage id, best first.

    Attributes:
        pair_id: The pair.
        passage_id: Hash of its positive.
        negative_ids: Hashes of the negatives.
        scores: Score of the positive, then of each negative, by the miner or the cross-encoder.
    """

    pair_id: str
    passage_id: str
    negative_ids: list[str]
    scores: list[float]


@dataclass(frozen=True, slots=True)
class Triplet:
    """One training row.

    Attributes:
        query: The query.
        positive: The passage that answers it.
        negatives: Passages that look like answers and are none; may be empty.
        scores: Teacher's scores of positive and negatives, in this order; may be empty.
        source: As in ``Pair``.
        doc_id: As in ``Pair``.
    """

    query: str
    positive: str
    negatives: list[str]
    scores: list[float]
    source: str
    doc_id: str


def document_of(row: Pair | Triplet) -> tuple[str, str]:
    """Source and id of the document that a row is from, which all windows of one note share.

    Ids are unique in a source only. What follows a colon in a source's name is a kind of pair, and what follows ``#`` in an id a
    part of the document.
    """
    return row.source.partition(":")[0], row.doc_id.partition("#")[0]


Record = TypeVar("Record", Note, Pair, Failure, Mined, Triplet)


def content_id(*texts: str) -> str:
    """Hash of texts: 16 hexadecimal digits, the same on every machine.

    Example:
        >>> content_id("rain")
        '7ccceb03bcd3aafd'
    """
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))  # lengths keep ("ab", "c") apart from ("a", "bc")
        digest.update(data)
    return digest.hexdigest()[:16]


def write_parquet(path: Path, rows: Iterable[Record], kind: type[Record]) -> None:
    """Write rows to one Parquet file.

    Args:
        path: Where; not atomic, callers write aside and move.
        rows: The rows.
        kind: Their class, which gives the columns even when there are no rows.
    """
    pyarrow = require("pyarrow")
    held = list(rows)
    names = _names(kind)
    columns = {name: [getattr(row, name) for row in held] for name in names}
    require("pyarrow.parquet").write_table(pyarrow.table(columns, schema=_schema(kind)), path, compression="zstd")


def read_parquet(paths: Sequence[Path], kind: type[Record], batch_rows: int = 4096) -> Iterator[Record]:
    """Rows of several files in order, with memory for one batch at a time."""
    names = list(_names(kind))
    for path in paths:
        with require("pyarrow.parquet").ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=batch_rows, columns=names):
                for row in batch.to_pylist():
                    yield kind(**row)


def count_rows(paths: Sequence[Path]) -> int:
    """Rows of several Parquet files, read from their footers."""
    parquet = require("pyarrow.parquet")
    return sum(parquet.read_metadata(path).num_rows for path in paths)


def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _schema(kind: type[Any]) -> Any:
    """Arrow schema of a record class."""
    pyarrow = require("pyarrow")
    arrow = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}

    def of(annotation: Any) -> Any:
        if isinstance(annotation, types.GenericAlias):
            return pyarrow.list_(arrow[typing.get_args(annotation)[0]])
        return arrow[annotation]

    hints = typing.get_type_hints(kind)
    return pyarrow.schema([(name, of(hints[name])) for name in _names(kind)])
