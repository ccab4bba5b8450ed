"""medembed: medical text embeddings, fast and faithful on any CPU, offline from the first call.

Example:
    >>> from medembed import MedEmbed
    >>> MedEmbed(threads=1).encode("myocardial infarction").shape
    (384,)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medembed import errors, vectors
    from medembed.checkpoints.registry import MODELS, ModelSpec
    from medembed.clinical.split import Passage, Splitting, split
    from medembed.colbert.index.build import TokenSettings
    from medembed.colbert.index.store import TokenIndex
    from medembed.colbert.model import EncodedTokens, MedColBERT
    from medembed.corpus.embed import Settings
    from medembed.corpus.embedder import Embedder
    from medembed.corpus.hybrid import Hybrid
    from medembed.corpus.store import EmbeddedCorpus
    from medembed.model import MedEmbed
    from medembed.rows.read import Columns
    from medembed.runtime.encoding import Cut, Encoded
    from medembed.runtime.engines.fake_engine import FakeEngine
    from medembed.runtime.engines.interface import Engine
    from medembed.runtime.tokenizer import TruncationWarning

__version__ = "0.1.0"

# public name → the module that holds it; imported when first used, so that `import medembed` costs almost nothing
_HOMES = {
    "Columns": "medembed.rows.read",
    "Cut": "medembed.runtime.encoding",
    "EmbeddedCorpus": "medembed.corpus.store",
    "Embedder": "medembed.corpus.embedder",
    "Encoded": "medembed.runtime.encoding",
    "EncodedTokens": "medembed.colbert.model",
    "Engine": "medembed.runtime.engines.interface",
    "FakeEngine": "medembed.runtime.engines.fake_engine",
    "Hybrid": "medembed.corpus.hybrid",
    "MODELS": "medembed.checkpoints.registry",
    "MedColBERT": "medembed.colbert.model",
    "MedEmbed": "medembed.model",
    "ModelSpec": "medembed.checkpoints.registry",
    "Passage": "medembed.clinical.split",
    "Settings": "medembed.corpus.embed",
    "Splitting": "medembed.clinical.split",
    "TokenIndex": "medembed.colbert.index.store",
    "TokenSettings": "medembed.colbert.index.build",
    "TruncationWarning": "medembed.runtime.tokenizer",
    "errors": "medembed",
    "split": "medembed.clinical.split",
    "vectors": "medembed",
}

__all__ = [
    "MODELS",
    "Columns",
    "Cut",
    "EmbeddedCorpus",
    "Embedder",
    "Encoded",
    "EncodedTokens",
    "Engine",
    "FakeEngine",
    "Hybrid",
    "MedColBERT",
    "MedEmbed",
    "ModelSpec",
    "Passage",
    "Settings",
    "Splitting",
    "TokenIndex",
    "TokenSettings",
    "TruncationWarning",
    "__version__",
    "errors",
    "split",
    "vectors",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'medembed' has no attribute {name!r}")
    home = _HOMES[name]
    found = (
        importlib.import_module(f"medembed.{name}")
        if home == "medembed"
        else getattr(importlib.import_module(home), name)
    )
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names."""
    return __all__
