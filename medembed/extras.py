"""Optional dependencies: import the module, or say which command brings it."""

import importlib
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Literal
from urllib.parse import unquote, urlsplit

from medembed.errors import MissingExtraError

# module → the extra of this package that installs it
EXTRAS = {
    "torch": "torch",
    "transformers": "torch",
    "sentence_transformers": "torch",
    "bm25s": "corpus",
    "Stemmer": "corpus",
    "faiss": "faiss",
    "filelock": "corpus",
    "lancedb": "lancedb",
    "pyarrow": "corpus",
    "pypdf": "documents",
    "qdrant_client": "qdrant",
    "ray": "ray",
    "simsimd": "corpus",
    "striprtf": "documents",
    "datasets": "recipes",
    "accelerate": "recipes",
    "httpx2": "recipes",
    "matplotlib": "evaluation",
    "mcp": "mcp",
    "mteb": "evaluation",
    "numkong": "corpus",
    "orjson": "serve",
    "prometheus_client": "serve",
    "scipy": "colbert",
    "starlette": "serve",
    "uvicorn": "serve",
    "httptools": "serve",
    "vllm": "vllm",
}


def require(module: str) -> ModuleType:
    """Import an optional module, or fail with the command that installs it.

    Args:
        module: Dotted name of the module, for instance ``"torch"`` or ``"pyarrow.parquet"``.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: The module, or something it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = EXTRAS[module.partition(".")[0]]
        raise MissingExtraError(
            f"'{module}' cannot be imported here ({error}). It comes with an extra of medembed: {install_command(extra)}"
        ) from error


@contextmanager
def switches(**values: str) -> Iterator[None]:
    """Set environment variables for a while, where the user has not set them.

    For libraries whose reports to their makers have no other switch. Children that they start meanwhile inherit it.

    Args:
        values: Names and values, for instance ``RAY_USAGE_STATS_ENABLED="0"``.
    """
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


def install_command(extra: str) -> str:
    """The command that adds an extra to this installation.

    medembed is on no package index yet, so the command names where this installation came from: the clone, the wheel or the
    repository. pip keeps that in ``direct_url.json``; where it is not there, the command says what to put in.

    Args:
        extra: A name under ``[project.optional-dependencies]``.

    Returns:
        A line for a shell.
    """
    source = _source()
    if source is None:
        return f"pip install '<the clone or wheel of medembed>[{extra}]'"
    flag, place, kind = source
    requirement = f"medembed[{extra}] @ {place}" if kind == "address" else f"{place}[{extra}]"
    return f"pip install {flag}{shlex.quote(requirement)}"


def _source() -> tuple[str, str, Literal["path", "address"]] | None:
    """The origin of this installation. It is pip's flag for it, and its path or address."""
    import importlib.metadata  # brings the email package: only a message needs it

    try:
        told = json.loads(importlib.metadata.distribution("medembed").read_text("direct_url.json") or "null")
    except (importlib.metadata.PackageNotFoundError, ValueError, OSError):
        return None
    if not isinstance(told, dict) or not isinstance(told.get("url"), str):
        return None
    url: str = told["url"]
    repository, folder = told.get("vcs_info"), told.get("dir_info")
    if isinstance(repository, dict):
        return "", f"{repository.get('vcs', 'git')}+{url}", "address"
    if not url.startswith("file:"):
        return "", url, "address"
    editable = isinstance(folder, dict) and folder.get("editable") is True
    return "-e " if editable else "", unquote(urlsplit(url).path), "path"
