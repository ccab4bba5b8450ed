"""Hits of `medembed search`, for people and as JSON: where each lies, the query's words marked, what stands around it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from medembed.colbert.carried import Carried
from medembed.console import Terminal
from medembed.search.marks import marks
from medembed.storage.around import Around, Neighbor
from medembed.storage.manifest import NOTE, PASSAGE_COLUMNS
from medembed.storage.tables import Asserted, Hit
from medembed.terminal import plain

# characters of a text that are shown, ids of rows with the same text, and characters of what it asserts
SHOWN, NAMED, SAID = 300, 3, 80
# columns of an id at most; longer ones are folded
ID_WIDTH = 24


@dataclass(frozen=True)
class Answer:
    """The hits of a query.

    Attributes:
        query: The query.
        hits: Best first.
        around: What stands around each; empty where it was not asked for.
        carried: The words that carried the score of each; None where they were not asked for.
    """

    query: str
    hits: Sequence[Hit]
    around: Sequence[Around]
    carried: Sequence[Sequence[Carried]] | None = None


def as_json(answer: Answer) -> str:
    """One JSON object with all that is known of the hits."""
    told = [_told(answer.query, hit) for hit in answer.hits]
    for hit, beside in zip(told, answer.around, strict=False):
        hit["around"] = asdict(beside)
    for hit, words in zip(told, answer.carried or [], strict=False):
        hit["carried"] = [asdict(word) for word in words]
    return json.dumps({"query": answer.query, "hits": told}, ensure_ascii=False, default=str)


def _told(query: str, hit: Hit) -> dict[str, Any]:
    return {**asdict(hit), "marks": marks(query, hit.text or "")}


def show(answer: Answer, kept: Mapping[str, str], *, grouped: bool) -> None:
    """A table of the hits.

    Args:
        answer: The hits of a query.
        kept: Kept columns of the store.
        grouped: Whether each hit stands for a group.
    """
    # columns of their own would leave neither ids nor dates whole in 80 characters, where an export keeps five of them
    own = [name for name in kept if NOTE not in kept or name not in PASSAGE_COLUMNS or name == "section"]
    table = Table("", "score", title=escape(answer.query), title_justify="left", show_lines=bool(own))
    table.add_column("id", overflow="fold", max_width=ID_WIDTH)
    table.add_column("text")
    for place, (hit, beside) in enumerate(zip_longest(answer.hits, answer.around), 1):
        facts = _facts(hit, own, grouped=grouped)
        lines = [Text(facts, style="dim")] if facts else []
        found = Text("\n").join([*lines, _text(answer.query, hit, beside)])
        table.add_row(str(place), f"{hit.score:.3f}", escape(hit.id), found)
    Terminal().print(table)


def _facts(hit: Hit, own: Sequence[str], *, grouped: bool) -> str:
    """The kept columns of a hit in a line: *patient: 17 · section: plan · characters: 91–152*."""
    told = {name: hit.kept[name] for name in own if hit.kept[name] is not None}
    if NOTE in hit.kept:
        told["characters"] = f"{hit.kept['start']}–{hit.kept['end']}"
    if grouped:
        told["others"] = hit.others
    return " · ".join(f"{plain(name)}: {_in_a_line(str(value))}" for name, value in told.items())


def _text(query: str, hit: Hit, beside: Around | None) -> Text:
    if hit.text is None:
        return Text(plain(f"{hit.source}, line {hit.line}"))
    found = _marked(query, hit.text)
    if beside is not None:
        found = Text("\n").join([*map(_dim, beside.before), found, *map(_dim, beside.after)])
    if hit.asserts:
        found = Text("\n").join([found, *map(_says, hit.asserts)])
    if hit.also_in:
        named = ", ".join(hit.also_in[:NAMED]) + (
            f" and {len(hit.also_in) - NAMED} more" if len(hit.also_in) > NAMED else ""
        )
        found = Text("\n").join([found, Text(plain(f"also in: {named}"), style="italic")])
    return found


def _says(part: Asserted) -> Text:
    """What a hit asserts, in a line: *negated: "denies chest pain"*."""
    text = _in_a_line(part.text)
    return Text(f'{part.kind}: "{text if len(text) <= SAID else text[:SAID] + " …"}"')


def _dim(neighbor: Neighbor) -> Text:
    return Text(_in_a_line(neighbor.text or ""), style="dim")


def _marked(query: str, text: str) -> Text:
    """The part of a text with most of the query's words, and these marked."""
    line = _in_a_line(text)
    found = marks(query, line)
    start = _best_start(found, len(line))
    shown = Text(f"{'… ' if start else ''}{line[start : start + SHOWN]}{' …' if start + SHOWN < len(line) else ''}")
    shift = start - 2 * bool(start)
    for first, last in found:
        if start <= first and last <= start + SHOWN:
            shown.stylize("bold underline", first - shift, last - shift)
    return shown


def _best_start(found: Sequence[tuple[int, int]], length: int) -> int:
    """Beginning of the part that has most marks: at the beginning, or shortly before a mark."""
    if length <= SHOWN:
        return 0
    starts = [0, *(max(0, first - SHOWN // 10) for first, _ in found)]
    return max(starts, key=lambda start: sum(start <= first and last <= start + SHOWN for first, last in found))


def _in_a_line(text: str) -> str:
    return " ".join(plain(text).split())
