"""Retrieval quality, from the committed output of `medembed evaluate`: a page, and four rows in the project's README."""

import re
from collections.abc import Sequence
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
README_ROWS = 4
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
    """Models by tasks, best mean first, as Markdown. The mean is the first column, so that a narrow window shows it."""
    grouped = by_model(load_results([measurements]))
    tasks = _tasks(grouped)
    counts = [n_queries(grouped, task, [next(iter(_first(grouped, task)))]) for task in tasks]
    heads = [f"{task} ({count:,} queries)" for task, count in zip(tasks, counts, strict=True)]
    return _drawn(heads, _rows(measurements))


def readme_table(measurements: Path = MEASUREMENTS) -> str:
    """The four best of what one pass of a search can do, with short names.

    Rows that put another model's results in a new order stand on the page alone.
    """
    rows = [row for row in _rows(measurements) if "first_stage=" not in row[0]][:README_ROWS]
    tasks = _tasks(by_model(load_results([measurements])))
    return _drawn(tasks, [(_short(label), scores, mean) for label, scores, mean in rows])


def rewrite(readme: Path = README, measurements: Path = MEASUREMENTS) -> None:
    """Put the four rows between their two marks."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    readme.write_text(before + BEGIN + readme_table(measurements) + END + rest.partition(END)[2], encoding="utf-8")


def _drawn(heads: Sequence[str], rows: Sequence[tuple[str, list[float], float]]) -> str:
    lines = ["| model | mean | " + " | ".join(heads) + " |", "|---" * (len(heads) + 2) + "|"]
    for label, scores, mean in rows:
        lines.append(f"| {label} | {mean:.1f} | " + " | ".join(f"{score:.1f}" for score in scores) + " |")
    return "\n".join(lines) + "\n"


def _short(label: str) -> str:
    """A label without the owner's name; of settings only the engine is kept."""
    name, _, settings = label.partition(" (")
    engine = re.search(r"engine=([\w-]+)", settings)
    return name.rpartition("/")[2] + (f", run by {engine[1]}" if engine else "")


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
