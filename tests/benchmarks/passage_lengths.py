"""nDCG@10 with passages of several lengths: `python -m tests.benchmarks.passage_lengths FOLDER [ARTICLES]`.

The passages of a BEIR folder whose ids are ARTICLE-NUMBER are joined to articles, which are split anew. A passage that is found counts
as the given passage that it shares most with.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from medembed import MedEmbed, split
from medembed.recipes import retrieval
from medembed.rows import beir
from medembed.search.ranking import ndcg
from tests.benchmarks import report
from tests.benchmarks.report import Claim, Result

LENGTHS = (128, 256, 384)
# passages looked at for ten given ones: short passages of one given passage count once
DEPTH = 60


def articles(documents: Mapping[str, str], count: int | None) -> dict[str, list[str]]:
    """Ids of given passages by article, in order."""
    found: dict[str, list[str]] = {}
    for name in documents:
        found.setdefault(name.rpartition("-")[0], []).append(name)
    return dict(list(found.items())[:count])


def cut(documents: Mapping[str, str], names: Sequence[str], model: MedEmbed, max_tokens: int) -> list[tuple[str, str]]:
    """New passages of an article, each with the id of the given one that it shares most with."""
    starts = np.cumsum([0, *(len(documents[name]) + 1 for name in names)])
    found = []
    for passage in split(" ".join(documents[name] for name in names), model, max_tokens=max_tokens):
        shared = np.minimum(passage.end, starts[1:]) - np.maximum(passage.start, starts[:-1])
        found.append((names[int(np.argmax(shared))], passage.text))
    return found


def score(owned: Sequence[tuple[str, str]], found: Any, judged: Sequence[str], model: MedEmbed) -> float:
    """nDCG@10 over passages with their owners."""
    vectors = model.encode_document([text for _, text in owned], show_progress_bar=False)
    queries = model.encode_query([found.queries[key] for key in judged], show_progress_bar=False)
    best = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :DEPTH]
    rankings = [list(dict.fromkeys(owned[place][0] for place in row))[:10] for row in best]
    return mean(ndcg(ranking, found.qrels[key]) for ranking, key in zip(rankings, judged, strict=True))


def main(folder: Path, count: int | None) -> None:
    """Measure, print, write."""
    found = retrieval.read_set(folder.name, beir.open_folder(folder))
    by_article = articles(found.documents, count)
    names = {name for own in by_article.values() for name in own}
    judged = [key for key in found.queries if names & set(found.qrels[key])]
    with MedEmbed(threads=1) as model:
        room = model.room
        given = [(name, found.documents[name]) for name in found.documents if name in names]
        rows = [{"engine": "as given", "passages": len(given), "nDCG@10": score(given, found, judged, model)}]
        for length in LENGTHS:
            owned = [
                pair for own in by_article.values() for pair in cut(found.documents, own, model, min(length, room))
            ]
            rows.append(
                {"engine": f"{length} tokens", "passages": len(owned), "nDCG@10": score(owned, found, judged, model)}
            )
    best = [float(str(row["nDCG@10"])) for row in rows]
    claims = [Claim("128 tokens less as given", best[1] - best[0], at_least=-0.01)]
    settings = {"queries": len(judged), "articles": len(by_article)}
    report.conclude(
        Result("passage-lengths", "nDCG@10 by passage length", settings, rows, claims), "passage_lengths", [folder]
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
