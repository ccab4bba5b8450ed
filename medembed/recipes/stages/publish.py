"""Stage ``publish``: a folder that MedEmbed, sentence-transformers and transformers load alike."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from medembed.checkpoints import checkpoint, keys, lengths, model_files
from medembed.errors import PublishError, RecipeConfigError
from medembed.extras import require
from medembed.recipes import cards, models
from medembed.recipes.execution import Execution
from medembed.recipes.fingerprint import told
from medembed.recipes.records import Triplet, read_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stage import Stage, StageRun, Summary
from medembed.recipes.training import directions
from medembed.storage.durable import LISTING, is_ours, write_folder, write_listing


def config(recipe: Recipe, places: Places, _round: int) -> Any:
    """The settings of ``publish``, and the words of the card that no input tells."""
    sources = {**recipe.notes.sources, **recipe.pairs.sources}
    said = {
        name: source.model_dump(mode="json", include={"dataset", "origin", "license", "attribution"})
        for name, source in sources.items()
    }
    return {
        "publish": recipe.publish,
        "name": recipe.name,
        "description": recipe.description,
        "base": cards.name_of(recipe.base.model),
        "anchor": None if recipe.merge.anchor is None else cards.name_of(recipe.merge.anchor),
        "sources": said,
        "prompts": models.base_identity(recipe, places),
        **told(recipe.card.model_dump()),
    }


def run(stage: StageRun) -> Summary:
    """Copy the merged model, write its card and, on request, its ONNX file."""
    folder = stage.out.write_folder("model", lambda target: _write_model(stage, target))
    return {"files": sum(1 for path in folder.rglob("*") if path.is_file())}


def check_out(out: Path | None) -> None:
    """Refuse, before anything is built, to replace a folder that no recipe published: it would be lost.

    Raises:
        RecipeConfigError: ``execution.out`` is a file or a link, or a folder with anything that a recipe did not put there.
        UnsafePathError: ``execution.out`` holds a link.
    """
    if out is not None and os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or not is_ours(out)):
        raise RecipeConfigError(
            f"execution.out={out} exists, and is not a model folder as a recipe published it, unchanged (see {LISTING} in such a "
            "one): replacing it would remove files of yours. Name a new folder"
        )


def deliver(folder: Path, execution: Execution) -> dict[str, str]:
    """Bring the published folder to where this run wants it, also when it was built by an earlier one.

    Args:
        folder: The publish stage's model folder.
        execution: Names a folder, a hub repository, both or neither.

    Returns:
        What was done → where it now is.

    Raises:
        PublishError: The hub cannot be reached or refuses the upload; the built folder stays.
    """
    done: dict[str, str] = {}
    if execution.out is not None:
        _copy_out(folder, execution.out)
        done["copied to"] = str(execution.out)
    if execution.push_to_hub is not None:
        done["pushed to"] = _push(folder, execution.push_to_hub)
    return done


def _write_model(stage: StageRun, target: Path) -> None:
    recipe = stage.recipe
    shutil.copytree(stage.inputs["merge"].folder / "model", target, dirs_exist_ok=True)
    prompts = models.base_prompts(recipe.base, models.base_files(recipe, stage.places))
    _declare(target / keys.SENTENCE_CONFIG, "prompts", prompts)
    # also where the recipe names none: the base's files may not agree with one another
    declare_length(
        target,
        recipe.publish.max_seq_length or checkpoint.fetch(str(target), late_interaction=None).spec.max_seq_length,
    )
    if recipe.publish.short_dims:
        rows = read_parquet(stage.inputs["triplets"].parts("train"), Triplet)
        directions.learn_for(target, rows, recipe.publish.short_dims, recipe, stage.task)
    if recipe.publish.onnx:
        from medembed.recipes.onnx_export import export

        export(target)
    card = cards.model_card(recipe, {role: artifact.manifest for role, artifact in stage.inputs.items()}, target)
    (target / "README.md").write_text(card, encoding="utf-8")


def declare_length(folder: Path, max_seq_length: int) -> None:
    """Write how far a model reads into the files where sentence-transformers, transformers and MedEmbed look for it.

    Raises:
        RecipeConfigError: The model has fewer positions. Only this stage is left to do again.
    """
    positions = model_files.position_limit(model_files.read_json(folder / "config.json"))
    if max_seq_length > positions:
        raise RecipeConfigError(
            f"publish.max_seq_length is {max_seq_length}, but the model has {positions} positions: name at most {positions}"
        )
    lengths.declare(folder, max_seq_length)


def _declare(path: Path, key: str, value: object) -> None:
    """Set one key of a model's settings file, which need not exist yet."""
    path.write_text(json.dumps(model_files.read_json(path) | {key: value}, indent=2) + "\n", encoding="utf-8")


def _copy_out(folder: Path, out: Path) -> None:
    """Copy to the place that the user wants. A half-copied model is never found there."""
    check_out(out)  # hours may have passed since the start

    def fill(target: Path) -> None:
        shutil.copytree(folder, target, dirs_exist_ok=True)
        write_listing(target)

    write_folder(out, fill)


def _push(folder: Path, repo: str) -> str:
    """Upload to the hub with the user's own login. Returns the commit's address."""
    hub = require("huggingface_hub")
    try:
        api = hub.HfApi()
        api.create_repo(repo, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=str(folder), commit_message="Model built by medembed.recipes"
        )
    except (OSError, ValueError, hub.errors.HfHubHTTPError, hub.errors.OfflineModeIsEnabled) as error:
        raise PublishError(
            f"{repo} cannot be pushed ({type(error).__name__}). Log in with `hf auth login` as someone who may write there, then run the "
            f"same command: only the upload is left to do. The model is in {folder}"
        ) from error
    return str(commit.commit_url)


STAGE = Stage("publish", 2, "a folder others load", config, run)
