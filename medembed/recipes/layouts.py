"""Training rows in the layouts other tools read, and the card that says what they are."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medembed.recipes.records import Triplet, content_id, document_of
from medembed.recipes.schema import Recipe
from medembed.recipes.source_settings import Source
from medembed.recipes.words import Card

# one format for all: of a folder, ``datasets.load_dataset`` takes one
LAYOUTS = ("sentence-transformers", "flagembedding", "triplets")


def filled(triplets: Sequence[Triplet], count: int) -> list[list[str]]:
    """``count`` negatives for every row: the mined ones, then passages of other rows, chosen by hash.

    Losses take a table with the same number of columns in every row. A passage of another document is what an in-batch
    negative is, so filling up with one changes nothing in kind.

    Returns:
        Negatives in the order of the rows; fewer than ``count`` only where there are too few other documents.
    """
    filled_rows: list[list[str]] = []
    for row in triplets:
        negatives = row.negatives[:count]
        start = int(content_id(row.query, row.positive)[:8], 16)
        for step in range(min(64, len(triplets))):
            if len(negatives) == count:
                break
            other = triplets[(start + step) % len(triplets)]
            if document_of(other) != document_of(row) and other.positive not in (row.positive, *negatives):
                negatives = [*negatives, other.positive]
        filled_rows.append(negatives)
    return filled_rows


def complete(triplets: Sequence[Triplet], count: int) -> list[Triplet]:
    """Rows as other tools take them: all with the same number of negatives, at least one and at most ``count``.

    Trainers fail on a missing negative. Where too few other documents can lend their passages, rows that have most stay.

    Returns:
        Rows in their order; the others are left out.
    """
    negatives = filled(triplets, count)
    least = min((len(row) for row in negatives if row), default=0)
    return [replace(row, negatives=some[:least]) for row, some in zip(triplets, negatives, strict=True) if some]


def write_sentence_transformers(path: Path, triplets: Sequence[Triplet]) -> None:
    """JSON lines with query, positive, negative_1 ... negative_n, as sentence-transformers' trainer takes them."""
    _write_lines(
        path,
        (
            {"query": row.query, "positive": row.positive}
            | {f"negative_{place}": text for place, text in enumerate(row.negatives, 1)}
            for row in triplets
        ),
    )


def write_flag_embedding(path: Path, triplets: Sequence[Triplet]) -> None:
    """JSON lines with query, pos (list) and neg (list), as FlagEmbedding trains on."""
    _write_lines(path, ({"query": row.query, "pos": [row.positive], "neg": row.negatives} for row in triplets))


def write_triplet_columns(path: Path, triplets: Sequence[Triplet]) -> None:
    """JSON lines with query, pos and neg, one line per negative, as MedEmbed's published triplets are."""
    _write_lines(
        path,
        ({"query": row.query, "pos": row.positive, "neg": negative} for row in triplets for negative in row.negatives),
    )


def _write_lines(path: Path, values: Iterable[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def write_card(path: Path, recipe: Recipe, rows: dict[str, int], sources: Counter[str]) -> None:
    """A dataset card: configurations, counts by source, and where the text comes from under which license.

    Args:
        path: Where.
        recipe: The recipe.
        rows: Rows of each split that was written.
        sources: Training rows by source.
    """
    origins = attribution_table({**recipe.notes.sources, **recipe.pairs.sources})
    counts = "\n".join(f"| `{name}` | {count:,} |" for name, count in sources.most_common())
    configs = "\n".join(_config(name, rows) for name in LAYOUTS)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""---
configs:
{configs}
task_categories:
- sentence-similarity
- text-retrieval
language: {recipe.card.language}
tags:
{tag_lines(recipe.card)}- hard-negatives
---

# Training rows of the recipe `{recipe.name}`

{recipe.description}

{rows.get("train", 0):,} rows to train on and {rows.get("held_out", 0):,} held out, split by document: no document has rows in both.
`sentence-transformers/` holds query, positive, negative_1 ...; `flagembedding/` query, pos and neg as lists; `triplets/`
one line for each negative. Where too few negatives were mined, passages of other documents stand in.
Pairs written by: `{recipe.pairs.writer}`. Rows that overlap with an evaluation set were dropped.

| source | rows |
|---|---|
{counts}

## Where the text comes from

{origins}
""",
        encoding="utf-8",
    )


def tag_lines(card: Card) -> str:
    """The recipe's own tags, as lines of a card's header."""
    return "".join(f"- {tag}\n" for tag in card.tags)


def _config(name: str, rows: dict[str, int]) -> str:
    """One configuration of ``datasets.load_dataset``. The first is what it loads when none is named."""
    default = "  default: true\n" if name == LAYOUTS[0] else ""
    files = "\n".join(f"  - split: {split}\n    path: {name}/{split}.jsonl" for split in rows)
    return f"- config_name: {name}\n{default}  data_files:\n{files}"


def attribution_table(sources: dict[str, Source]) -> str:
    """Origins, licenses and attributions as a Markdown table."""
    lines = [
        f"| {name} | {source.origin or source.dataset or 'not stated'} | {source.license or 'not stated'} | {source.attribution} |"
        for name, source in sources.items()
    ]
    return "\n".join(["| data | origin | license | attribution |", "|---|---|---|---|", *lines])
