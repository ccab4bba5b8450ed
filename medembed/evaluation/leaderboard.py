"""A static leaderboard: published numbers and our own in one table. Every cell says who measured it."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from urllib.parse import quote

from medembed.evaluation.results import Measurement, load_results
from medembed.evaluation.tables import SIZE_CLASSES, by_model, check_same_data, size_class
from medembed.storage import paths
from medembed.storage.durable import write_text_whole, write_whole

HERE = Path(__file__).parent
PUBLISHED = HERE / "data" / "published.json"
US = "us"
# Style of a cell, by who measured it.
STYLES = {US: "ours", "the model's author": "author", "the model's own card": "author"}

# Buttons, so that a keyboard sorts too.
FIXED_HEADS = (
    '<th data-column="name"><button type="button">model</button></th>'
    '<th data-column="mean" aria-sort="descending"><button type="button" title="of the chosen tasks">mean</button></th>'
    '<th data-column="parameters"><button type="button">size</button></th>'
    '<th data-column="license"><button type="button">license</button></th>'
)

LEGEND = (
    "nDCG@10 x 100 (a clustering task shows its own main score). Each number links to the file or page it comes from. "
    "Bold: measured by us; italic: stated by the model's own author; plain: the public results repository of MTEB. "
    "† trained on this task's data, by the model's own or mteb's declaration; a model nobody declared anything about is "
    "'unknown', which is not 'zero-shot'. Numbers measured by different people may differ in prompts and versions."
)


@dataclass(frozen=True)
class Cell:
    """One number.

    Attributes:
        score: 0 to 100.
        who: Who measured it.
        origin: Address, or path relative to the page.
    """

    score: float
    who: str
    origin: str


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        name: Model, with its variant.
        revision: Commit or ``sha256-…``; as far as it is known.
        parameters: Number of weights; None where unknown.
        license: None where unknown.
        trained_on: Tasks it was trained on; None where nobody declared it.
        cells: Task → number.
        note: What a reader must know of this row.
    """

    name: str
    revision: str
    parameters: int | None
    license: str | None
    trained_on: tuple[str, ...] | None
    cells: Mapping[str, Cell]
    note: str = ""


def published() -> list[Entry]:
    """Numbers that others have published, shipped with the package."""
    raw = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return [
        Entry(
            name=model["name"],
            revision=model["revision"],
            parameters=model["parameters"],
            license=model["license"],
            trained_on=None if model["trained_on"] is None else tuple(model["trained_on"]),
            cells={
                task: Cell(cell["score"], raw["sources"][cell["source"]]["who"], cell["origin"])
                for task, cell in model["scores"].items()
            },
            note=model.get("note", ""),
        )
        for model in raw["models"]
    ]


def measured(measurements: Sequence[Measurement], origins: Mapping[Path, str]) -> list[Entry]:
    """Our own results as rows.

    Args:
        measurements: From ``medembed.evaluation.results.load_results``.
        origins: Result file → link to it from the page.

    Raises:
        ResultsError: One task name stands for different data.
    """
    check_same_data(measurements)
    entries = []
    for label, tasks in by_model(measurements).items():
        cells, card = {}, None
        for task, parts in tasks.items():
            items = list(parts.values())
            card = items[0].model
            score = sum(item.scores["main_score"] for item in items) / len(items)
            cells[task] = Cell(round(score * 100, 2), US, origins[items[0].path])
        if card is not None:
            trained = None if card.trained_on is None else tuple(sorted(card.trained_on))
            entries.append(Entry(label, card.revision, card.parameters, card.license, trained, cells))
    return entries


def build(folders: Sequence[Path], output: Path) -> list[Path]:
    """Write the leaderboard as two pages. One is for any browser, and the other is the same as a page of the docs.

    Args:
        folders: Output folders of ``medembed evaluate``; none for the published numbers alone.
        output: Where ``leaderboard.html`` and ``leaderboard.md`` go, and copies of result files that lie elsewhere.

    Returns:
        The two pages.

    Raises:
        ResultsError: A folder holds no results.
    """
    measurements = load_results(folders) if folders else []
    copied = copies(folders, output)
    for path, copy in copied.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_whole(copy, partial(shutil.copyfile, path))
    origins = {item.path: quote(_link(copied.get(item.path, item.path), output)) for item in measurements}
    ours = measured(measurements, origins)
    html, markdown = pages(output)
    _write(html, _standalone(_fragment([*ours, *published()])))
    # A page of the docs lies one folder deeper than its source, so links to our files go up once.
    deeper = measured(measurements, {path: f"../{link}" for path, link in origins.items()})
    _write(markdown, _page(_fragment([*deeper, *published()])))
    return [html, markdown]


def pages(output: Path) -> tuple[Path, Path]:
    """The two pages that :func:`build` writes: for any browser, and for the docs."""
    return output / "leaderboard.html", output / "leaderboard.md"


def copies(folders: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Result files outside the page's folder, each with the copy that :func:`build` makes of it there.

    Raises:
        ResultsError: A folder holds no results.
    """
    found = sorted({item.path for item in load_results(folders)}) if folders else []
    outside = [path for path in found if not path.resolve().is_relative_to(output.resolve())]
    return {path: paths.below(output, "/".join(("leaderboard-results", *_shown(path)))) for path in outside}


def _shown(path: Path) -> tuple[str, ...]:
    """The end of a result's path that tells it apart."""
    parts = path.absolute().parts
    return parts[parts.index("results") + 1 :] if "results" in parts else parts[-3:]


def _link(path: Path, output: Path) -> str:
    return path.resolve().relative_to(output.resolve()).as_posix()


def _fragment(entries: Sequence[Entry]) -> str:
    """The table with its controls, style and script. It has no blank line, so that Markdown leaves it alone."""
    tasks = _task_order(entries)
    five = json.loads(PUBLISHED.read_text(encoding="utf-8"))["tasks"]
    rows = "\n".join(_row(entry, tasks, five) for entry in sorted(entries, key=lambda e: _sort_key(e, five)))
    heads = "".join(
        f'<th data-column="{escape(t)}" data-task="{escape(t)}"><button type="button">{_broken(t)}</button></th>'
        for t in tasks
    )
    boxes = "".join(
        f'<label><input type="checkbox" value="{escape(task)}"{" checked" if task in five else ""}> {escape(task)}</label>'
        for task in tasks
    )
    return "\n".join(
        (
            '<div class="medembed-leaderboard">',
            f"<style>{_asset('leaderboard.css')}</style>",
            f"<p>{escape(LEGEND)}</p>",
            f'<div class="filters">{_filters(entries)}</div>',
            f'<div class="filters">Tasks: {boxes} <span class="count">{len(entries)}</span></div>',
            f"<table><thead><tr>{FIXED_HEADS}{heads}</tr></thead><tbody>",
            rows,
            "</tbody></table>",
            f"<script>{_asset('leaderboard.js')}</script>",
            "</div>",
        )
    )


def _broken(task: str) -> str:
    """A task's name that may break between its words, so that a column is as narrow as its numbers."""
    return re.sub("(?<=[a-z])(?=[A-Z])|(?<=_)", "<wbr>", escape(task))


def _task_order(entries: Sequence[Entry]) -> list[str]:
    counts: dict[str, int] = {}
    for entry in entries:
        for task in entry.cells:
            counts[task] = counts.get(task, 0) + 1
    return sorted(counts, key=lambda task: (-counts[task], task))


def _sort_key(entry: Entry, tasks: Sequence[str]) -> tuple[bool, float]:
    average = _mean(entry, tasks)
    return average is None, -(average or 0.0)


def _mean(entry: Entry, tasks: Sequence[str]) -> float | None:
    if any(task not in entry.cells for task in tasks):
        return None
    return sum(entry.cells[task].score for task in tasks) / len(tasks)


def _filters(entries: Sequence[Entry]) -> str:
    classes = [*(name for name, _ in SIZE_CLASSES), "size unknown"]
    present = {size_class(entry.parameters) for entry in entries}
    licenses = sorted({entry.license or "unknown" for entry in entries})
    people = sorted({cell.who for entry in entries for cell in entry.cells.values()})
    return "".join(
        (
            '<input type="search" data-filter="text" placeholder="model name" aria-label="model name">',
            _select("size", "any size", [(name, name) for name in classes if name in present]),
            _select("license", "any license", [(name, name) for name in licenses]),
            _select("trained", "trained on these tasks or not", list(_TRAINED.items())),
            _select("who", "measured by anyone", [(name, name) for name in people]),
        )
    )


_TRAINED = {"no": "declared: not trained on them", "yes": "declared: trained on some", "unknown": "nothing declared"}


def _select(name: str, anything: str, choices: Sequence[tuple[str, str]]) -> str:
    options = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in choices)
    return f'<select data-filter="{name}" aria-label="{name}"><option value="">{anything}</option>{options}</select>'


def _row(entry: Entry, tasks: Sequence[str], chosen: Sequence[str]) -> str:
    data = {
        "name": entry.name,
        "size": size_class(entry.parameters),
        "parameters": entry.parameters,
        "license": entry.license or "unknown",
        "trained": entry.trained_on,
        "who": sorted({cell.who for cell in entry.cells.values()}),
        "scores": {task: cell.score for task, cell in entry.cells.items()},
    }
    size = f"{entry.parameters / 1e6:.1f} M" if entry.parameters else "–"
    trained = "unknown" if entry.trained_on is None else ", ".join(entry.trained_on) or "none of these"
    title = f"revision {entry.revision}; trained on: {trained}" + (f"; {entry.note}" if entry.note else "")
    cells = "".join(_cell(entry, task) for task in tasks)
    average = _mean(entry, chosen)
    mean = "–" if average is None else f"{average:.2f}"
    return (
        f'<tr data-row="{escape(json.dumps(data))}"><td title="{escape(title)}">{escape(entry.name)}'
        f'</td><td class="mean">{mean}</td><td>{size}</td><td>{escape(entry.license or "unknown")}</td>{cells}</tr>'
    )


def _cell(entry: Entry, task: str) -> str:
    cell = entry.cells.get(task)
    if cell is None:
        return f'<td data-task="{escape(task)}">–</td>'
    mark = "†" if entry.trained_on and task in entry.trained_on else ""
    style = STYLES.get(cell.who, "public")
    return (
        f'<td data-task="{escape(task)}"><a class="{style}" href="{escape(cell.origin)}" '
        f'title="measured by: {escape(cell.who)}">{cell.score:.2f}</a>{mark}</td>'
    )


def _asset(name: str) -> str:
    lines = (HERE / "page" / name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.strip())


def _standalone(fragment: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Medical retrieval leaderboard</title>'
        '<meta name="viewport" content="width=device-width"></head><body style="font-family:system-ui,sans-serif">'
        f"<h1>Medical retrieval leaderboard</h1>\n{fragment}\n</body></html>\n"
    )


def _page(fragment: str) -> str:
    return (
        "---\nhide:\n  - toc\n---\n# Leaderboard\n\nMade by `medembed leaderboard build`; how to add to it is in the guide on "
        f"[evaluation](guides/evaluate.md).\n\n{fragment}\n"
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_whole(path, text)
