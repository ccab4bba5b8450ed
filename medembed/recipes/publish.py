"""Stage ``publish``: a folder that MedEmbed, sentence-transformers and transformers load alike. ``python -m medembed.recipes.publish``."""

import json
import shutil
from pathlib import Path
from typing import Any

from medembed.extras import require
from medembed.recipes import cards, models
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stage import Stage, StageRun, Summary


def config(recipe: Recipe, _places: Places, _round: int) -> Any:
    """Name, licence and files asked for, and what the card says of the data."""
    sources = {**recipe.notes.sources, **recipe.pairs.sources}
    said = {
        name: source.model_dump(mode="json", include={"origin", "licence", "attribution"})
        for name, source in sources.items()
    }
    return {"publish": recipe.publish, "sources": said, "prompts": models.base_identity(recipe.base)}


def run(stage: StageRun) -> Summary:
    """Copy the merged model, write its card and, on request, its ONNX file; push it when told to."""
    recipe = stage.recipe
    folder = stage.out.write_folder("model", lambda target: _write_model(stage, target))
    summary: Summary = {"files": sum(1 for path in folder.rglob("*") if path.is_file())}
    if recipe.execution.out is not None:
        _copy_out(folder, recipe.execution.out)
        summary["copied to"] = str(recipe.execution.out)
    if recipe.execution.push_to_hub is not None:
        summary["pushed to"] = _push(folder, recipe.execution.push_to_hub)
    return summary


def _write_model(stage: StageRun, target: Path) -> None:
    recipe = stage.recipe
    shutil.copytree(stage.inputs["merge"].folder / "model", target, dirs_exist_ok=True)
    _declare_prompts(recipe, target)
    if recipe.publish.onnx:
        from medembed.recipes.onnx_export import export

        export(target)
    card = cards.model_card(recipe, {role: artifact.manifest for role, artifact in stage.inputs.items()}, target)
    (target / "README.md").write_text(card, encoding="utf-8")


def _declare_prompts(recipe: Recipe, folder: Path) -> None:
    """Put the prompts of training where sentence-transformers and MedEmbed look for them."""
    path = folder / "config_sentence_transformers.json"
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    settings["prompts"] = models.base_prompts(recipe.base, models.base_folder(recipe.base))
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _copy_out(folder: Path, out: Path) -> None:
    """Copy to where the user wants it; aside first, so that a half-copied model is never found there."""
    aside = out.with_name(out.name + ".aside")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(folder, aside)
    shutil.rmtree(out, ignore_errors=True)
    aside.replace(out)


def _push(folder: Path, repo: str) -> str:
    """Upload to the hub with the user's own login; the card's text is the commit's."""
    api = require("huggingface_hub").HfApi()
    api.create_repo(repo, exist_ok=True)
    return str(
        api.upload_folder(repo_id=repo, folder_path=str(folder), commit_message="Model built by medembed.recipes")
    )


STAGE = Stage("publish", 1, "a folder others load", config, run)

if __name__ == "__main__":
    import sys

    from medembed.recipes.door import stage_main

    sys.exit(stage_main("publish"))
