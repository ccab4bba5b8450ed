"""BM25 with the words of clinical text beside bm25s' own English words: `python -m tests.benchmarks.lexical FOLDER ...`"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import bm25s
import numpy as np

from medembed.recipes import retrieval
from medembed.rows import beir
from medembed.search.ranking import ndcg
from medembed.search.words import VERSION, words
from tests.benchmarks import report
from tests.benchmarks.report import Claim, Result

Split = Callable[[str], list[str]]


def english(text: str) -> list[str]:
    """Split a text as bm25s does: words of two letters and more, an English stop list, no stemming."""
    [tokens] = bm25s.tokenize([text], stopwords="en", show_progress=False, return_ids=False)
    return list(tokens)


def measure(folder: Path) -> dict[str, Any]:
    """nDCG@10 of both ways on one set, and the texts that `words` splits in a second."""
    found = retrieval.read_set(folder.name, beir.open_folder(folder))
    began = time.perf_counter()
    for text in found.documents.values():
        words(text)
    seconds = time.perf_counter() - began
    return {
        "engine": folder.name,
        "queries": len(found.queries),
        "bm25s English": _ndcg(found, english),
        "words": _ndcg(found, words),
        "texts/s": len(found.documents) / seconds,
    }


def _ndcg(found: retrieval.RetrievalSet, split: Split) -> float:
    ids, texts = list(found.documents), list(found.documents.values())
    index = bm25s.BM25()
    index.index([split(text) for text in texts], show_progress=False)
    return mean(ndcg(_ranked(index, split(query), ids), found.qrels[key]) for key, query in found.queries.items())


def _ranked(index: Any, query: Sequence[str], ids: Sequence[str]) -> list[str]:
    known = [word for word in query if word in index.vocab_dict]
    if not known:
        return []
    return [ids[row] for row in np.argsort(-index.get_scores(known), kind="stable")[:10]]


def main(folders: list[Path]) -> None:
    """Measure, print, write."""
    rows = [measure(folder) for folder in folders]
    claims = [
        Claim(f"{row['engine']}: words less English", row["words"] - row["bm25s English"], at_least=0.0) for row in rows
    ]
    claims.append(Claim("mean: words less English", mean(claim.value or 0.0 for claim in claims), at_least=0.02))
    report.conclude(Result("lexical", "nDCG@10 of BM25", {"words": VERSION}, rows, claims), "lexical", folders)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
