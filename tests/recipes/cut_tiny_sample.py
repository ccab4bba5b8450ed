"""Cut the data of the recipe ``tiny`` from the full training and development data.

    python tests/recipes/cut_tiny_sample.py TRAIN_FOLDER EVAL_FOLDER recipes/tiny/data

``TRAIN_FOLDER`` holds pairs.jsonl.gz and articles.jsonl.gz, ``EVAL_FOLDER`` the BEIR folder medquad_heldout, whose topics
are disjoint from the training pairs. Rows are chosen by the hash of their ids, so the cut is the same every time.
"""

import gzip
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PAIRS, ARTICLES, QUERIES, DISTRACTORS = 700, 10, 150, 250


def rank(key: str) -> str:
    return hashlib.sha256(f"tiny:{key}".encode()).hexdigest()


def read(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def main(train: Path, evaluation: Path, target: Path) -> None:
    pairs = [
        row
        for row in read(train / "pairs.jsonl.gz")
        if row["source"].startswith("medquad:") and len(row["positive"]) > 200
    ]
    pairs.sort(key=lambda row: rank(row["doc_id"] + row["query"]))
    write(target / "pairs.jsonl.gz", pairs[:PAIRS])
    articles = [row for row in read(train / "articles.jsonl.gz") if row["source"].startswith("openstax")]
    articles.sort(key=lambda row: rank(row["doc_id"]))
    write(target / "articles.jsonl.gz", articles[:ARTICLES])

    source = evaluation / "medquad_heldout"
    queries = sorted(read(source / "queries.jsonl"), key=lambda row: rank(row["_id"]))[:QUERIES]
    wanted = {row["_id"] for row in queries}
    judged = [line.split("\t") for line in (source / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    judged = [row for row in judged if row[0] in wanted]
    relevant = {row[1] for row in judged}
    documents = list(read(source / "corpus.jsonl.gz"))
    others = sorted((row for row in documents if row["_id"] not in relevant), key=lambda row: rank(row["_id"]))[
        :DISTRACTORS
    ]
    chosen = sorted([*(row for row in documents if row["_id"] in relevant), *others], key=lambda row: row["_id"])
    write(target / "development" / "corpus.jsonl.gz", chosen)
    write(target / "development" / "queries.jsonl.gz", queries)
    qrels = target / "development" / "qrels" / "test.tsv"
    qrels.parent.mkdir(exist_ok=True)
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join("\t".join(row) + "\n" for row in judged))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
