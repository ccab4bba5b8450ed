"""Cut the data of the recipe ``tiny`` from the full training and development data.

    python tests/recipes/cut_tiny_sample.py TRAIN_FOLDER EVAL_FOLDER recipes/tiny/data

``TRAIN_FOLDER`` holds articles.jsonl.gz, ``EVAL_FOLDER`` the BEIR folder covidqa_passages. Its articles under CC BY or CC0
are divided: questions about some are trained on, questions about others make the development set. Articles and rows are
chosen by the hash of their ids, so the cut is the same every time.
"""

import gzip
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PAIRS, ARTICLES, QUERIES, DOCUMENTS = 600, 10, 150, 400
FREE = re.compile(r"License: ?(?:cc-by|cc0)\b(?!-)", re.IGNORECASE)


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
    articles = [row for row in read(train / "articles.jsonl.gz") if row["source"].startswith("openstax")]
    articles.sort(key=lambda row: rank(row["doc_id"]))
    write(target / "articles.jsonl.gz", articles[:ARTICLES])

    source = evaluation / "covidqa_passages"
    passages: dict[str, list[dict[str, Any]]] = {}
    for row in read(source / "corpus.jsonl.gz"):
        passages.setdefault(row["_id"].partition("-")[0], []).append(row)
    free = sorted((name for name, rows in passages.items() if any(FREE.search(row["text"]) for row in rows)), key=rank)
    queries = {row["_id"]: row for row in read(source / "queries.jsonl")}
    judged: dict[str, list[list[str]]] = {}
    for line in (source / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        judgement = line.split("\t")
        judged.setdefault(judgement[1].partition("-")[0], []).append(judgement)

    corpus: list[dict[str, Any]] = []
    qrels: list[list[str]] = []
    while len({row[0] for row in qrels}) < QUERIES and len(corpus) + len(passages[free[0]]) <= DOCUMENTS:
        name = free.pop(0)
        corpus += passages[name]
        qrels += judged.get(name, [])
    asked = {row[0] for row in qrels}
    write(target / "development" / "corpus.jsonl.gz", sorted(corpus, key=lambda row: row["_id"]))
    write(target / "development" / "queries.jsonl.gz", [queries[key] for key in sorted(asked)])
    path = target / "development" / "qrels" / "test.tsv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("query-id\tcorpus-id\tscore\n" + "".join("\t".join(row) + "\n" for row in qrels))

    texts = {row["_id"]: row["text"] for name in free for row in passages[name]}
    pairs = [
        {"query": queries[row[0]]["text"], "positive": texts[row[1]], "source": "covidqa", "doc_id": name}
        for name in free
        for row in judged.get(name, [])
        if row[0] not in asked
    ]
    pairs.sort(key=lambda row: rank(row["doc_id"] + row["query"]))
    write(target / "pairs.jsonl.gz", pairs[:PAIRS])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
