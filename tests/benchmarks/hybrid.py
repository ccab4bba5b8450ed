"""Dense, lexical and hybrid search on BEIR folders: `python -m tests.benchmarks.hybrid FOLDER ...`

The weight of weighted fusion is chosen on every other query of a set; all figures are of the remaining ones.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medembed import EmbeddedCorpus, MedEmbed
from medembed.corpus.embed import Settings, index_rows
from medembed.corpus.hybrid import Hybrid
from medembed.corpus.ranking import ndcg
from medembed.corpus.rows import Row
from medembed.corpus.shard_folders import MANIFEST
from medembed.evaluation import beir
from medembed.recipes import retrieval
from tests.benchmarks import report
from tests.benchmarks.corpora import CORPORA
from tests.benchmarks.report import Claim, Result

# the set on which lexical search is strong and the untuned model weak: fusion has to be better than either
PROMISED = "covidqa_passages"


def measure(folder: Path, model: MedEmbed) -> dict[str, Any]:
    """nDCG@10 of every way on one set."""
    found = retrieval.read_set(folder.name, beir.open_folder(folder))
    texts, qrels, judged = found.queries, found.qrels, list(found.queries)
    corpus = _corpus(folder.name, found.documents, model)
    development, test = judged[::2], judged[1::2]
    by_weight = corpus.choose_weight([texts[key] for key in development], [qrels[key] for key in development])
    weight = max(by_weight, key=lambda each: by_weight[each])

    def score(how: Hybrid | None) -> float:
        hits = corpus.search([texts[key] for key in test], 10, hybrid=how)
        return sum(ndcg([hit.id for hit in row], qrels[key]) for row, key in zip(hits, test, strict=True)) / len(test)

    return {
        "engine": folder.name, "queries": len(test), "dense": score(None), "BM25": score(Hybrid(weight=0)), "rrf": score(Hybrid("rrf")),
        "weighted 0.5": score(Hybrid()), "weighted, chosen": score(Hybrid(weight=weight)), "weight": weight,
    }  # fmt: skip


def _corpus(name: str, documents: Mapping[str, str], model: MedEmbed) -> EmbeddedCorpus:
    path = CORPORA / f"{name}-{model.revision}"
    if not (path / MANIFEST).exists():
        index_rows(_rows(documents), path, model, Settings(), inputs=[name])
    return EmbeddedCorpus.open(path, model)


def _rows(documents: Mapping[str, str]) -> Iterator[Row]:
    for number, (name, text) in enumerate(documents.items(), 1):
        if text:
            yield Row(name, text, "corpus.jsonl", number)


def main(folders: list[Path]) -> None:
    """Measure, print, write."""
    model = MedEmbed()
    rows = [measure(folder, model) for folder in folders]
    claims = [
        Claim(f"{row['engine']}: weighted fusion less the better of both", row["weighted, chosen"] - max(row["dense"], row["BM25"]), at_least=0.0)
        for row in rows
        if row["engine"] == PROMISED
    ]  # fmt: skip
    result = Result(
        "corpus-hybrid", "nDCG@10", {"model": model.name, "revision": model.revision, "depth": 100}, rows, claims
    )
    report.conclude(result, "hybrid", folders)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
