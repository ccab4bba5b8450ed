"""Callbacks of the trainer: progress, whole checkpoints, the best model so far."""

# The trainer passes every argument by name, so a callback takes those it does not use too.
# ruff: noqa: ARG002

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from medembed import border
from medembed.errors import RecipeError
from medembed.recipes.reporting import Task
from medembed.storage import paths
from medembed.storage.durable import file_sha256, write_folder, write_text_whole

WHOLE = "whole"  # marks a checkpoint that was written to its end, and holds the hashes of its files
BEST_SCORE = "eval_sequential_score"


class Progress(TrainerCallback):
    """Counts pairs and logs the loss."""

    def __init__(self, task: Task, batch_size: int) -> None:
        self._task, self._batch_size = task, batch_size

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell how much there is to do. A resumed run starts where it was."""
        self._task.expect(state.max_steps * self._batch_size)
        self._task.advance(state.global_step * self._batch_size)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One more batch."""
        self._task.advance(self._batch_size)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Figures only: loss, learning rate, scores."""
        figures = {name: value for name, value in (logs or {}).items() if isinstance(value, int | float)}
        self._task.log("training", step=state.global_step, **figures)


class WholeCheckpoints(TrainerCallback):
    """Marks a checkpoint once all of it is on disk: a killed process leaves half of one behind."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint that was just written."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_text_whole(folder / WHOLE, json.dumps(_hashes(folder)))


class KeepBest(TrainerCallback):
    """Saves the model whenever the development score is the best so far."""

    def __init__(self, folder: Path, save: Callable[[Any, Path], None]) -> None:
        self._folder, self._save = folder, save

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any], model: Any = None, **_: Any
    ) -> None:
        """Compare and save. A later score has to be better, not equal."""
        if not state.is_world_process_zero or BEST_SCORE not in metrics:
            return
        found = float(metrics[BEST_SCORE])
        if (held := best_so_far(self._folder)) is not None and held["score"] >= found:
            return
        write_folder(self._folder / "model", partial(self._save, model))
        write_text_whole(self._folder / "best.json", json.dumps({"score": found, "step": state.global_step}))


def best_so_far(folder: Path) -> dict[str, Any] | None:
    """Score and step of the best model, or None where nothing was saved."""
    try:
        best = border.read_json_object(folder / "best.json", error=RecipeError)
    except (FileNotFoundError, RecipeError):
        return None
    told = isinstance(best.get("score"), float) and isinstance(best.get("step"), int)
    return best if told and (folder / "model").is_dir() else None


def last_checkpoint(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The newest whole and undamaged checkpoint. Newer ones are deleted.

    Args:
        folder: Holds the checkpoints.
        say: Tells a person of a damaged one.
    """
    for path in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2])):
        if not (path / WHOLE).is_file():
            paths.remove_folder(folder, path.name)  # killed while it was written
            continue
        if _is_undamaged(path):
            return path
        say(f"{path} is damaged: training goes on at the checkpoint before it")
        paths.remove_folder(folder, path.name)
    return None


def _is_undamaged(checkpoint: Path) -> bool:
    try:
        return border.read_json(checkpoint / WHOLE, error=RecipeError) == _hashes(checkpoint)
    except RecipeError:
        return False


def _hashes(checkpoint: Path) -> dict[str, str]:
    """Hash of each file by name, but for the random states that other processes write in their own time."""
    files = (path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != WHOLE)
    return {
        path.relative_to(checkpoint).as_posix(): file_sha256(path)
        for path in files
        if not path.name.startswith("rng_state_")
    }


def save_plain(model: Any, folder: Path, dropouts: dict[str, float]) -> None:
    """Save as plain float32 safetensors: adapters merged into the weights, dropout as the base has it."""
    inner = model.module if hasattr(model, "module") else model
    if _has_adapters(inner):
        inner = copy.deepcopy(inner)
        _merge_adapters(inner)
    encoder = inner[0].auto_model
    trained = {name: getattr(encoder.config, name) for name in dropouts}
    # BERT's pooler is used by nothing here; where the base has none, it would be saved with random weights
    pooler = getattr(encoder, "pooler", None)
    try:
        for name, value in dropouts.items():
            setattr(encoder.config, name, value)
        if pooler is not None:
            encoder.pooler = None
        inner.save_pretrained(str(folder), create_model_card=False)
    finally:
        for name, value in trained.items():
            setattr(encoder.config, name, value)
        if pooler is not None:
            encoder.pooler = pooler


def _has_adapters(model: Any) -> bool:
    return any(hasattr(module, "lora_A") for module in model.modules())


def _merge_adapters(model: Any) -> None:
    """Fold every adapter into the layer it sits on and put that layer back in its place."""
    for name, layer in [(name, module) for name, module in model.named_modules() if hasattr(module, "lora_A")]:
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    transformer = model[0].auto_model
    transformer._hf_peft_config_loaded = False
    transformer.__dict__.pop("peft_config", None)
