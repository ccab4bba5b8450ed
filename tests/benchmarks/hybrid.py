"""Dense, lexical and hybrid search on BEIR folders, then late interaction over them: `python -m tests.benchmarks.hybrid FOLDER ...`

The weight of BM25 is chosen on all sets but one and looked at on that one, for each of them: what choosing flatters is seen.
`--together` searches every set among the documents of all, `--base` has all-MiniLM-L6-v2; neither re-ranks.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from medembed import EmbeddedCorpus, MedColBERT, MedEmbed
from medembed.corpus.embed import Settings, index_rows
from medembed.corpus.hybrid import WEIGHTS, Hybrid
from medembed.recipes import retrieval
from medembed.recipes.retrieval import RetrievalSet
from medembed.rows import beir
from medembed.rows.read import Row
from medembed.search.bm25 import Bm25
from medembed.search.ranking import ndcg, weighted
from medembed.search.shares import FIRST_SHARE, HYBRID_WEIGHT
from medembed.storage.manifest import FORMAT
from medembed.storage.places import MANIFEST
from medembed.storage.tables import Hit
from tests.benchmarks import models, report
from tests.benchmarks.corpora import CORPORA
from tests.benchmarks.report import Claim, Result

DEPTH = 100
# A weight is chosen only where no set falls by more.
WORST = -0.003


def read(folders: Sequence[Path], *, together: bool) -> list[RetrievalSet]:
    """The sets; together, each has the documents of all."""
    sets = [retrieval.read_set(folder.name, beir.open_folder(folder)) for folder in folders]
    if not together:
        return sets
    every = {f"{one.name}/{key}": text for one in sets for key, text in one.documents.items()}
    return [
        replace(
            one,
            documents=every,
            qrels={
                query: {f"{one.name}/{key}": score for key, score in row.items()} for query, row in one.qrels.items()
            },
        )
        for one in sets
    ]


def measure(found: RetrievalSet, corpus: EmbeddedCorpus, late: MedColBERT | None) -> dict[str, Any]:
    """nDCG@10 of every way on one set."""
    texts, qrels, judged = found.queries, found.qrels, list(found.queries)
    asked = [texts[key] for key in judged]
    by_weight = corpus.choose_weight(asked, [qrels[key] for key in judged])
    words = Bm25(list(found.documents.values()))
    names = list(found.documents)

    def mean_ndcg(rankings: Sequence[Sequence[str]]) -> float:
        return mean(ndcg(ranking, qrels[key]) for key, ranking in zip(judged, rankings, strict=True))

    lexical = [[names[row] for row in np.argsort(-words.scores(text), kind="stable")[:10]] for text in asked]
    row = {
        "engine": found.name, "queries": len(judged), "dense": by_weight[0.0], "BM25": mean_ndcg(lexical),
        "hybrid": by_weight[HYBRID_WEIGHT], **{f"weight {weight:g}": value for weight, value in by_weight.items()},
    }  # fmt: skip
    if late is None:
        return row
    maxsim = _MaxSim(late, asked, found.documents)

    def second(how: Hybrid | None, share: float) -> float:
        hits = corpus.search(asked, DEPTH, hybrid=how)
        return mean_ndcg([maxsim.ordered(number, row, share) for number, row in enumerate(hits)])

    return row | {
        "dense, then late": second(None, 0.0),
        "hybrid, then late and its share": second(Hybrid(), FIRST_SHARE),
    }


def left_out(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The gain over the dense score of each set at the weight that the other sets choose.

    They choose the best mean of those weights at which none of them falls by more than `WORST`.
    """
    gains = {row["engine"]: {weight: row[f"weight {weight:g}"] - row["dense"] for weight in WEIGHTS} for row in rows}
    found = {}
    for name, own in gains.items():
        others = [gain for other, gain in gains.items() if other != name]
        allowed = [weight for weight in WEIGHTS if min((gain[weight] for gain in others), default=0.0) >= WORST]
        found[name] = own[max(allowed, key=lambda weight: sum(gain[weight] for gain in others))]
    return found


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


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.hybrid", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--base", action="store_true")
    parser.add_argument("--together", action="store_true")
    options = parser.parse_args()
    chosen = [name for name in ("base", "together") if getattr(options, name)]
    with ExitStack() as stack:
        model = stack.enter_context(MedEmbed(models.folder("minilm")) if options.base else MedEmbed())
        late = None if chosen else stack.enter_context(MedColBERT())
        sets = read(options.folders, together=options.together)
        whole = "+".join(one.name for one in sets) if options.together else None
        rows = [measure(one, _corpus(whole or one.name, one.documents, model), late) for one in sets]
    gains = [row["hybrid"] - row["dense"] for row in rows]
    unseen = left_out(rows)
    for row in rows:
        row["gain at the weight of the others"] = unseen[row["engine"]]
    claims = [
        Claim("hybrid less dense, mean of the sets", mean(gains), at_least=0.02),
        Claim("hybrid less dense, worst set", min(gains), at_least=WORST),
        Claim("at the weight that the other sets choose, mean of the sets", mean(unseen.values()), at_least=0.015),
    ]
    known = {"model": "all-MiniLM-L6-v2" if options.base else model.name, "revision": model.revision, "depth": DEPTH}
    result = Result("-".join(["corpus-hybrid", *chosen]), "nDCG@10", known, rows, claims)
    report.conclude(result, "hybrid", options.folders, options=[f"--{name}" for name in chosen])


if __name__ == "__main__":
    main()
