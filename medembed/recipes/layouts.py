"""Training rows in the layouts other tools read, and the card that says what they are."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from medembed.extras import require
from medembed.recipes.records import Triplet, content_id
from medembed.recipes.schema import Recipe, Source


def filled(triplets: Sequence[Triplet], count: int) -> list[list[str]]:
    """``count`` negatives for every row: the mined ones, then passages of other rows, chosen by hash.

    Losses take a table with the same number of columns in every row. A passage of another document is what an in-batch
    negative is, so filling up with one changes nothing in kind.

    Returns:
        Negatives in the order of the rows; fewer than ``count`` only where there are too few other documents.
    """
    filled_rows: list[list[str]] = []
    for index, row in enumerate(triplets):
        negatives = row.negatives[:count]
        start = int(content_id(row.query, row.positive)[:8], 16)
        for step in range(min(64, len(triplets))):
            if len(negatives) == count:
                break
            other = triplets[(start + step) % len(triplets)]
            if (
                other.doc_id != row.doc_id
                and other.positive not in (row.positive, *negatives)
                and index != (start + step)
            ):
                negatives = [*negatives, other.positive]
        filled_rows.append(negatives)
    return filled_rows


def write_sentence_transformers(path: Path, triplets: Sequence[Triplet], count: int) -> None:
    """Parquet with query, positive, negative_1 ... negative_n; the last ones null where fewer were found."""
    pyarrow = require("pyarrow")
    columns: dict[str, list[str | None]] = {
        "query": [row.query for row in triplets],
        "positive": [row.positive for row in triplets],
    }
    for place in range(count):
        columns[f"negative_{place + 1}"] = [
            row.negatives[place] if place < len(row.negatives) else None for row in triplets
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pyarrow.schema([(name, pyarrow.string()) for name in columns])
    require("pyarrow.parquet").write_table(pyarrow.table(columns, schema=schema), path, compression="zstd")


def write_flag_embedding(path: Path, triplets: Sequence[Triplet]) -> None:
    """JSON lines with query, pos (list) and neg (list), as FlagEmbedding trains on."""
    _write_lines(path, ({"query": row.query, "pos": [row.positive], "neg": row.negatives} for row in triplets))


def write_triplet_columns(path: Path, triplets: Sequence[Triplet]) -> None:
    """JSON lines with query, pos and neg, one line a negative, as MedEmbed's published triplets are."""
    _write_lines(
        path,
        ({"query": row.query, "pos": row.positive, "neg": negative} for row in triplets for negative in row.negatives),
    )


def _write_lines(path: Path, values: Iterable[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def write_card(path: Path, recipe: Recipe, rows: dict[str, int], sources: Counter[str]) -> None:
    """A dataset card: configurations, counts by source, and where the text comes from under which licence."""
    origins = attribution_table({**recipe.notes.sources, **recipe.pairs.sources})
    counts = "\n".join(f"| `{name}` | {count:,} |" for name, count in sources.most_common())
    path.write_text(
        f"""---
configs:
- config_name: sentence-transformers
  data_files:
  - split: train
    path: sentence-transformers/train.parquet
  - split: held_out
    path: sentence-transformers/held_out.parquet
- config_name: triplets
  data_files:
  - split: train
    path: triplets/train.jsonl
task_categories:
- sentence-similarity
- text-retrieval
language: en
tags:
- medical
- hard-negatives
---

# Training rows of the recipe `{recipe.name}`

{recipe.description}

{rows["train"]:,} rows to train on and {rows["held_out"]:,} held out, split by document: no document has rows in both.
`sentence-transformers/` holds query, positive, negative_1 ...; `flagembedding/` query, pos and neg as lists; `triplets/`
one line for each negative. Pairs written by: `{recipe.pairs.writer}`. Rows that overlap with an evaluation set were dropped.

| source | rows |
|---|---|
{counts}

## Where the text comes from

{origins}
""",
        encoding="utf-8",
    )


def attribution_table(sources: dict[str, Source]) -> str:
    """Origins, licences and attributions as a Markdown table."""
    lines = [
        f"| {name} | {source.origin or source.dataset or 'not stated'} | {source.licence or 'not stated'} | {source.attribution} |"
        for name, source in sources.items()
    ]
    return "\n".join(["| data | origin | licence | attribution |", "|---|---|---|---|", *lines])
