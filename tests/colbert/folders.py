"""Late-interaction models of a few thousand weights in the three layouts that exist, made on the spot."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer

from tests import tiny_bert

WIDTH = 32
HIDDEN = 64


def projection(seed: int = 5, width: int = WIDTH, hidden: int = HIDDEN) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.2, (width, hidden)).astype(np.float32)


def stanford(folder: Path, **metadata: Any) -> Path:
    """As colbert-ir/colbertv2.0 is laid out: one folder, the projection beside the encoder, settings in artifact.metadata."""
    tiny_bert.make(folder, config={"architectures": ["HF_ColBERT"]}, lead="bert.")
    for leftover in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / leftover).unlink()
    for leftover in ("1_Pooling", "2_Normalize"):
        shutil.rmtree(folder / leftover)
    weights = load_file(folder / "model.safetensors") | {"linear.weight": projection()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    told = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": 16,
        "doc_maxlen": 40,
        **metadata,
    }
    _write(folder / "artifact.metadata", told)
    return folder


def pylate(folder: Path, **settings: Any) -> Path:
    """As PyLate saves a model: two tokens added for the prefixes, settings at the top of one file."""
    tiny_bert.make(folder, config={"vocab_size": 30524})
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("[Q] ", normalized=True), AddedToken("[D] ", normalized=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    shutil.rmtree(folder / "1_Pooling")
    shutil.rmtree(folder / "2_Normalize")
    _dense(folder / "1_Dense")
    _modules(folder, [("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense")])
    told = {
        "model_type": "ColBERT", "prompts": {}, "similarity_fn_name": "MaxSim", "query_prefix": "[Q] ", "document_prefix": "[D] ",
        "query_length": 16, "document_length": 40, "attend_to_expansion_tokens": False, "skiplist_words": list("!,.;:?"),
        "do_query_expansion": True, **settings,
    }  # fmt: skip
    _write(folder / "config_sentence_transformers.json", told)
    return folder


def sentence_transformers(
    folder: Path,
    *,
    transformer: Mapping[str, Any] | None = None,
    mask: Mapping[str, Any] | None = None,
    pooling: Mapping[str, Any] | None = None,
    similarity: str = "maxsim",
    bias: bool = False,
) -> Path:
    """As sentence-transformers 6 saves a MultiVectorEncoder: settings with each module."""
    tiny_bert.make(folder)
    shutil.rmtree(folder / "1_Pooling")
    shutil.rmtree(folder / "2_Normalize")
    lead = "sentence_transformers."
    modules = [
        ("", f"{lead}base.modules.transformer.Transformer"),
        ("1_Dense", f"{lead}base.modules.dense.Dense"),
        ("2_MultiVectorMask", f"{lead}multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"),
        ("3_Normalize", f"{lead}base.modules.normalize.Normalize"),
    ]
    _dense(folder / "1_Dense", bias=bias)
    settings = {"skiplist_words": [], "skiplist_tasks": ["document"], "keep_only_token_ids": None, **(mask or {})}
    _write(folder / "2_MultiVectorMask" / "config.json", settings)
    _write(folder / "3_Normalize" / "config.json", {"module_input_name": "token_embeddings"})
    if pooling:
        modules.append(
            ("4_HierarchicalTokenPooling", f"{lead}multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling")
        )
        _write(folder / "4_HierarchicalTokenPooling" / "config.json", pooling)
    _modules(folder, modules)
    prompts = {"query": "query: ", "document": "passage: "}
    told = {"model_type": "MultiVectorEncoder", "prompts": prompts, "similarity_fn_name": similarity}
    _write(folder / "config_sentence_transformers.json", told)
    own = {"module_output_name": "token_embeddings", "max_seq_length": 64, **(transformer or {})}
    _write(folder / "sentence_bert_config.json", own)
    return folder


def _dense(folder: Path, *, bias: bool = False) -> None:
    told = {
        "in_features": HIDDEN, "out_features": WIDTH, "bias": bias,
        "activation_function": "torch.nn.modules.linear.Identity", "module_input_name": "token_embeddings",
    }  # fmt: skip
    _write(folder / "config.json", told)
    weights = {"linear.weight": projection()}
    if bias:
        weights["linear.bias"] = projection()[:, 0].copy()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _modules(folder: Path, modules: list[tuple[str, str]]) -> None:
    listed = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)]
    _write(folder / "modules.json", listed)


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
