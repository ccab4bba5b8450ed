"""MedEmbedEmbedding: a MedEmbed model behind LlamaIndex's BaseEmbedding interface."""

import asyncio
from typing import Any, Literal

from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import AliasChoices, ConfigDict, Field, InstanceOf, PrivateAttr

from medembed import Engine, MedEmbed, errors

Embedding = list[float]


class MedEmbedEmbedding(BaseEmbedding):
    """Medical text embeddings for LlamaIndex.

    Nodes get the model's document prompt and queries its query prompt; nothing has to be configured for that. The
    fields are the settings of :class:`medembed.MedEmbed`, which checks them, and those of ``BaseEmbedding``
    (``callback_manager``, ``num_workers`` ...). The model is loaded at construction.

    Raises:
        pydantic.ValidationError: A field is unknown or of the wrong type.
        medembed.errors.MedEmbedError: The model cannot be found or loaded, or a setting does not fit.

    Example:
        >>> embed_model = MedEmbedEmbedding(threads=1)
        >>> nodes = embed_model.get_text_embedding_batch(["Metformin lowers glucose.", "A stye is an infected gland."])
        >>> len(nodes), len(embed_model.get_query_embedding("diabetes drug"))
        (2, 384)
    """

    model_config = ConfigDict(
        extra="forbid", protected_namespaces=(), populate_by_name=True, arbitrary_types_allowed=True
    )

    model_name: str = Field(
        default="mini",
        validation_alias=AliasChoices("model_name", "model"),
        description='"mini" (bundled, works offline), "small", "base", "large", a hub id, or a local folder.',
    )
    # The framework's default of 10 would take the sorting by length away from MedEmbed, which plans its own batches.
    embed_batch_size: int = Field(default=1024, gt=0, le=2048, description="Texts handed to the model at a time.")
    device: str | list[str] = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps, or several of CUDA.")
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        default="auto", description="Number format of the computation."
    )
    max_seq_length: int | None = Field(default=None, description="Tokens to read; None for the model's own limit.")
    truncate_dim: int | None = Field(default=None, description="Keep this many dimensions and renormalize.")
    overlong: Literal["truncate", "error", "chunk"] = Field(
        default="truncate", description="Texts above the limit: cut with a warning, refused, or averaged over windows."
    )
    threads: int | None = Field(default=None, description="CPU threads; None for one per usable physical core.")
    revision: str | None = Field(default=None, description="Commit of a hub model; None for the pinned one.")
    cache_dir: str | None = Field(default=None, description="Where downloads are kept.")
    local_files_only: bool = Field(default=False, description="Never use the network.")
    engine: InstanceOf[Engine] | None = Field(
        default=None, exclude=True, repr=False, description="An engine to use instead of choosing one."
    )

    _client: MedEmbed = PrivateAttr()

    def __init__(self, /, **data: Any) -> None:
        """Check the fields, then load the model.

        Here and not in a validator, which would turn some of medembed's errors into pydantic's and lose their class.
        """
        super().__init__(**data)
        settings = {name: getattr(self, name) for name in MEDEMBED_SETTINGS}
        self._client = MedEmbed(self.model_name, **settings)

    @classmethod
    def class_name(cls) -> str:
        """Name of this class in serialised pipelines."""
        return "MedEmbedEmbedding"

    def __getstate__(self) -> dict[str, Any]:
        """Settings without the model, which the copy loads by itself."""
        return {**super().__getstate__(), "__pydantic_private__": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the model; unlike the framework's own, this does not hide why that failed."""
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    @property
    def client(self) -> MedEmbed:
        """The model itself: its dimension, vector quantization, ``close()`` ..."""
        return self._client

    def _get_query_embedding(self, query: str) -> Embedding:
        vector: Embedding = self._client.encode_query(_one(query), show_progress_bar=False).tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> Embedding:
        """Without blocking the event loop; queries awaited at the same time share a batch."""
        vector: Embedding = (await self._client.aencode_query(_one(query))).tolist()
        return vector

    def _get_text_embedding(self, text: str) -> Embedding:
        vector: Embedding = self._client.encode_document(_one(text), show_progress_bar=False).tolist()
        return vector

    async def _aget_text_embedding(self, text: str) -> Embedding:
        """Without blocking the event loop; texts awaited at the same time share a batch."""
        vector: Embedding = (await self._client.aencode_document(_one(text))).tolist()
        return vector

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        # the framework shows its own progress bar
        vectors: list[Embedding] = self._client.encode_document(texts, show_progress_bar=False).tolist()
        return vectors

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        """One batch in a thread. With an ``embeddings_cache`` the framework awaits many lists of one: they share batches."""
        if len(texts) == 1:
            return [await self._aget_text_embedding(texts[0])]
        return await asyncio.to_thread(self._get_text_embeddings, texts)


# what MedEmbed is told beside the model's name
MEDEMBED_SETTINGS = tuple(name for name in MedEmbedEmbedding.model_fields if name not in BaseEmbedding.model_fields)


def _one(text: str) -> str:
    """One text is a str; a list would come back as a matrix, which no vector store expects here."""
    if not isinstance(text, str):
        raise errors.InputTypeError(
            f"a text must be a str, not {type(text).__name__}: for several use get_text_embedding_batch()"
        )
    return text
