"""Models as recipes name them: their identity in fingerprints, and encoders to mine and score with."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints import checkpoint
from medembed.checkpoints.registry import MODELS
from medembed.model import MedEmbed
from medembed.recipes.artifacts import Artifact, ArtifactWriter
from medembed.recipes.execution import Execution
from medembed.recipes.reporting import Task
from medembed.recipes.schema import Base, Recipe
from medembed.recipes.sources import Places

TEXTS_A_PART = 8192
MADE = "recipe:"  # how a recipe names the model that another recipe makes


def identity(places: Places, model: str, revision: str | None = None, *, late_interaction: bool = False) -> str:
    """Identity of a model in fingerprints: ``repo@commit``, a hash of local files, or the stage that makes it.

    A hub model with a given commit is not fetched for this.

    Args:
        places: Where models that other recipes make are.
        model: As the recipe names it.
        revision: Commit of a hub model.
        late_interaction: Whether its vectors of tokens are what is used.
    """
    if is_made(model):
        return places.models[model].identity
    if revision is not None and not _is_local(model):
        return f"{model}@{revision}"
    known = MODELS.get(model)
    if known is not None and known.repo is not None and known.revision is not None:
        return f"{known.repo}@{known.revision}"
    read = (model, late_interaction)
    if read not in places.hashes:
        places.hashes[read] = checkpoint.fetch(model, late_interaction=late_interaction or None).revision
    content = places.hashes[read]
    return places.same.get(content, content)


def is_made(model: str) -> bool:
    """Tell whether a name stands for a model that another recipe makes."""
    return model.startswith(MADE)


def base_identity(recipe: Recipe, places: Places) -> dict[str, str | None]:
    """Identity of the base model and its prompts."""
    base = recipe.base
    return {
        "model": identity(places, base.model, base.revision),
        "query_prompt": base.query_prompt,
        "document_prompt": base.document_prompt,
    }


def fetch(places: Places, model: str, revision: str | None = None) -> checkpoint.Checkpoint:
    """A model's files, fetched if they are not here."""
    if is_made(model):
        return checkpoint.fetch(str(places.models[model].folder))
    return checkpoint.fetch(model, revision=None if _is_local(model) else revision)


def base_files(recipe: Recipe, places: Places) -> checkpoint.Checkpoint:
    """The base model's files, fetched if they are not here."""
    return fetch(places, recipe.base.model, recipe.base.revision)


def path_or_name(places: Places, model: str) -> str:
    """Folder of a model that another recipe makes, else its own name."""
    return str(places.models[model].folder) if is_made(model) else model


def base_prompts(base: Base, found: checkpoint.Checkpoint) -> dict[str, str]:
    """Prompts in training as in use: the recipe's where it names any, else the model's own."""
    return {
        "query": found.spec.prompts["query"] if base.query_prompt is None else base.query_prompt,
        "document": found.spec.prompts["document"] if base.document_prompt is None else base.document_prompt,
    }


def load_encoder(
    model: str | Path, execution: Execution, *, revision: str | None = None, max_seq_length: int | None = None
) -> MedEmbed:
    """A model to encode with, on the device the run was told to use."""
    return MedEmbed(
        str(model), device=execution.device, threads=execution.threads, revision=revision, max_seq_length=max_seq_length
    )


def miner(recipe: Recipe, places: Places, previous: Artifact | None = None) -> tuple[str, str | None]:
    """Model and revision to mine with: the previous round's model, where there is one, else the base."""
    if previous is not None:
        return str(previous.folder / "model"), None
    base = recipe.base
    return path_or_name(places, base.model), None if is_made(base.model) or _is_local(base.model) else base.revision


def encode_in_parts(
    encoder: MedEmbed, texts: Sequence[str], out: ArtifactWriter, kind: str, task: Task, *, prompt: str
) -> list[Path]:
    """Encode texts into ``.npy`` parts, skipping those that are there.

    Args:
        encoder: The model.
        texts: What to encode.
        out: The stage's folder.
        kind: Name of the parts.
        task: Where to count.
        prompt: Text put before each, possibly empty.

    Returns:
        Files of float32 vectors of unit length, in the order of the texts; *shape* ``(≤ 8192, dim)`` each.
    """
    parts: list[Path] = []
    for index, start in enumerate(range(0, len(texts), TEXTS_A_PART)):
        some = texts[start : start + TEXTS_A_PART]
        parts.append(array_part(out, kind, index, partial(encode, encoder, some, prompt=prompt)))
        task.advance(min(TEXTS_A_PART, len(texts) - start))
    return parts


def encode(encoder: MedEmbed, texts: Sequence[str], *, prompt: str) -> NDArray[np.float32]:
    """Encode without a word about texts cut at the model's limit: mining and scoring cut them on purpose.

    Returns:
        Vectors of unit length. *Shape:* ``(n, dim)``.
    """
    return encoder.encode_counted(list(texts), prompt=prompt, show_progress_bar=False).vectors


def array_part(out: ArtifactWriter, kind: str, index: int, compute: Callable[[], NDArray[Any]]) -> Path:
    """A part of a stage that holds an array, as ``.npy``: the one that is there, or computed now.

    Args:
        out: The stage's folder.
        kind: Name of the group of parts.
        index: Number of the part.
        compute: Called only where the part is missing.
    """
    part = out.part(kind, index)
    if part is None:
        array = compute()
        part = out.write_part(kind, index, "npy", lambda path: _save_array(path, array))
    return part


def _save_array(path: Path, array: NDArray[Any]) -> None:
    """Save an array to a file of any name. ``np.save`` would add an ending of its own to a path."""
    with path.open("wb") as file:
        np.save(file, array)


def _is_local(model: str) -> bool:
    return model.startswith((".", "/", "~")) or Path(model).expanduser().is_dir()
