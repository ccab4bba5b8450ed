"""Cut the slices that `medembed evaluate --smoke` measures, from whole BEIR folders.

Run: python -m tests.evaluation.cut_smoke_slice FOLDER TARGET [--queries 150] [--documents 300]

Every k-th query is taken, so that the slice spans the set; their relevant documents come along, and the rest are the
documents BM25 ranks highest for these queries, turn by turn, so that the slice is not easier than it must be. Nothing is
random: the same input gives the same bytes.
"""

import argparse
import gzip
import io
import json
from pathlib import Path

import bm25s

from medembed.rows.beir import Document, open_folder, read_documents, read_qrels, read_queries


def main() -> None:
    """Read the whole set, choose, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--queries", type=int, default=150)
    parser.add_argument("--documents", type=int, default=300)
    given = parser.parse_args()

    folder = open_folder(given.folder)
    documents = {document.id: document for document in read_documents(folder)}
    queries = {query.id: query for query in read_queries(folder)}
    qrels = read_qrels(folder, set(queries), set(documents))

    judged = [query_id for query_id in queries if query_id in qrels]
    step = len(judged) / given.queries
    chosen = [judged[int(i * step)] for i in range(given.queries)]
    kept = dict.fromkeys(document_id for query_id in chosen for document_id in qrels[query_id])
    for document_id in neighbors(list(documents.values()), [queries[i].text for i in chosen]):
        if len(kept) >= given.documents:
            break
        kept.setdefault(document_id)

    rows = [documents[i] for i in documents if i in kept]
    (given.target / "qrels").mkdir(parents=True, exist_ok=True)
    write(given.target / "corpus.jsonl.gz", [{"_id": d.id, "title": d.title, "text": d.text} for d in rows])
    write(given.target / "queries.jsonl.gz", [{"_id": i, "text": queries[i].text} for i in chosen])
    lines = [f"{q}\t{d}\t{score}" for q in chosen for d, score in qrels[q].items()]
    (given.target / "qrels" / "test.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *lines, ""]), encoding="utf-8"
    )


def neighbors(documents: list[Document], texts: list[str]) -> list[str]:
    """Ids of the documents BM25 ranks first, second ... for each text, turn by turn."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize([f"{d.title} {d.text}" for d in documents], show_progress=False), show_progress=False)
    ranked, _ = index.retrieve(bm25s.tokenize(texts, show_progress=False), k=20, show_progress=False)
    return [documents[row].id for rank in range(20) for row in ranked[:, rank]]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """One JSON object a line, gzipped without a time stamp."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9, mtime=0) as stream:
        for row in rows:
            stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
    path.write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
