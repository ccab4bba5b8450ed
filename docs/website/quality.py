"""Retrieval quality, from the committed output of `medembed evaluate`: a page, and a table in the project's README."""

import re
from pathlib import Path

from docs.website.bars import bars
from docs.website.texts import ROOT
from medembed.evaluation import leaderboard, load_results
from medembed.evaluation.tables import ByModel, by_model, n_queries

MEASUREMENTS = ROOT / "docs" / "measurements"
README = ROOT / "README.md"
BEGIN, END = "<!-- quality: written by `python -m docs.website --readme` -->\n", "<!-- end of quality -->"
# weights are named in the files; in a table they hide the model
_REVISION = re.compile(r"@sha256-\w+")
COMMAND = "medembed evaluate MODEL --tasks FOLDER -o docs/measurements"

INTRO = f"""# Retrieval quality

nDCG@10 × 100 on four development sets of openly licensed medical text, exact search, measured by `{COMMAND}`; the files are committed, with
scores per query, and [described](../measurements/README.md). Numbers of other models on public benchmarks stand on the
[leaderboard](../leaderboard.md), each with its origin. Whether a difference is more than chance: `medembed compare docs/measurements`.

"""


def page(measurements: Path = MEASUREMENTS) -> str:
    """The page: the table, and the mean of each model as bars."""
    means = [(label, mean) for label, _, mean in _rows(measurements)]
    picture = bars("Mean nDCG@10 × 100 over the four sets (more is better)", means, "", ours="medembed/")
    return f"{INTRO}{table(measurements)}\n{picture}\n\n{_published()}"


def table(measurements: Path = MEASUREMENTS) -> str:
    """Models by tasks, best mean first, as Markdown."""
    grouped = by_model(load_results([measurements]))
    tasks = _tasks(grouped)
    counts = [n_queries(grouped, task, [next(iter(_first(grouped, task)))]) for task in tasks]
    lines = [
        "| model | "
        + " | ".join(f"{task} ({count:,} queries)" for task, count in zip(tasks, counts, strict=True))
        + " | mean |"
    ]
    lines.append("|---" * (len(tasks) + 2) + "|")
    for label, scores, mean in _rows(measurements):
        lines.append(f"| {label} | " + " | ".join(f"{score:.1f}" for score in scores) + f" | {mean:.1f} |")
    return "\n".join(lines) + "\n"


def rewrite(readme: Path = README, measurements: Path = MEASUREMENTS) -> None:
    """Put the table between its two marks."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    readme.write_text(before + BEGIN + table(measurements) + END + rest.partition(END)[2], encoding="utf-8")


def _rows(measurements: Path) -> list[tuple[str, list[float], float]]:
    """Label, scores by task and their mean, of the models that have every task."""
    grouped = by_model(load_results([measurements]))
    tasks = _tasks(grouped)
    rows = []
    for label, measured in grouped.items():
        if not set(tasks) - measured.keys():
            scores = [100 * next(iter(measured[task].values())).scores["ndcg_at_10"] for task in tasks]
            rows.append((_REVISION.sub("", label), scores, sum(scores) / len(scores)))
    return sorted(rows, key=lambda row: -row[2])


def _tasks(grouped: ByModel) -> list[str]:
    return sorted({task for measured in grouped.values() for task in measured})


def _first(grouped: ByModel, task: str) -> dict[tuple[str, str], object]:
    return dict(next(measured[task] for measured in grouped.values() if task in measured))


def _published() -> str:
    """What others have measured for the published models."""
    entries = [entry for entry in leaderboard.published() if "MedEmbed" in entry.name]
    tasks = sorted({task for entry in entries for task in entry.cells})
    lines = [
        "## The published models",
        "",
        "nDCG@10 × 100 as others have measured it; origins are linked on the [leaderboard](../leaderboard.md).",
        "",
    ]
    lines += ["| model | " + " | ".join(tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    for entry in entries:
        cells = (f"{entry.cells[task].score:.1f}" if task in entry.cells else "–" for task in tasks)
        lines.append(f"| {entry.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
