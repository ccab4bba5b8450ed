"""The model card, written from manifests."""

import json
import subprocess
from pathlib import Path
from typing import Any

from medembed.checkpoints.registry import BUNDLED
from medembed.recipes.layouts import attribution_table
from medembed.recipes.schema import Recipe


def model_card(recipe: Recipe, manifests: dict[str, dict[str, Any]], folder: Path) -> str:
    """Model card in the hub's format.

    ``datasets:`` names training data only: sets that a model was measured on do not belong there.

    Args:
        recipe: The recipe.
        manifests: Manifests of merge, score, train and triplets.
        folder: The model's folder, to see which files are in it.
    """
    score, merge = manifests["score"]["summary"], manifests["merge"]["summary"]
    dense = recipe.train.architecture == "dense"
    hub = [source.dataset for source in {**recipe.notes.sources, **recipe.pairs.sources}.values() if source.dataset]
    datasets = "".join(["datasets:\n", *(f"- {name}\n" for name in hub)]) if hub else ""
    return f"""---
library_name: sentence-transformers
pipeline_tag: {"sentence-similarity" if dense else "text-ranking"}
license: {recipe.publish.licence}
language: en
base_model: {_base_name(recipe)}
base_model_relation: {"finetune" if merge["ratio"] == 1 else "merge"}
{datasets}tags:
- medical
- sentence-transformers
- feature-extraction
- medembed
---

# {recipe.publish.name}

{recipe.description}

{_origin(recipe, merge["ratio"])}

## Use

```python
from medembed import {"MedEmbed" if dense else "MedColBERT"}

model = {"MedEmbed" if dense else "MedColBERT"}("path/to/this/folder")
queries = model.encode_query(["Does metformin cause vitamin B12 deficiency?"])
passages = model.encode_document(["Long-term metformin lowers vitamin B12."])
print(model.similarity(queries, passages))
```

It loads with `{"SentenceTransformer" if dense else "MultiVectorEncoder"}(folder)` and `AutoModel.from_pretrained(folder)` too.
{_onnx_section(recipe, folder)}
## Results

nDCG@10 on development sets (exact search):

{_results_table(score)}

Made with `python -m medembed.recipes.train --recipe {recipe.name}`{_commit()}; stage fingerprints:
{", ".join(f"{name} `{manifest['fingerprint']}`" for name, manifest in manifests.items())}.

## Training

{_training(recipe, manifests)}

### Data

{attribution_table({**recipe.notes.sources, **recipe.pairs.sources})}

Rows by source: {_rows(manifests["triplets"]["summary"])}.

## Limits

For search and research in English medical text. Not a medical device: similarity says nothing about truth, and no decision about
a patient may rest on it.
"""


def _origin(recipe: Recipe, ratio: float) -> str:
    """Which weights are whose."""
    base = "the `mini` bundled with medembed" if recipe.base.model == BUNDLED else f"`{_base_name(recipe)}`"
    tuned = f"Tuned from {base} by the recipe `{recipe.name}`."
    if recipe.train.trainable == "projection":
        return (
            f"{tuned} It gives a vector a token, compared by MaxSim. The encoder's weights are the base's; only the projection of its\n"
            'token states was trained. Below, "base" is that model with a vector a text.'
        )
    anchor = recipe.merge.anchor
    others = "base" if anchor is None else f"those of `{_name(anchor)}`"
    return (
        f"{tuned} The weights are {1 - ratio:.0%} {others} and {ratio:.0%} tuned;\n"
        "the ratio was chosen on the development sets below, which were not trained on and do not overlap with the training texts."
    )


def _base_name(recipe: Recipe) -> str:
    """Hub name of the base; the bundled model is on no hub itself."""
    return "sentence-transformers/all-MiniLM-L6-v2" if recipe.base.model == BUNDLED else _name(recipe.base.model)


def _name(model: str) -> str:
    """What to call a model; a local folder's path says nothing to others."""
    return Path(model).name if Path(model).is_absolute() else model


def _results_table(score: dict[str, Any]) -> str:
    merged: dict[str, float] = score["merged nDCG@10"]
    base: dict[str, float] = score["base nDCG@10"]
    lines = [f"| {name} | {base.get(name, float('nan')):.4f} | {value:.4f} |" for name, value in merged.items()]
    return "\n".join(["| set | base | this model |", "|---|---|---|", *lines])


def _training(recipe: Recipe, manifests: dict[str, dict[str, Any]]) -> str:
    last = recipe.of_round(recipe.negatives.rounds)  # what the rows and versions of the manifests are of
    train = last.train
    rows = manifests["triplets"]["summary"]["rows"]
    dims = f", Matryoshka dimensions {', '.join(map(str, train.matryoshka_dims))}" if train.matryoshka_dims else ""
    versions = manifests["train"]["versions"]
    return (
        f"{rows:,} rows, {train.epochs:g} epoch(s), batches of {train.batch_size}, loss `{train.loss}` at temperature {train.temperature:g}{dims}, "
        f"learning rate {train.learning_rate:g} ({train.schedule}), {train.negatives_per_query} hard negative(s) a query mined by "
        f"`{last.negatives.method}`, queries cut at {train.max_query_tokens} and passages at {train.max_passage_tokens} tokens. "
        f"sentence-transformers {versions.get('sentence-transformers', '?')}, torch {versions.get('torch', '?')}."
    )


def _rows(summary: dict[str, Any]) -> str:
    return ", ".join(f"`{name}` {count:,}" for name, count in summary["counts"].items())


def _commit() -> str:
    """The checkout's commit where there is one; an installed wheel has none."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" at commit `{done.stdout.strip()}`"


def _onnx_section(recipe: Recipe, folder: Path) -> str:
    """How to use the ONNX file with fastembed, where there is one."""
    if not (folder / "onnx" / "model.onnx").is_file():
        return ""
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    kind = "CLS" if pooling.get("pooling_mode_cls_token") or pooling.get("pooling_mode") == "cls" else "MEAN"
    dimension = json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    return f"""
With [fastembed](https://github.com/qdrant/fastembed), from the ONNX file:

```python
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

TextEmbedding.add_custom_model(
    model="{recipe.publish.name}",
    pooling=PoolingType.{kind},
    normalization=True,
    sources=ModelSource(hf="your-name/{recipe.publish.name}"),
    dim={dimension},
    model_file="onnx/model.onnx",
)
model = TextEmbedding("{recipe.publish.name}", specific_model_path="path/to/this/folder")
```
"""
