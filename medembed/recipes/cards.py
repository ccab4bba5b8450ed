"""The model card, written from manifests."""

import json
import subprocess
from pathlib import Path
from typing import Any

from medembed import __version__, border
from medembed.checkpoints import model_files
from medembed.checkpoints.registry import BUNDLED
from medembed.errors import CorruptFileError
from medembed.recipes import catalog, layouts, models, retrieval
from medembed.recipes.load import load_recipe
from medembed.recipes.schema import Recipe


def model_card(recipe: Recipe, manifests: dict[str, dict[str, Any]], folder: Path) -> str:
    """Model card in the hub's format.

    ``datasets:`` names training data only: sets that a model was measured on do not belong there.

    Args:
        recipe: The recipe.
        manifests: Manifests of merge, score, train and triplets.
        folder: The model's folder, to see which files are in it.
    """
    merge = manifests["merge"]["summary"]
    dense = recipe.train.architecture == "dense"
    hub = [source.dataset for source in {**recipe.notes.sources, **recipe.pairs.sources}.values() if source.dataset]
    datasets = "".join(["datasets:\n", *(f"- {name}\n" for name in hub)]) if hub else ""
    return f"""---
library_name: sentence-transformers
pipeline_tag: {"sentence-similarity" if dense else "text-ranking"}
license: {recipe.publish.license}
language: {recipe.card.language}
base_model: {_hub_base(recipe.base.model)}
base_model_relation: {"finetune" if merge["ratio"] == 1 else "merge"}
{datasets}tags:
{layouts.tag_lines(recipe.card)}- sentence-transformers
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
queries = model.encode_query([{json.dumps(recipe.card.query, ensure_ascii=False)}])
passages = model.encode_document([{json.dumps(recipe.card.passage, ensure_ascii=False)}])
print(model.similarity(queries, passages))
```

It loads with `{"SentenceTransformer" if dense else "MultiVectorEncoder"}(folder)` and `AutoModel.from_pretrained(folder)` too.
{_onnx_section(recipe, folder)}
## Results

{_results(recipe, manifests["score"]["summary"])}

Made by the recipe `{recipe.name}` with {_software()}; stage fingerprints:
{", ".join(f"{name} `{manifest['fingerprint']}`" for name, manifest in manifests.items())}.

## Training

{_training(recipe, manifests, folder)}

### Data

{layouts.attribution_table({**recipe.notes.sources, **recipe.pairs.sources})}

Rows by source: {_rows(manifests["triplets"]["summary"])}.

## Limits

{recipe.card.limits.strip()}
"""


def _origin(recipe: Recipe, ratio: float) -> str:
    """Origin of the weights, base and tuned."""
    base = "the `mini` bundled with medembed" if recipe.base.model == BUNDLED else f"`{name_of(recipe.base.model)}`"
    tuned = f"Tuned from {base} by the recipe `{recipe.name}`."
    if recipe.train.trainable == "projection":
        return (
            f"{tuned} It gives one vector per token, compared by MaxSim. The encoder's weights are the base's; only the projection of its\n"
            'token states was trained. Below, "base" is that model with one vector per text.'
        )
    anchor = recipe.merge.anchor
    others = "base" if anchor is None else f"those of `{name_of(anchor)}`"
    weights = f"{tuned} The weights are {1 - ratio:.0%} {others} and {ratio:.0%} tuned."
    if not recipe.development:
        return weights
    chosen = "The ratio was chosen on the" if len(recipe.merge.ratios) > 1 else "It was measured on the"
    return f"{weights}\n{chosen} development sets below, which were not trained on and do not overlap with the training texts."


def name_of(model: str) -> str:
    """A model's name for others, to whom a local folder's path says nothing."""
    return Path(model).expanduser().name if model.startswith((".", "/", "~")) or Path(model).is_dir() else model


def _hub_base(model: str) -> str:
    """Hub name of the model that a chain of recipes begins with. The bundled model itself is not on a hub."""
    if models.is_made(model):
        return _hub_base(load_recipe(catalog.find(model.removeprefix(models.MADE)).file).base.model)
    return "sentence-transformers/all-MiniLM-L6-v2" if model == BUNDLED else name_of(model)


def _results(recipe: Recipe, summary: dict[str, Any]) -> str:
    """The figures with how they were measured, or that there are none."""
    model: dict[str, float] = summary[retrieval.OF_MODEL]
    base: dict[str, float] = summary[retrieval.OF_BASE]
    if not model:
        return "Not measured: the recipe names no development set."
    length = recipe.score.max_seq_length
    read = "as far as the model reads" if length is None else f"to {length} tokens"
    lines = [f"| {name} | {base.get(name, float('nan')):.4f} | {value:.4f} |" for name, value in model.items()]
    means = [sum(scores.values()) / max(1, len(scores)) for scores in (base, model)]
    worse = "\n\n**On these sets this model is not better than its base.**" if base and means[1] <= means[0] else ""
    return (
        "\n".join(
            [
                f"nDCG@10 on development sets (exact search, texts read {read}):\n",
                "| set | base | this model |",
                "|---|---|---|",
                *lines,
            ]
        )
        + worse
    )


def _training(recipe: Recipe, manifests: dict[str, dict[str, Any]], folder: Path) -> str:
    last = recipe.of_round(recipe.negatives.rounds)  # what the rows and versions of the manifests are of
    train = last.train
    rows = manifests["triplets"]["summary"]["rows"]
    dims = f", Matryoshka dimensions {', '.join(map(str, train.matryoshka_dims))}" if train.matryoshka_dims else ""
    versions = manifests["train"]["versions"]
    rounds = f"{recipe.negatives.rounds} rounds, the last of " if recipe.negatives.rounds > 1 else ""
    length = f"{train.epochs:g} epoch(s)" + (f", at most {train.max_steps} batches" if train.max_steps else "")
    mined = train.negatives_per_query if last.negatives.method != "none" else 0
    negatives = (
        f"{mined} hard negative(s) a query mined by `{last.negatives.method}`"
        if mined
        else "no hard negatives of a row's own"
    )
    positions = model_files.position_limit(model_files.read_json(folder / "config.json"))
    query, passage = (min(tokens, positions) for tokens in (train.max_query_tokens, train.max_passage_tokens))
    return (
        f"{rounds}{rows:,} rows, {length}, batches of {train.batch_size}, loss `{train.loss}` at temperature {train.temperature:g}{dims}, "
        f"learning rate {train.learning_rate:g}, {negatives}, queries cut at {query} and passages at {passage} tokens. "
        f"sentence-transformers {versions.get('sentence-transformers', '?')}, torch {versions.get('torch', '?')}."
    )


def _rows(summary: dict[str, Any]) -> str:
    return ", ".join(f"`{name}` {count:,}" for name, count in summary["counts"].items())


def _software() -> str:
    """The package's version and, in a checkout of it, the commit: a repository around an installed package is the user's."""
    version = f"medembed {__version__}"
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or not (root / "pyproject.toml").is_file():
        return version
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        # describe --dirty would write the index anew
        changed = _git(root, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version} at commit `{commit}{'-dirty' if changed else ''}`"


def _git(root: Path, *words: str) -> str:
    """What git says."""
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=5)
    return done.stdout.strip()


def _onnx_section(recipe: Recipe, folder: Path) -> str:
    """Lines that use the ONNX file with fastembed, where there is one."""
    if not (folder / "onnx" / "model.onnx").is_file():
        return ""
    pooling = border.read_json_object(folder / "1_Pooling" / "config.json", error=CorruptFileError)
    kind = "CLS" if pooling.get("pooling_mode_cls_token") or pooling.get("pooling_mode") == "cls" else "MEAN"
    dimension = border.read_json_object(folder / "config.json", error=CorruptFileError)["hidden_size"]
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
