"""MedEmbedEmbeddingFunction: a MedEmbed model behind Chroma's EmbeddingFunction interface."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from chromadb.api.types import Embeddable, EmbeddingFunction, Embeddings, Space
from chromadb.utils.embedding_functions import register_embedding_function

from medembed import MODELS, MedEmbed, errors

# what a collection keeps; device and threads belong to the machine that opens it
KEPT = (
    "model", "precision", "max_seq_length", "truncate_dim", "overlong", "revision", "cache_dir", "local_files_only",
)  # fmt: skip
# of these, what makes vectors that do not compare; a folder may be moved, its revision is the hash of its files
DECIDING = ("max_seq_length", "truncate_dim", "overlong", "revision")


@register_embedding_function
class MedEmbedEmbeddingFunction(EmbeddingFunction[Embeddable]):
    """Medical text embeddings for Chroma.

    Documents get the model's document prompt and queries its query prompt; nothing has to be configured for that. The
    arguments are the settings of :class:`medembed.MedEmbed` and are checked there. The model is loaded at construction, or,
    in a collection that is opened again, when it is first needed.

    A collection keeps the settings and the model's revision. Opened again, by its name alone, it gets the same model, or the
    error that says which other one was found.

    Raises:
        medembed.errors.MedEmbedError: The model cannot be found or loaded, or a setting does not fit.

    Example:
        >>> function = MedEmbedEmbeddingFunction(threads=1)
        >>> len(function(["Metformin lowers blood glucose.", "A stye is an infected gland."]))
        2
        >>> function.embed_query(["diabetes drug"])[0].shape
        (384,)
    """

    def __init__(  # noqa: PLR0913 - the settings of MedEmbed, all keyword-only
        self,
        model: str | os.PathLike[str] = "mini",
        *,
        device: str | list[str] = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto",
        max_seq_length: int | None = None,
        truncate_dim: int | None = None,
        overlong: Literal["truncate", "error", "chunk"] = "truncate",
        threads: int | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Load the model."""
        self._settings: dict[str, Any] = {
            "model": model, "device": device, "precision": precision, "max_seq_length": max_seq_length,
            "truncate_dim": truncate_dim, "overlong": overlong, "threads": threads, "revision": revision,
            "cache_dir": cache_dir, "local_files_only": local_files_only,
        }  # fmt: skip
        self.client  # noqa: B018 - loads it, so that what does not fit is said here

    @cached_property
    def client(self) -> MedEmbed:
        """The model itself: its dimension, vector quantization, ``close()`` ..."""
        return MedEmbed(**self._settings)

    def __call__(self, input: Embeddable) -> Embeddings:  # noqa: A002 - Chroma's name
        """Embed documents, with the model's document prompt.

        Args:
            input: The documents.

        Returns:
            One float32 vector a document, in input order.

        Raises:
            medembed.errors.InputTypeError: Not a list of ``str``; the message names the index.
        """
        return list(self.client.encode_document(_several(input)))

    def embed_query(self, input: Embeddable) -> Embeddings:  # noqa: A002 - Chroma's name
        """Embed search queries, with the model's query prompt.

        Args:
            input: The queries.

        Returns:
            One float32 vector a query, in input order.

        Raises:
            medembed.errors.InputTypeError: Not a list of ``str``; the message names the index.
        """
        return list(self.client.encode_query(_several(input)))

    @staticmethod
    def name() -> str:
        """The name under which a collection knows this function."""
        return "medembed"

    def default_space(self) -> Space:
        """The measure for the model's vectors: cosine, or the inner product of a model that leaves their length as it is."""
        return "cosine" if self.client.spec.normalized else "ip"

    def get_config(self) -> dict[str, Any]:
        """What a collection keeps, in JSON's types. ``revision`` is the one that runs."""
        kept = {name: self.client.settings[name] for name in KEPT}
        if kept["model"] not in MODELS and Path(kept["model"]).is_dir():
            kept["model"] = str(Path(kept["model"]).absolute())  # found again from another working directory
        return kept

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> "MedEmbedEmbeddingFunction":
        """The function that a collection was filled with.

        The model is not loaded yet: Chroma calls this for every collection that it reads, and once more when it makes one.

        Args:
            config: What ``get_config`` gave.

        Raises:
            medembed.errors.SettingError: A name that ``get_config`` does not give.
        """
        MedEmbedEmbeddingFunction.validate_config(config)
        made = MedEmbedEmbeddingFunction.__new__(MedEmbedEmbeddingFunction)
        made._settings = dict(config)
        return made

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Check the names in a configuration. Values are checked where the model is loaded.

        Raises:
            medembed.errors.SettingError: A name that ``get_config`` does not give.
        """
        if unknown := [name for name in config if name not in KEPT]:
            raise errors.SettingError(
                f"the collection's embedding function has the settings {', '.join(map(repr, unknown))}, which this release of "
                "chroma-medembed does not know: open it with the release that wrote them"
            )

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Refuse another model for vectors that are there already.

        Args:
            old_config: Of the model that filled the collection.
            new_config: Of the one to take its place; it may lie elsewhere, and compute in another precision.

        Raises:
            medembed.errors.StoreModelError: Their vectors would not compare.
        """
        changed = [name for name in DECIDING if old_config.get(name) != new_config.get(name)]
        if changed:
            told = ", ".join(f"{name} {old_config.get(name)!r}, now {new_config.get(name)!r}" for name in changed)
            raise errors.StoreModelError(
                f"the collection holds vectors of another model or setting: {told}. Make a new collection and add the documents again"
            )


def _several(texts: Embeddable) -> list[str]:
    """A single text would come back as numbers, not as vectors. Images, which Chroma's type allows, the model refuses."""
    if isinstance(texts, str):  # type: ignore[unreachable]  # callers need not be typed
        raise errors.InputTypeError(
            "Chroma's embedding functions take a list of str, not a str: wrap a single text in a list"
        )
    return cast("list[str]", texts)
