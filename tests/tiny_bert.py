"""A BERT of a few thousand weights, made on the spot: real files, real engine, milliseconds."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from medembed.checkpoints.checkpoint import BUNDLED_FOLDER
from medembed.runtime.engines import kernel_engine
from medembed.runtime.engines.bert_shape import BertShape

CONFIG: Mapping[str, Any] = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "vocab_size": 30522,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "pad_token_id": 0,
}


def weights(config: Mapping[str, Any] = CONFIG, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights that fit a configuration; norms are near one, as in a trained model."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in BertShape(config).expected().items():
        centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        made[name] = (centre + rng.normal(0, 0.1, shape)).astype(np.float32)
    return made


def make(
    folder: Path,
    *,
    pooling: str = "mean_tokens",
    prompts: Mapping[str, str] | None = None,
    similarity: str = "cosine",
    normalize: bool = True,
    config: Mapping[str, Any] | None = None,
    lead: str = "",
) -> Path:
    """Write a folder as sentence-transformers lays it out."""
    config = {**CONFIG, **(config or {})}
    (folder / "1_Pooling").mkdir(parents=True)
    _write(folder / "config.json", config)
    _write(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": config["hidden_size"], f"pooling_mode_{pooling}": True},
    )
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    _write(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ])  # fmt: skip
    (folder / "2_Normalize").mkdir()
    _write(
        folder / "config_sentence_transformers.json", {"prompts": dict(prompts or {}), "similarity_fn_name": similarity}
    )
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(BUNDLED_FOLDER / name, folder / name)
    save_file(
        {lead + name: array for name, array in weights(config).items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def without_kernels(config: Mapping[str, Any]) -> str | None:
    """The reason why medembed-kernels does not run a configuration here; None where it does."""
    if not kernel_engine.installed():
        return "medembed-kernels is not installed: make test-kernels"
    return kernel_engine.missing({**CONFIG, **config})
