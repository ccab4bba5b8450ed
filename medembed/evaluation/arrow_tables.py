"""A checked BEIR folder as memory-mapped Arrow tables.

It is read in one pass, with a bounded number of rows in memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medembed.extras import require
from medembed.rows.beir import BeirFolder, Qrels, read_documents, read_qrels, read_queries

ROWS_PER_WRITE = 10_000


def read_folder(folder: BeirFolder, scratch: Path) -> tuple[Any, Any, Qrels]:
    """Check a whole folder. Its texts are left on disk, not held in memory.

    Args:
        folder: The folder to read.
        scratch: Empty folder for the tables; it must outlive them.

    Returns:
        Corpus (``id``, ``title``, ``text``) and queries (``id``, ``text``) as ``datasets.Dataset``, and the judgements.

    Raises:
        TaskDataError: Any mistake in the three files.
    """
    document_ids: set[str] = set()
    query_ids: set[str] = set()

    def documents() -> Iterator[tuple[str, str, str]]:
        for document in read_documents(folder):
            document_ids.add(document.id)
            yield document.id, document.title, document.text

    def queries() -> Iterator[tuple[str, str]]:
        for query in read_queries(folder):
            query_ids.add(query.id)
            yield query.id, query.text

    query_table = _table(("id", "text"), queries(), scratch / "queries.arrow")
    corpus_table = _table(("id", "title", "text"), documents(), scratch / "corpus.arrow")
    return corpus_table, query_table, read_qrels(folder, query_ids, document_ids)


def _table(columns: tuple[str, ...], rows: Iterator[tuple[str, ...]], path: Path) -> Any:
    pyarrow = require("pyarrow")
    require("pyarrow.ipc")
    # large_string: a text column of a big corpus passes the 2 GiB that 32-bit offsets can address.
    schema = pyarrow.schema([(name, pyarrow.large_string()) for name in columns])
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as writer:
        block: list[tuple[str, ...]] = []
        for row in rows:
            block.append(row)
            if len(block) == ROWS_PER_WRITE:
                writer.write_batch(_batch(block, schema))
                block = []
        if block:
            writer.write_batch(_batch(block, schema))
    return require("datasets").Dataset.from_file(str(path))


def _batch(block: list[tuple[str, ...]], schema: Any) -> Any:
    pyarrow = require("pyarrow")
    arrays = [pyarrow.array(values, pyarrow.large_string()) for values in zip(*block, strict=True)]
    return pyarrow.record_batch(arrays, schema=schema)
