"""The known models: names, repositories, pinned commits, prompts, licenses. Data and a lookup, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from medembed.errors import UnknownModelError

if TYPE_CHECKING:  # it brings numpy, and the names of models are wanted without
    from medembed.comparing import Similarity

Pooling = Literal["mean", "cls"]

NO_PROMPTS: Mapping[str, str] = MappingProxyType({"query": "", "document": ""})


@dataclass(frozen=True)
class ModelSpec:
    """Facts about a model, before and after its files are read.

    Attributes:
        name: Short name, hub id or folder, as the user gave it.
        repo: Hub id the weights come from; None for bundled and local models.
        revision: Commit the weights are pinned to; None where it is not known before the first download, which then
            resolves and records it.
        dimension: Length of a vector, before any cut.
        max_seq_length: Tokens the model reads, special tokens included.
        pooling: ``"mean"``, ``"cls"`` or another of sentence-transformers' modes; several joined by ``+``.
        prompts: Text put before queries (``"query"``) and documents (``"document"``).
        default_prompt: Text put before texts that are called neither.
        normalized: Whether vectors are scaled to unit length.
        similarity: How its vectors are compared, by sentence-transformers' name.
        license: SPDX identifier, or ``"unknown"`` for models outside the registry.
        parameters: Number of weights.
        note: One line for ``medembed models``.
    """

    name: str
    repo: str | None
    revision: str | None
    dimension: int
    max_seq_length: int
    pooling: str
    prompts: Mapping[str, str] = field(default_factory=lambda: NO_PROMPTS)
    default_prompt: str = ""
    normalized: bool = True
    similarity: "Similarity" = "cosine"
    license: str = "unknown"
    parameters: int = 0
    note: str = ""


BUNDLED = "mini"

# MedEmbed is trained and was published without a query instruction (its training script passes an empty one), so its
# prompts are empty although its BGE bases have one.
MODELS: Mapping[str, ModelSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            ModelSpec(
                name=BUNDLED,
                repo=None,
                revision=None,
                dimension=384,
                max_seq_length=384,
                pooling="mean",
                license="apache-2.0",
                parameters=22_713_216,
                note="works offline at once; all-MiniLM-L6-v2 tuned for medicine by the recipes mini/1 to mini/4 and mini",
            ),
            ModelSpec(
                name="small",
                repo="abhinand/MedEmbed-small-v0.1",
                revision="40a5850d046cfdb56154e332b4d7099b63e8d50e",
                dimension=384,
                max_seq_length=512,
                pooling="cls",
                license="apache-2.0",
                parameters=33_360_000,
                note="published MedEmbed on bge-small-en-v1.5",
            ),
            ModelSpec(
                name="base",
                repo="abhinand/MedEmbed-base-v0.1",
                revision=None,
                dimension=768,
                max_seq_length=512,
                pooling="cls",
                license="apache-2.0",
                parameters=109_482_240,
                note="published MedEmbed on bge-base-en-v1.5",
            ),
            ModelSpec(
                name="large",
                repo="abhinand/MedEmbed-large-v0.1",
                revision=None,
                dimension=1024,
                max_seq_length=512,
                pooling="cls",
                license="apache-2.0",
                parameters=335_141_888,
                note="published MedEmbed on bge-large-en-v1.5",
            ),
        )
    }
)


def unknown_model(name: str) -> UnknownModelError:
    """The error for a name that is neither known, nor a folder, nor shaped like a hub id.

    Args:
        name: What the user asked for.

    Returns:
        An error that names the nearest known models.
    """
    import difflib

    repos = [spec.repo for spec in MODELS.values() if spec.repo]
    near = difflib.get_close_matches(name.lower(), [*MODELS, *repos], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(repr(match) for match in near)}? " if near else ""
    return UnknownModelError(
        f"no model {name!r}: {hint}Known names: {', '.join(MODELS)}. Otherwise give a hub id ('organisation/model') or the path of a folder "
        "that holds config.json. `medembed models` lists what is here."
    )


def stored_name(name: str, revision: str) -> str:
    """Name of a model for files that outlive this process: absolute where it is a folder, so that it is found from anywhere.

    Args:
        name: Name, hub id or folder that the model was asked for by.
        revision: Its revision; that of a folder, and of the bundled model, begins with ``sha256-``.
    """
    is_folder = revision.startswith("sha256-") and name not in MODELS
    return str(Path(name).expanduser().absolute()) if is_folder else name
