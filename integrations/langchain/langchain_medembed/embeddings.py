"""MedEmbedEmbeddings: a MedEmbed model behind LangChain's Embeddings interface."""

import asyncio
from typing import Any, Literal

from langchain_core.embeddings import Embeddings
from langchain_core.utils import from_env
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, InstanceOf, PrivateAttr

from medembed import Engine, MedEmbed, errors


class MedEmbedEmbeddings(BaseModel, Embeddings):
    """Medical text embeddings for LangChain.

    Passages get the model's document prompt and queries its query prompt; nothing has to be configured for that. The
    fields are the settings of :class:`medembed.MedEmbed` and are checked there; the model is loaded at construction.

    Raises:
        pydantic.ValidationError: A field is unknown or of the wrong type.
        medembed.errors.MedEmbedError: The model cannot be found or loaded, or a setting does not fit.

    Example:
        >>> embeddings = MedEmbedEmbeddings(threads=1)
        >>> passages = embeddings.embed_documents(["Metformin lowers blood glucose.", "A stye is an infected gland."])
        >>> len(passages), len(embeddings.embed_query("diabetes drug"))
        (2, 384)
    """

    model_config = ConfigDict(
        extra="forbid", protected_namespaces=(), populate_by_name=True, arbitrary_types_allowed=True
    )

    model: str = Field(
        default_factory=from_env("MEDEMBED_MODEL", default="mini"),
        validation_alias=AliasChoices("model", "model_name"),
    )
    """``"mini"`` (bundled, works offline), ``"small"``, ``"base"``, ``"large"``, a hub id, or a local folder."""

    device: str | list[str] = Field(default_factory=from_env("MEDEMBED_DEVICE", default="auto"))
    """``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or a list of CUDA devices."""

    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Number format of the computation."""

    max_seq_length: int | None = None
    """Tokens to read of each text; None for the model's own limit."""

    truncate_dim: int | None = None
    """Keep this many dimensions and renormalize; None for all."""

    overlong: Literal["truncate", "error", "chunk"] = "truncate"
    """Texts above the limit: cut with a warning, refused, or embedded in windows that are averaged."""

    threads: int | None = None
    """CPU threads; None for one per usable physical core."""

    revision: str | None = None
    """Commit, tag or branch of a hub model; None for the pinned one."""

    cache_dir: str | None = None
    """Where downloads are kept; None for the Hugging Face cache."""

    local_files_only: bool = False
    """Never use the network."""

    engine: InstanceOf[Engine] | None = Field(default=None, exclude=True, repr=False)
    """An engine to use instead of choosing one, for instance ``medembed.FakeEngine()``."""

    show_progress: bool | None = None
    """A progress bar for passages: always, never, or (None) at a terminal once a call takes long."""

    _client: MedEmbed = PrivateAttr()

    def __init__(self, /, **data: Any) -> None:
        """Check the fields, then load the model.

        Here and not in a validator, which would turn some of medembed's errors into pydantic's and lose their class.
        """
        super().__init__(**data)
        self._client = MedEmbed(**{name: getattr(self, name) for name in MEDEMBED_SETTINGS})

    @property
    def client(self) -> MedEmbed:
        """The model itself: its dimension, vector quantization, ``close()`` ..."""
        return self._client

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed passages, with the model's document prompt.

        Args:
            texts: Passages; an empty list gives an empty list.

        Returns:
            One vector of Python floats a passage, in input order.

        Raises:
            medembed.errors.InputTypeError: Not a list of ``str``; the message names the index.
        """
        if isinstance(texts, str):  # type: ignore[unreachable]  # callers need not be typed
            raise errors.InputTypeError(
                "embed_documents() takes a list of str, not a str: wrap a single text in a list"
            )
        vectors: list[list[float]] = self._client.encode_document(texts, show_progress_bar=self.show_progress).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed a search query, with the model's query prompt.

        Args:
            text: The query.

        Returns:
            A vector of Python floats.

        Raises:
            medembed.errors.InputTypeError: Not a ``str``.
        """
        vector: list[float] = self._client.encode_query(_one(text), show_progress_bar=False).tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """:meth:`embed_documents` in a thread: the event loop stays free, also while the lists are made."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """:meth:`embed_query` without blocking the event loop; queries awaited at the same time share a batch."""
        vector: list[float] = (await self._client.aencode_query(_one(text))).tolist()
        return vector


# every field but the one that belongs to a call, not to the model
MEDEMBED_SETTINGS = tuple(name for name in MedEmbedEmbeddings.model_fields if name != "show_progress")


def _one(text: str) -> str:
    """A query is one text; a list would come back as a matrix, which no vector store expects here."""
    if not isinstance(text, str):
        raise errors.InputTypeError(
            f"a query must be a str, not {type(text).__name__}: for passages use embed_documents()"
        )
    return text
