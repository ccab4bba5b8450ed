"""An assessment as text, JSON, or one HTML page without outside assets."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape

from medembed.evaluation.comparison import Pair
from medembed.evaluation.own_notes import Assessment
from medembed.evaluation.own_ranking import HYBRID

HOW_TO_READ = (
    "Scores are nDCG@10 in points (x 100): 100 where every question finds its note first. The questions were made of the notes by rule, "
    "so scores tell which system is ahead, not how well people will find what they look for. A difference is the first system minus "
    "the second on the same questions, with a 95 % bootstrap interval; p is of a paired randomisation test, corrected after Holm. "
    "'No difference shown' is not the same as 'equal'."
)
# characters of a note that the page shows
SHOWN = 400
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #ccc;padding:.25rem .6rem;vertical-align:top}"
    "td.n,th.n{text-align:right}details{max-width:40rem}"
)

Rows = list[list[str]]


def to_json(found: Assessment) -> str:
    """Every field of `Assessment`, scores from 0 to 1, and the verdict."""
    return json.dumps({"verdict": found.verdict, **asdict(found)}, indent=2, ensure_ascii=False) + "\n"


def made_of(found: Assessment) -> str:
    """What was asked of how many notes, in a sentence or two."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.questions.items())
    told = f"{sum(found.questions.values())} questions ({kinds}) asked of {found.n_notes:,} notes"
    if found.n_read > found.n_notes + found.n_repeated:
        told += f", drawn from {found.n_read:,}"
    if found.n_repeated:
        told += f"; {found.n_repeated:,} with the text of another were left out"
    return told + "."


def cut_notes(found: Assessment) -> list[str]:
    """A line for each model that reads only the beginning of some notes."""
    by_model = {score.label.removeprefix(f"{HYBRID} "): score.n_cut for score in found.scores if score.n_cut}
    return [
        f"{label} reads only the beginning of {n_cut:,} of the notes: --split assesses passages"
        for label, n_cut in by_model.items()
    ]


def score_rows(found: Assessment) -> tuple[list[str], Rows]:
    """Header and rows of the table of scores."""
    header = ["system", "score", *(f"{kind} x {share:.2f}" for kind, share in found.weights.items()), "seconds"]
    rows = [
        [
            score.label,
            *(f"{value * 100:.1f}" for value in (score.score, *(score.by_kind[kind] for kind in found.weights))),
            f"{score.seconds:.1f}",
        ]
        for score in found.scores
    ]
    return header, rows


def pair_rows(pairs: Sequence[Pair]) -> tuple[list[str], Rows]:
    """Header and rows of the table of tests."""
    header = ["first against second", "difference", "95 % interval", "p (Holm)", "first is"]
    rows = [
        [
            f"{pair.first} against {pair.second}",
            f"{pair.difference * 100:+.1f}",
            f"{pair.low * 100:+.1f} to {pair.high * 100:+.1f}",
            f"{pair.p_holm:.4f}",
            pair.verdict,
        ]
        for pair in pairs
    ]
    return header, rows


def to_html(found: Assessment) -> str:
    """One page with scores, tests, and the questions that go worst. It holds texts of the notes."""
    parts = [
        f"<h1>Which model for these notes</h1><p><strong>{escape(found.verdict)}</strong></p>",
        f"<p>{escape(made_of(found))} {escape(HOW_TO_READ)}</p>",
        *(f"<p>{escape(line)}.</p>" for line in cut_notes(found)),
        f"<h2>Scores</h2>{_table(*score_rows(found))}",
        f"<h2>Paired tests</h2>{_table(*pair_rows(found.pairs))}",
        f"<h2>The questions that go worst</h2><p>Rank of the note that each is to find; – is below 100.</p>{_worst(found)}",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Which model for these notes</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _table(header: Sequence[str], rows: Rows) -> str:
    head = "".join(f"<th{'' if place == 0 else ' class=n'}>{escape(cell)}</th>" for place, cell in enumerate(header))
    body = "".join(
        "<tr>"
        + "".join(f"<td{'' if place == 0 else ' class=n'}>{escape(cell)}</td>" for place, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _worst(found: Assessment) -> str:
    labels = [score.label for score in found.scores]
    head = "".join(f"<th>{escape(cell)}</th>" for cell in ("kind", "question", "note", *labels))
    body = ""
    for item in found.worst:
        note = item.note if len(item.note) <= SHOWN else f"{item.note[:SHOWN]} …"
        ranks = "".join(f"<td class=n>{item.ranks[label] or '–'}</td>" for label in labels)
        body += (
            f"<tr><td>{escape(item.kind)}</td><td>{escape(item.question)}</td>"
            f"<td><details><summary>{escape(item.note_id)}</summary>{escape(note)}</details></td>{ranks}</tr>"
        )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
