"""Models as recipes name them: their identity in fingerprints, and encoders to mine and score with."""

import warnings
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
from medembed.recipes.reporting import Task
from medembed.recipes.schema import Base, Execution, Recipe
from medembed.runtime.tokenizer import TruncationWarning

TEXTS_A_PART = 8192


def model_identity(model: str, revision: str | None = None) -> str:
    """What a model is, as it enters fingerprints: ``repo@commit``, or a hash of local weights.

    A hub model with a given commit is not fetched for this.
    """
    if revision is not None and not _is_local(model):
        return f"{model}@{revision}"
    known = MODELS.get(model)
    if known is not None and known.repo is not None and known.revision is not None:
        return f"{known.repo}@{known.revision}"
    return checkpoint.fetch(model).revision


def base_identity(base: Base) -> dict[str, str | None]:
    """Identity of the base model and its prompts."""
    return {
        "model": model_identity(base.model, base.revision),
        "query_prompt": base.query_prompt,
        "document_prompt": base.document_prompt,
    }


def base_folder(base: Base) -> checkpoint.Checkpoint:
    """The base model's files, fetched if they are not here."""
    return checkpoint.fetch(base.model, revision=None if _is_local(base.model) else base.revision)


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


def miner(recipe: Recipe, name: str, previous: Artifact | None) -> tuple[str, str | None]:
    """Model and revision that a stage's ``model`` setting means: ``"base"``, the previous round's model, or a name."""
    if previous is not None:
        return str(previous.folder / "model"), None
    if name in ("base", "previous_round"):
        return recipe.base.model, None if _is_local(recipe.base.model) else recipe.base.revision
    return name, None


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        return encoder.encode(list(texts), prompt=prompt or None, show_progress=False)


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
    """To a file of any name; ``np.save`` would add an ending of its own to a path."""
    with path.open("wb") as file:
        np.save(file, array)


def _is_local(model: str) -> bool:
    return model.startswith((".", "/", "~")) or Path(model).expanduser().is_dir()
