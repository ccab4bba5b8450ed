"""Dense, lexical and hybrid search on BEIR folders, then late interaction over them: `python -m tests.benchmarks.hybrid FOLDER ...`

The weight of weighted fusion is chosen on every other query of a set; all figures are of the remaining ones.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from medembed import EmbeddedCorpus, MedColBERT, MedEmbed
from medembed.colbert.model import FIRST_SHARE
from medembed.corpus.embed import Settings, index_rows
from medembed.corpus.hybrid import Hybrid
from medembed.recipes import retrieval
from medembed.rows import beir
from medembed.rows.read import Row
from medembed.search.ranking import ndcg, weighted
from medembed.storage.manifest import FORMAT
from medembed.storage.places import MANIFEST
from medembed.storage.tables import Hit
from tests.benchmarks import report
from tests.benchmarks.corpora import CORPORA
from tests.benchmarks.report import Claim, Result

# the set on which lexical search is strong and the untuned model weak: fusion has to be better than either
PROMISED = "covidqa_passages"
DEPTH = 100


def measure(folder: Path, model: MedEmbed, late: MedColBERT) -> dict[str, Any]:
    """nDCG@10 of every way on one set."""
    found = retrieval.read_set(folder.name, beir.open_folder(folder))
    texts, qrels, judged = found.queries, found.qrels, list(found.queries)
    corpus = _corpus(folder.name, found.documents, model)
    development, test = judged[::2], judged[1::2]
    by_weight = corpus.choose_weight([texts[key] for key in development], [qrels[key] for key in development])
    weight = max(by_weight, key=lambda each: by_weight[each])

    asked = [texts[key] for key in test]

    def mean_ndcg(rankings: Sequence[Sequence[str]]) -> float:
        return mean(ndcg(ranking, qrels[key]) for key, ranking in zip(test, rankings, strict=True))

    def score(how: Hybrid | None) -> float:
        return mean_ndcg([[hit.id for hit in row] for row in corpus.search(asked, 10, hybrid=how)])

    maxsim = _MaxSim(late, asked, found.documents)

    def second(how: Hybrid | None, share: float) -> float:
        hits = corpus.search(asked, DEPTH, hybrid=how)
        return mean_ndcg([maxsim.ordered(number, row, share) for number, row in enumerate(hits)])

    return {
        "engine": folder.name, "queries": len(test), "dense": score(None), "BM25": score(Hybrid(weight=0)), "rrf": score(Hybrid("rrf")),
        "weighted 0.5": score(Hybrid()), "weighted, chosen": score(Hybrid(weight=weight)), "weight": weight,
        "dense, then late": second(None, 0.0), "weighted 0.5, then late": second(Hybrid(), 0.0),
        "weighted 0.5, then late and its share": second(Hybrid(), FIRST_SHARE),
    }  # fmt: skip


class _MaxSim:
    """MaxSim of every document for every query, so that each is encoded once and not with each query that finds it."""

    def __init__(self, model: MedColBERT, queries: list[str], documents: Mapping[str, str]) -> None:
        indexed = {name: text for name, text in documents.items() if text}
        self._scores = model.similarity(model.encode_query(queries), model.encode_document(list(indexed.values())))
        self._places = {name: place for place, name in enumerate(indexed)}

    def ordered(self, query: int, hits: Sequence[Hit], share: float) -> list[str]:
        """Ids of a first stage's hits in their new order."""
        scores = self._scores[query, [self._places[hit.id] for hit in hits]]
        both = weighted(scores, np.array([hit.score for hit in hits], dtype=np.float32), share)
        return [hits[place].id for place in np.argsort(-both, kind="stable")]


def _corpus(name: str, documents: Mapping[str, str], model: MedEmbed) -> EmbeddedCorpus:
    path = CORPORA / f"{FORMAT}-{name}-{model.revision}"
    if not (path / MANIFEST).exists():
        index_rows(_rows(documents), path, model, Settings(), inputs=[name])
    return EmbeddedCorpus.open(path, model)


def _rows(documents: Mapping[str, str]) -> Iterator[Row]:
    for number, (name, text) in enumerate(documents.items(), 1):
        if text:
            yield Row(name, text, "corpus.jsonl", number)


def main(folders: list[Path]) -> None:
    """Measure, print, write."""
    with MedEmbed() as model, MedColBERT() as late:
        rows = [measure(folder, model, late) for folder in folders]
    claims = [
        Claim(f"{row['engine']}: weighted fusion less the better of both", row["weighted, chosen"] - max(row["dense"], row["BM25"]), at_least=0.0)
        for row in rows
        if row["engine"] == PROMISED
    ]  # fmt: skip
    result = Result(
        "corpus-hybrid", "nDCG@10", {"model": model.name, "revision": model.revision, "depth": DEPTH}, rows, claims
    )
    report.conclude(result, "hybrid", folders)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
