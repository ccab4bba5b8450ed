"""A model's name → a folder on this disk and what it says of itself: bundled, local, cached or downloaded."""

import os
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from medembed import border
from medembed.checkpoints import hub, keys, model_files, remedies, shortening, tensor_files, tensors
from medembed.checkpoints.files import ModelFiles
from medembed.checkpoints.registry import BUNDLED, MODELS, ModelSpec, unknown_model
from medembed.checkpoints.steps import Step
from medembed.checkpoints.tensor_files import Tensors
from medembed.checkpoints.tokenizer_settings import TokenizerSettings
from medembed.errors import BadWeightsError, CorruptFileError, MissingFileError, SettingError
from medembed.storage.durable import write_folder

BUNDLED_FOLDER = Path(__file__).parents[1] / "weights" / BUNDLED
# what makes a dense model's folder a late-interaction model's too, and the file in it that says for which weights it was made
HEAD, MADE_FOR = "late_interaction", "made_for.json"
# what an export copies as it is, and what belongs to the compact form alone
SETTINGS = (".json", ".txt", ".model", ".md", ".metadata")
NOT_EXPORTED = ("vector_ranges.json", tensors.INDEX)
# begins the revision of a model that is known by its files, not by a commit
BY_FILES = "sha256-"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Checkpoint:
    """A model whose files are on this disk.

    Attributes:
        folder: Where its files are.
        spec: What is known of it, completed from its files.
        config: Its ``config.json``.
        revision: The commit it is pinned to, or ``sha256-…`` of its files.
        late_interaction: Whether it gives one vector per token.
        head: Where the settings and projections of a late-interaction model are: ``folder``, or a folder in it where a dense
            model brings late interaction along.
        files: Its files, as they were read.
        steps: What is done to the encoder's states.
        width: Length of a token's state.
        tokenizer: What is done to its ``tokenizer.json``.
    """

    folder: Path
    spec: ModelSpec
    config: dict[str, Any]
    revision: str
    late_interaction: bool
    head: Path
    files: ModelFiles
    steps: tuple[Step, ...]
    width: int
    tokenizer: TokenizerSettings

    def files_hash(self) -> str:
        """SHA-256 over its files as they were read. For a folder it is the revision, whatever the folder holds by now.

        Raises:
            CheckpointError: Weights of a hub model that have changed since.
        """
        return self.revision if self.revision.startswith(BY_FILES) else _fingerprint(self.files, self.head, self)


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
        late_interaction: Whether a model with one vector per token is wanted, or one with one vector per text; None for
            either, and then a dense model that brings late interaction along is a dense one.

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
    files = ModelFiles(folder)
    head = _head(files) if late_interaction else folder
    about = model_files.describe(files, head, known, late_interaction=late_interaction)
    if files.read(files.encoder / "tokenizer.json") is None:
        raise MissingFileError(
            f"{files.encoder} has no tokenizer.json. Write it once with: {remedies.write_tokenizer(folder)}"
        )
    files.weights()  # says what is wrong with the files before anything is loaded
    # hashed at once (25 ms for mini) and not when asked for: by then the folder may hold other weights than those running
    revision = known.revision or _fingerprint(files, head, about)
    return Checkpoint(
        folder=folder, spec=about.spec, config=about.config, revision=revision, late_interaction=about.late_interaction,
        head=head, files=files, steps=about.steps, width=about.width, tokenizer=about.tokenizer,
    )  # fmt: skip


def fingerprint(folder: Path) -> str:
    """SHA-256 over a dense model's folder as it is now: what ``fetch(folder).revision`` says of a folder.

    Args:
        folder: A model folder.

    Returns:
        ``"sha256-"`` and the first twelve hexadecimal digits.

    Raises:
        CheckpointError: The folder holds no model that runs here.
    """
    files = ModelFiles(folder)
    return _fingerprint(
        files, folder, model_files.describe(files, folder, _foreign(str(folder)), late_interaction=None)
    )


def _fingerprint(files: ModelFiles, head: Path, about: model_files.Description | Checkpoint) -> str:
    modules = model_files.read_modules(head, files)
    extra = [
        path / name
        for _, path in modules
        for name in ("config.json", tensors.WHOLE)
        if about.steps and path != files.encoder
    ]
    extra += [
        path / name for kind, path in modules if kind == model_files.TRANSFORMER for name in keys.SENTENCE_CONFIGS
    ]
    return files.fingerprint(head, tuple(extra), about.tokenizer.remark)


def _head(files: ModelFiles) -> Path:
    """The folder that describes a folder's late interaction.

    It is the folder itself, or one beside the encoder that it was made for.
    """
    folder = files.folder
    head = folder / HEAD
    if not head.is_dir():
        return folder
    dense = model_files.describe(files, folder, _foreign(str(folder)), late_interaction=None)
    told, is_now = files.json(head / MADE_FOR).get("encoder"), _fingerprint(files, folder, dense)
    if told != is_now:
        raise BadWeightsError(
            f"{head} was made for another encoder than {folder} holds ({is_now}): train it again over this encoder "
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
    source, head, files = checkpoint.folder, checkpoint.head, checkpoint.files
    _copy_settings(source, source, folder)
    if files.encoder != source:
        _copy_settings(files.encoder, source, folder)
    if (source / shortening.FILE).is_file():
        tensor_files.write(tensors.read_file(source / shortening.FILE), folder / shortening.FILE)
    if checkpoint.late_interaction and head != source:
        _copy_settings(head, head, folder)
    for _, module in model_files.read_modules(head, files):
        if module not in (head, source, files.encoder) and module.is_dir():
            _copy_settings(module, head, folder)
            if (module / tensors.WHOLE).is_file():
                _write_weights(files.weights(module).read(), folder / module.relative_to(head))
    _write_weights(files.weights().read(), folder / files.encoder.relative_to(source))


def _copy_settings(source: Path, root: Path, target: Path) -> None:
    """Copy a folder's settings, tokenizer and card: regular files of those kinds only, links followed."""
    place = target / source.relative_to(root)
    place.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.suffix in SETTINGS and path.name not in (*NOT_EXPORTED, MADE_FOR) and not path.is_dir():
            content = border.read_bytes(path, most=border.MOST_JSON_BYTES, error=CorruptFileError)
            (place / path.name).write_bytes(content)


def _write_weights(weights: Tensors, folder: Path) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / tensors.WHOLE, metadata={"format": "pt"})
