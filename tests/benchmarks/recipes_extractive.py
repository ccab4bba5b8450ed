"""Pairs a second of the extractive writer, on one core: python -m tests.benchmarks.recipes_extractive ARTICLES.jsonl.gz"""

import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from medembed.clinical.sentences import clean, windows
from medembed.recipes.records import Note, content_id
from medembed.recipes.schema import Extractive
from medembed.recipes.writers.extractive import ExtractiveWriter
from medembed.rows.readers import records
from medembed.rows.source import Record
from medembed.rows.sources import find
from medembed.rows.wanted import Wanted


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    items = (item for source in find([str(path)]) for item in records(source, Wanted({}), lambda _: None))
    return (item.values for item in items if isinstance(item, Record))


def main(path: Path) -> None:
    notes: list[Note] = []
    for row in islice(_rows(path), 300):
        for section in row["sections"]:
            text = clean(section["text"])
            for start, end in windows(text, 180):
                window = text[start:end]
                notes.append(
                    Note(content_id(window), row["doc_id"], "articles", row["title"], section["heading"], window)
                )
    writer = ExtractiveWriter(Extractive())
    rates = []
    for _ in range(3):
        started = time.process_time()
        pairs = sum(len(written.pairs) for written in writer.write(notes))
        rates.append(pairs / (time.process_time() - started))
    print(json.dumps({"notes": len(notes), "pairs": pairs, "pairs_per_s": round(median(rates))}))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "recipes/tiny/data/articles.jsonl.gz"))
