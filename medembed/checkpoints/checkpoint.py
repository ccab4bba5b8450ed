"""A model's name → a folder on this disk and what it says of itself: bundled, local, cached or downloaded."""

import os
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from medembed.checkpoints import hub, model_files, shortening, tensors
from medembed.checkpoints.registry import BUNDLED, MODELS, ModelSpec, unknown_model
from medembed.errors import BadWeightsError, MissingFileError, SettingError
from medembed.storage.durable import write_folder

BUNDLED_FOLDER = Path(__file__).parents[1] / "weights" / BUNDLED
# what makes a dense model's folder a late-interaction model's too, and the file in it that says for which weights it was made
HEAD, MADE_FOR = "late_interaction", "made_for.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Checkpoint:
    """A model whose files are on this disk.

    Attributes:
        folder: Where its files are.
        spec: What is known of it, completed from its files.
        config: Its ``config.json``.
        revision: The commit it is pinned to, or ``sha256-…`` of its files.
        late_interaction: Whether it gives a vector a token.
        head: Where the settings and projections of a late-interaction model are: ``folder``, or a folder in it where a dense
            model brings late interaction along.
    """

    folder: Path
    spec: ModelSpec
    config: dict[str, Any]
    revision: str
    late_interaction: bool
    head: Path


def fetch(
    model: str,
    *,
    revision: str | None = None,
    cache_dir: str | None = None,
    local_files_only: bool = False,
    late_interaction: bool | None = False,
) -> Checkpoint:
    """Find a model on this disk, or download it at a pinned commit.

    Args:
        model: A registry name, a hub id (``organisation/model``) or the path of a folder.
        revision: Commit, tag or branch to use instead of the pinned one; hub models only.
        cache_dir: Where downloads are kept; None for the Hugging Face cache.
        local_files_only: Never use the network.
        late_interaction: Whether a model with a vector a token is wanted, or one with a vector a text; None for either, and
            then a dense model that brings late interaction along is a dense one.

    Returns:
        The model's files and description.

    Raises:
        UnknownModelError: No such name, and it looks like neither a hub id nor a folder.
        ModelNotCachedError: Not on this disk, and downloading is off or failed.
        CheckpointError: The files cannot be loaded.
        SettingError: ``revision`` for a model that has none.
    """
    known = MODELS.get(model) or _foreign(model)
    if known.repo is None:
        if revision is not None:
            raise SettingError(
                f"revision={revision!r} was given, but {model!r} is a folder on this disk, not a hub model: leave revision out"
            )
        folder = BUNDLED_FOLDER if model == BUNDLED else Path(model).expanduser()
        return _described(folder, known, late_interaction)
    commit, folder = hub.snapshot(
        known.repo, revision or known.revision, cache_dir=cache_dir, local_files_only=local_files_only
    )
    return _described(folder, replace(known, revision=commit), late_interaction)


def _foreign(model: str) -> ModelSpec:
    """The spec of a folder or a hub id that the registry does not know."""
    is_path = Path(model).expanduser().is_dir() or model.startswith((".", "/", "~"))
    if not is_path and not HUB_ID.fullmatch(model):
        raise unknown_model(model)
    # pooling stays "mean" where the folder names none, as sentence-transformers does
    return ModelSpec(
        name=model, repo=None if is_path else model, revision=None, dimension=0, max_seq_length=0, pooling="mean"
    )


def _described(folder: Path, known: ModelSpec, late_interaction: bool | None) -> Checkpoint:
    if not folder.is_dir():
        raise MissingFileError(
            f"there is no folder {folder}: give the path of a folder that holds config.json, tokenizer.json and model.safetensors"
        )
    config = model_files.read_config(folder)
    if not (folder / "tokenizer.json").is_file():
        raise MissingFileError(
            f"{folder} has no tokenizer.json. Write it once with: "
            "python -c \"from transformers import AutoTokenizer as T; T.from_pretrained('FOLDER').save_pretrained('FOLDER')\""
        )
    tensors.weight_files(folder)  # says what is wrong with the weights before anything is loaded
    head = _head(folder) if late_interaction else folder
    # hashed at once (25 ms for mini) and not when asked for: by then the folder may hold other weights than those running
    revision = known.revision or tensors.fingerprint(folder, head)
    spec = model_files.describe(head, known, config, late_interaction=late_interaction)
    is_late = model_files.is_late_interaction(head, config)
    return Checkpoint(folder, spec, config, revision, is_late, head)


def _head(folder: Path) -> Path:
    """Where a folder's late interaction is described: in the folder itself, or beside the encoder it was made for."""
    head = folder / HEAD
    if not head.is_dir():
        return folder
    told, is_now = model_files.read_json(head / MADE_FOR).get("encoder"), tensors.fingerprint(folder)
    if told != is_now:
        raise BadWeightsError(
            f"{head} was made for an encoder of {told}, but {folder} is {is_now}: train it again over this encoder "
            "(recipe mini/colbert) and put it there with python -m medembed.recipes.bundle"
        )
    return head


def export(checkpoint: Checkpoint, target: Path) -> None:
    """Write a model as plain float32 safetensors, as sentence-transformers, transformers and trainers read it.

    Args:
        checkpoint: A model on this disk, compact or not.
        target: Folder to write; must not exist yet.

    Raises:
        SettingError: ``target`` exists.
        WriteError: It cannot be written, or the disk is full.
    """
    if os.path.lexists(target):
        raise SettingError(f"{target} exists already: choose a new folder")
    write_folder(target, partial(_write_plain, checkpoint))


def _write_plain(checkpoint: Checkpoint, folder: Path) -> None:
    import shutil

    from safetensors.numpy import save_file

    skip = shutil.ignore_patterns(
        "*.safetensors", "*.safetensors.index.json", "*.bin", "*.onnx", "vector_ranges.json", HEAD, MADE_FOR
    )
    shutil.copytree(checkpoint.folder, folder, ignore=skip, dirs_exist_ok=True)
    if (checkpoint.folder / shortening.FILE).is_file():
        shutil.copyfile(checkpoint.folder / shortening.FILE, folder / shortening.FILE)
    if checkpoint.late_interaction:
        shutil.copytree(checkpoint.head, folder, ignore=skip, dirs_exist_ok=True)
        for path in checkpoint.head.glob(f"*/{tensors.WHOLE}"):
            save_file(
                tensors.read_tensors(path.parent), folder / path.parent.name / path.name, metadata={"format": "pt"}
            )
    save_file(tensors.read_tensors(checkpoint.folder), folder / tensors.WHOLE, metadata={"format": "pt"})
