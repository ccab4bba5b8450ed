"""A comparison as Markdown, JSON or one HTML page without outside assets."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from medembed.evaluation.comparison import MEAN, Comparison, Pair

Table = tuple[str, list[str], list[list[str]]]

HOW_TO_READ = (
    "Scores are in points (x 100). A difference is the first model minus the second, on the same queries, with a 95 % "
    "bootstrap interval; p is of a paired randomisation test, corrected after Holm for all the tests of this report. "
    "'Better' and 'worse' are said only where the corrected p is below 0.05 and the interval leaves out zero; anything "
    "else is 'no difference shown', which is not the same as 'equal'."
)


def to_markdown(comparison: Comparison, plots: Mapping[str, str] | None = None) -> str:
    """Write the report as Markdown.

    Args:
        comparison: From ``medembed.evaluation.comparison.compare``.
        plots: Title → file to link, relative to the report.
    """
    lines = [f"# Comparison on {comparison.measure}", "", HOW_TO_READ, ""]
    for title, header, rows in _tables(comparison):
        lines += [f"## {title}", "", _row(header), _row(["---", *["---:"] * (len(header) - 1)])]
        lines += [_row(row) for row in rows] + [""]
    if comparison.notes:
        lines += ["## Notes", "", *[f"- {note}" for note in comparison.notes], ""]
    for title, file in (plots or {}).items():
        lines += [f"![{title}]({file})", ""]
    return "\n".join(lines)


def to_json(comparison: Comparison) -> str:
    """Write the report as JSON. It holds every field of `Comparison`, with scores from 0 to 1."""
    return json.dumps(asdict(comparison), indent=2, default=sorted) + "\n"


def to_html(comparison: Comparison, drawings: Mapping[str, str] | None = None) -> str:
    """Write the report as one HTML page.

    Args:
        comparison: From ``medembed.evaluation.comparison.compare``.
        drawings: Title → SVG source, put into the page itself.
    """
    parts = [f"<h1>Comparison on {escape(comparison.measure)}</h1><p>{escape(HOW_TO_READ)}</p>"]
    for title, header, rows in _tables(comparison):
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        parts.append(f"<h2>{escape(title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    if comparison.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
        parts.append(f"<h2>Notes</h2><ul>{notes}</ul>")
    for title, svg in (drawings or {}).items():
        parts.append(f"<h2>{escape(title)}</h2><figure>{svg[svg.index('<svg') :]}</figure>")
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #ccc;padding:.25rem .6rem}"
        "td+td,th+th{text-align:right}svg{max-width:100%;height:auto}"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Comparison</title>'
        f"<style>{style}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _tables(comparison: Comparison) -> list[Table]:
    found = [_scores_table(comparison), _pairs_table("Paired tests", comparison.pairs)]
    found.append(_wins_table(comparison))
    found.append(_sizes_table(comparison))
    if comparison.tuned_against_base:
        found.append(_pairs_table("Small and tuned against larger and not tuned", comparison.tuned_against_base))
    if comparison.speed:
        rows = [[label, f"{speed:.1f}"] for label, speed in sorted(comparison.speed.items(), key=lambda kv: -kv[1])]
        found.append(("Speed on the machine that measured", ["model", "texts/s"], rows))
    return [table for table in found if table[2]]


def _scores_table(comparison: Comparison) -> Table:
    header = ["model", *(f"{task} ({comparison.queries[task]} queries)" for task in comparison.tasks)]
    if comparison.means:
        header.append(f"mean of {len(comparison.mean_tasks)}")
    rows = []
    for label in comparison.models:
        row = [label, *(_points(comparison.scores[label].get(task)) for task in comparison.tasks)]
        rows.append(row + ([_points(comparison.means[label])] if comparison.means else []))
    return "Scores", header, rows


def _pairs_table(title: str, pairs: Sequence[Pair]) -> Table:
    header = ["first against second", "on", "difference", "95 % interval", "p (Holm)", "queries", "first is"]
    rows = [
        [
            f"{pair.first} against {pair.second}",
            "mean of tasks" if pair.task == MEAN else pair.task,
            f"{pair.difference * 100:+.2f}",
            f"{pair.low * 100:+.2f} to {pair.high * 100:+.2f}",
            f"{pair.p_holm:.4f}",
            str(pair.n_queries),
            pair.verdict,
        ]
        for pair in pairs
    ]
    return title, header, rows


def _wins_table(comparison: Comparison) -> Table:
    labels = list(comparison.models)
    rows = [
        [first, *(_wins_cell(comparison, first, second) for second in labels)] for first in labels if len(labels) > 1
    ]
    return "Wins of the row over the column, on task x measure", ["", *labels], rows


def _wins_cell(comparison: Comparison, first: str, second: str) -> str:
    cells: Any = comparison.win_cells[first].get(second)
    return f"{comparison.wins[first][second]} of {cells}" if cells else "–"


def _sizes_table(comparison: Comparison) -> Table:
    rows = []
    for name, labels in comparison.sizes.items():
        for label in labels:
            parameters = comparison.models[label].parameters
            million = f"{parameters / 1e6:.1f} M" if parameters else "–"
            rows.append([name, label, million, _points(comparison.means.get(label))])
    return "By size", ["class", "model", "parameters", "mean"], rows


def _points(score: float | None) -> str:
    return "–" if score is None else f"{score * 100:.2f}"
