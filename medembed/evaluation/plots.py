"""Three drawings of a comparison, each as PNG and SVG.

They are grouped bars, a heat map of wins, and quality against speed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medembed.evaluation.comparison import Comparison
from medembed.extras import require
from medembed.storage.durable import whole

TITLES = {"scores": "Scores by task", "wins": "Share of wins", "speed": "Quality against speed"}
SUFFIXES = (".png", ".svg")


def paths(folder: Path) -> list[Path]:
    """The files that :func:`draw` writes into a folder, where there are data for all."""
    return [folder / f"{name}{suffix}" for name in TITLES for suffix in SUFFIXES]


def draw(comparison: Comparison, folder: Path) -> dict[str, Path]:
    """Draw what the comparison has data for.

    Args:
        comparison: From ``medembed.evaluation.comparison.compare``.
        folder: Where to write ``<name>.png`` and ``<name>.svg``.

    Returns:
        Name (``scores``, ``wins``, ``speed``) → path of the SVG; the PNG lies beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawings: dict[str, Callable[[Comparison, Any], None]] = {"scores": _bars, "wins": _heat_map}
    if comparison.speed and comparison.means:
        drawings["speed"] = _quality_against_speed
    return {name: _save(name, drawing, comparison, folder) for name, drawing in drawings.items()}


def _save(name: str, drawing: Callable[[Comparison, Any], None], comparison: Comparison, folder: Path) -> Path:
    require("matplotlib")
    # The figure class itself, not pyplot: no window system, no global state.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    size = max(6.4, 1.2 * len(comparison.models), 1.8 * len(comparison.tasks))
    # A fixed salt and no date: the same comparison draws the same bytes.
    with rc_context({"svg.hashsalt": "medembed", "svg.fonttype": "none"}):
        figure = Figure(figsize=(size, 4.8), layout="constrained")
        axes = figure.add_subplot()
        drawing(comparison, axes)
        axes.set_title(TITLES[name])
        for suffix, metadata in zip(SUFFIXES, ({}, {"Date": None}), strict=True):
            with whole(folder / f"{name}{suffix}") as made:
                figure.savefig(made, dpi=150, metadata=metadata, format=suffix[1:])
    return folder / f"{name}.svg"


def _bars(comparison: Comparison, axes: Any) -> None:
    labels, tasks = list(comparison.models), comparison.tasks
    width = 0.8 / len(labels)
    for index, label in enumerate(labels):
        at = np.arange(len(tasks)) - 0.4 + width * (index + 0.5)
        heights = [comparison.scores[label].get(task, 0.0) * 100 for task in tasks]
        axes.bar_label(axes.bar(at, heights, width, label=label), fmt="%.1f", fontsize=7, rotation=90, padding=2)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_ylabel(f"{comparison.measure} x 100")
    axes.set_ylim(0, 115)
    axes.legend(fontsize=8, loc="upper center", ncols=2)


def _heat_map(comparison: Comparison, axes: Any) -> None:
    labels = list(comparison.models)
    shares = np.full((len(labels), len(labels)), np.nan)
    for row, first in enumerate(labels):
        for column, second in enumerate(labels):
            cells = comparison.win_cells[first].get(second)
            if cells:
                shares[row, column] = wins = comparison.wins[first][second] / cells
                axes.text(column, row, f"{wins:.0%}", ha="center", va="center", fontsize=9)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="RdYlGn")
    axes.figure.colorbar(image, ax=axes, label="share of task x measure won")
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_xlabel("over")


def _quality_against_speed(comparison: Comparison, axes: Any) -> None:
    for label, speed in comparison.speed.items():
        axes.scatter(speed, comparison.means[label] * 100, s=60)
        axes.annotate(label, (speed, comparison.means[label] * 100), (6, 4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("texts encoded per second")
    axes.set_ylabel(f"mean {comparison.measure} x 100")
    axes.margins(0.25)
