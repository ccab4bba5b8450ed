"""Optional dependencies: import the module, or say which pip line brings it."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

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
    "fsspec": "corpus",
    "lancedb": "lancedb",
    "pyarrow": "corpus",
    "qdrant_client": "qdrant",
    "ray": "ray",
    "simsimd": "corpus",
    "datasets": "recipes",
    "accelerate": "recipes",
    "httpx2": "recipes",
    "matplotlib": "evaluation",
    "mteb": "evaluation",
    "scipy": "colbert",
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
            f"'{module}' cannot be imported here ({error}). It comes with an extra of medembed: pip install 'medembed[{extra}]'"
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
