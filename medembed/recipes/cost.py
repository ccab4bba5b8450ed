"""Estimate of what a run will take.

From counts where there are some, and from rates that the recipe's execution section names.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medembed.errors import SourceError
from medembed.recipes import sources
from medembed.recipes.records import Note
from medembed.recipes.schema import Recipe
from medembed.recipes.source_settings import Source
from medembed.recipes.sources import Places, Row
from medembed.recipes.stages import notes
from medembed.recipes.writers.prompts import explained

_TOKENS_A_WORD = 1.4  # English text of a field in LLaMA's and BERT's vocabularies
_TOKENS_A_PAIR = 120  # a query, its type, a copied passage of some sentences, and the JSON around them
SAMPLE = 200  # rows of a source that are cut into windows for an estimate
UNKNOWN = "known once the sources are here"
_COUNTED_BYTES = 64 * 2**20  # above this a file's rows are not counted for an estimate


@dataclass(frozen=True)
class Line:
    """One line of the estimate: what, how much, and what it was computed from."""

    what: str
    amount: str
    how: str


def estimate(recipe: Recipe, places: Places, manifests: Mapping[str, dict[str, Any] | None]) -> list[Line]:
    """Cost of generation and training.

    Args:
        recipe: The recipe.
        places: Where sources are, to count their rows.
        manifests: Manifest of each step, None where it is not built.

    Returns:
        Lines for people; what cannot be known before a run says so.
    """
    execution, llm = recipe.execution, recipe.pairs.llm
    windows, windows_how = _rows(manifests.get("notes"), _windows(recipe, places))
    lines = [Line("windows of notes", _count(windows), windows_how)]
    pairs, pairs_how = _rows(manifests.get("filters"), _pairs(recipe, places))
    hours = 0.0
    if recipe.pairs.writer in ("vllm_local", "openai_endpoint") and windows is not None:
        read = windows * (recipe.notes.max_words * _TOKENS_A_WORD + len(explained(llm).split()) * _TOKENS_A_WORD)
        written = windows * min(llm.max_tokens, llm.pairs_per_note * _TOKENS_A_PAIR)
        generation = written / execution.llm_tokens_per_s / 3600
        hours += generation
        lines.append(
            Line("tokens read / written", f"{read:,.0f} / {written:,.0f}", f"{llm.pairs_per_note} pairs per window")
        )
        lines.append(
            Line(
                "hours of generation", f"{generation:.2f}", f"execution.llm_tokens_per_s={execution.llm_tokens_per_s:g}"
            )
        )
        if manifests.get("filters") is None:
            pairs, pairs_how = (
                (pairs or 0) + windows * llm.pairs_per_note,
                "all pairs asked for; filters will drop some",
            )
    elif recipe.pairs.writer == "extractive" and manifests.get("filters") is None:
        pairs_how += "; the extractive writer adds its own"
    lines.append(Line("pairs", _count(pairs), pairs_how))
    if pairs is not None:
        seen, before_caps = _trained_on(recipe, pairs, manifests)
        training = seen / execution.train_pairs_per_s / 3600
        hours += training
        lines.append(
            Line(
                "hours of training",
                f"{training:.2f}",
                f"{seen:,.0f} pairs{before_caps} at execution.train_pairs_per_s={execution.train_pairs_per_s:g}",
            )
        )
    price = f"{hours * execution.hourly_price:,.2f}" if execution.hourly_price else "not computed"
    lines.append(Line("price", price, f"{hours:.2f} h at execution.hourly_price={execution.hourly_price:g}"))
    return lines


def _trained_on(recipe: Recipe, pairs: int, manifests: Mapping[str, dict[str, Any] | None]) -> tuple[float, str]:
    """Pairs that all rounds see, and whether caps will still lower that: they are known by source once the rows are made."""
    seen, capped = 0.0, False
    for number in range(1, recipe.negatives.rounds + 1):
        read = recipe.of_round(number)
        built = manifests.get("triplets" if number == 1 else f"triplets-{number}")
        capped = capped or (built is None and bool(read.triplets.caps))
        rows = pairs if built is None else int(built["summary"]["rows"])
        steps = read.train.max_steps or math.inf
        seen += min(rows * read.train.epochs, steps * read.train.batch_size)
    return seen, " before caps" if capped else ""


def _rows(manifest: dict[str, Any] | None, counted: tuple[int | None, str]) -> tuple[int | None, str]:
    return (int(manifest["summary"]["rows"]), "built") if manifest is not None else counted


def _windows(recipe: Recipe, places: Places) -> tuple[int | None, str]:
    """Windows that the notes will be cut into: a writer is asked about each of them."""
    total, rows, uncut = 0.0, 0, False
    for name, source in recipe.notes.sources.items():
        found = _source_rows(source, name, places)
        if found is None:
            return None, UNKNOWN
        count, sample = found
        cut = [
            sum(isinstance(note, Note) for note in notes.cut_row(recipe.notes, name, source, index, row, recipe.words))
            for index, row in enumerate(sample)
        ]
        uncut = uncut or not cut
        total += count * recipe.scale * (sum(cut) / len(cut) if cut else 1)
        rows += count
    how = (
        f"of {rows:,} rows of the sources, by {SAMPLE:,} of each"
        if not uncut
        else f"{rows:,} rows, one window each: longer notes give more"
    )
    return round(total), how


def _pairs(recipe: Recipe, places: Places) -> tuple[int | None, str]:
    """Ready pairs of the sources."""
    found = [_source_rows(source, name, places) for name, source in recipe.pairs.sources.items()]
    if any(item is None for item in found):
        return None, UNKNOWN
    return round(sum(item[0] for item in found if item is not None) * recipe.scale), "rows of the sources"


def _source_rows(source: Source, name: str, places: Places) -> tuple[int, list[Row]] | None:
    """Number of rows of a source, and a sample of them.

    The sample of a hub dataset is empty. None where the source is missing, or too large to count.
    """
    if source.format == "hub":
        return None if source.limit is None else (source.limit, [])
    try:
        path = sources.locate(source, name, places)
    except SourceError:
        return None
    if path.is_file() and path.stat().st_size > _COUNTED_BYTES:
        return None
    draw, count = random.Random(0), 0  # noqa: S311  a sample, no secret
    sample: list[Row] = []
    for count, row in enumerate(sources.rows(source, name, places, {}), 1):
        if len(sample) < SAMPLE:
            sample.append(row)
        elif (place := draw.randrange(count)) < SAMPLE:  # each row so far is kept with the same probability
            sample[place] = row
    return count, sample


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
