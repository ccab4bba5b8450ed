"""The limit of tokens that a model reads.

The same limit is written into every file that somebody looks for it in.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medembed.checkpoints import keys
from medembed.checkpoints.files import ModelFiles

SENTENCE = keys.SENTENCE_CONFIGS[0]


def declare(folder: Path, max_seq_length: int) -> None:
    """Write a length into all files of a folder.

    sentence-transformers and medembed read ``sentence_bert_config.json``, transformers ``model_max_length``, fastembed the smaller
    of that and ``max_length``, and the tokenizers library what stands in ``tokenizer.json``.

    Args:
        folder: A model folder, to be changed.
        max_seq_length: Tokens that the model reads, special tokens included.
    """
    files = ModelFiles(folder)
    _write(folder / SENTENCE, {**files.json(folder / SENTENCE), "max_seq_length": max_seq_length})
    settings = {**files.json(folder / keys.TOKENIZER), "model_max_length": max_seq_length}
    if "max_length" in settings:
        settings["max_length"] = max_seq_length
    _write(folder / keys.TOKENIZER, settings)
    tokenizer = files.json(folder / "tokenizer.json")
    truncation = tokenizer.get("truncation")
    if isinstance(truncation, dict) and truncation.get("max_length") != max_seq_length:
        changed = {**tokenizer, "truncation": {**truncation, "max_length": max_seq_length}}
        (folder / "tokenizer.json").write_text(
            json.dumps(changed, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
        )


def declared(folder: Path) -> dict[str, int]:
    """Read every length that a folder's files name.

    Args:
        folder: A model folder.

    Returns:
        Tokens by file and key.
    """
    files = ModelFiles(folder)
    settings = files.json(folder / keys.TOKENIZER)
    found = {
        f"{SENTENCE}: max_seq_length": files.json(folder / SENTENCE).get("max_seq_length"),
        f"{keys.TOKENIZER}: model_max_length": settings.get("model_max_length"),
        f"{keys.TOKENIZER}: max_length": settings.get("max_length"),
        "tokenizer.json: truncation.max_length": (files.json(folder / "tokenizer.json").get("truncation") or {}).get(
            "max_length"
        ),
    }
    return {name: value for name, value in found.items() if value is not None}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
