"""What a run will take, from counts where there are some and from rates that the recipe's execution section names."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medembed.errors import SourceError
from medembed.recipes import sources
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.writers.prompts import prompt_text

_TOKENS_A_WORD = 1.4  # English medical text in LLaMA's and BERT's vocabularies
_TOKENS_A_PAIR = 120  # a query, its type, a copied passage of some sentences, and the JSON around them
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
    notes, notes_how = _rows(manifests.get("notes"), _source_rows(recipe, places, "notes"))
    lines = [Line("notes", _count(notes), notes_how)]
    pairs, pairs_how = _rows(manifests.get("filters"), _source_rows(recipe, places, "pairs"))
    hours = 0.0
    if recipe.pairs.writer in ("vllm_local", "openai_endpoint") and notes is not None:
        read = notes * (recipe.notes.max_words * _TOKENS_A_WORD + len(prompt_text(llm.prompt).split()) * _TOKENS_A_WORD)
        written = notes * min(llm.max_tokens, llm.pairs_per_note * _TOKENS_A_PAIR)
        generation = written / execution.llm_tokens_per_s / 3600
        hours += generation
        lines.append(
            Line("tokens read / written", f"{read:,.0f} / {written:,.0f}", f"{llm.pairs_per_note} pairs a note")
        )
        lines.append(
            Line(
                "hours of generation", f"{generation:.2f}", f"execution.llm_tokens_per_s={execution.llm_tokens_per_s:g}"
            )
        )
        if manifests.get("filters") is None:
            pairs, pairs_how = (pairs or 0) + notes * llm.pairs_per_note, "all pairs asked for; filters will drop some"
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
        rows = min(pairs, read.triplets.max_rows or pairs) if built is None else int(built["summary"]["rows"])
        steps = math.inf if read.train.max_steps is None else read.train.max_steps
        seen += min(rows * read.train.epochs, steps * read.train.batch_size)
    return seen, " before caps" if capped else ""


def _rows(manifest: dict[str, Any] | None, counted: int | None) -> tuple[int | None, str]:
    if manifest is not None:
        return int(manifest["summary"]["rows"]), "built"
    return counted, "rows of the sources" if counted is not None else "known once the sources are here"


def _source_rows(recipe: Recipe, places: Places, section: str) -> int | None:
    """Rows of a section's sources after limit and scale; None where one is missing, remote or too large to count."""
    total = 0.0
    declared = recipe.notes.sources if section == "notes" else recipe.pairs.sources
    for name, source in declared.items():
        if source.format == "hub":
            if source.limit is None:
                return None
            total += source.limit * recipe.scale
            continue
        try:
            path = sources.locate(source, name, places)
        except SourceError:
            return None
        if path.is_file() and path.stat().st_size > _COUNTED_BYTES:
            return None
        total += sum(1 for _ in sources.rows(source, name, places, {})) * recipe.scale
    return round(total)


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
