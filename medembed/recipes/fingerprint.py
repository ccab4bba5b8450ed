"""One short hash of all that a stage's result depends on. Pure, except for the hashing of files."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from medembed.storage.durable import file_sha256

# Words of notes, pairs and filters, and of the card. Recipes that want them begin with medical.toml now.
_ONCE_IN_CODE = ("bd3998b53fd0", "ca4de21ec6b9", "974e9f47a155", "b73acafdb8c0")


def fingerprint(stage: str, version: int, config: Any, inputs: dict[str, str]) -> str:
    """SHA-256 of canonical JSON, cut to 12 hexadecimal digits.

    Args:
        stage: Name of the stage.
        version: Raised whenever the code of the stage starts to give other results.
        config: What the stage was told; JSON values and pydantic models.
        inputs: Fingerprints of the artefacts it reads.

    Example:
        >>> fingerprint("notes", 1, {"min_words": 20}, {})
        'd0c2f7d59827'
    """
    content = {"stage": stage, "version": version, "config": config, "inputs": inputs}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:12]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces. NaN is refused, since it is not equal to itself."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot enter a fingerprint; give JSON values or pydantic models")


def told(words: dict[str, Any]) -> dict[str, Any]:
    """Words of a recipe as they enter the fingerprint of a stage.

    Words that the stage had in its code before recipes brought them are left out: what was built with those is still valid.
    """
    known = hashlib.sha256(canonical_json(words).encode()).hexdigest()[:12] in _ONCE_IN_CODE
    return {} if known else {"words": words}


def folder_sha256(folder: Path) -> str:
    """SHA-256 over names and contents of all files below a folder.

    It does not depend on the order or on the folder's own name.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()
