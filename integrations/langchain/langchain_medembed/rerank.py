"""MedColBERTRerank: a late-interaction model behind LangChain's BaseDocumentCompressor interface."""

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import AliasChoices, ConfigDict, Field, InstanceOf, PrivateAttr

from medembed import Engine, MedColBERT

SCORE = "relevance_score"


class MedColBERTRerank(BaseDocumentCompressor):
    """Puts what a retriever found in a better order, and keeps the best.

    The fields are the settings of :class:`medembed.MedColBERT` and are checked there; the model is loaded at
    construction. Each document that is kept comes back as a copy with its MaxSim in ``metadata["relevance_score"]``.

    Raises:
        pydantic.ValidationError: A field is unknown or of the wrong type.
        medembed.errors.MedEmbedError: The model cannot be found or loaded, or a setting does not fit.

    Example:
        >>> from langchain_classic.retrievers import ContextualCompressionRetriever  # doctest: +SKIP
        >>> rerank = MedColBERTRerank(top_n=5)  # doctest: +SKIP
        >>> ContextualCompressionRetriever(base_compressor=rerank, base_retriever=retriever)  # doctest: +SKIP
    """

    model_config = ConfigDict(
        extra="forbid", protected_namespaces=(), populate_by_name=True, arbitrary_types_allowed=True
    )

    model: str = Field(default="mini", validation_alias=AliasChoices("model", "model_name"))
    """``mini``, which is in the package, or a hub id or a local folder of a late-interaction model."""

    top_n: int | None = Field(default=3, gt=0)
    """Documents to keep; None for all, in their new order."""

    assertion: Literal["affirmed", "negated", "any"] | None = None
    """What documents have to say of the query's words; None reads it from the query, ``"any"`` for no matter."""

    device: str | list[str] = "auto"
    """``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or a list of CUDA devices."""

    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Number format of the computation."""

    query_length: int | None = None
    """Tokens to read of each query; None for the model's own."""

    document_length: int | None = None
    """Tokens to read of each document; None for the model's own."""

    overlong: Literal["truncate", "error", "chunk"] = "truncate"
    """Texts above the limit: cut with a warning, refused, or (documents) read whole in windows."""

    threads: int | None = None
    """CPU threads; None for one per usable physical core."""

    revision: str | None = None
    """Commit, tag or branch of a hub model; None for the one first downloaded."""

    cache_dir: str | None = None
    """Where downloads are kept; None for the Hugging Face cache."""

    local_files_only: bool = False
    """Never use the network."""

    engine: InstanceOf[Engine] | None = Field(default=None, exclude=True, repr=False)
    """An engine to use instead of choosing one, for instance ``medembed.FakeEngine()``."""

    _client: MedColBERT = PrivateAttr()

    def __init__(self, /, **data: Any) -> None:
        """Check the fields, then load the model.

        Here and not in a validator, which would turn some of medembed's errors into pydantic's and lose their class.
        """
        super().__init__(**data)
        self._client = MedColBERT(**{name: getattr(self, name) for name in MEDCOLBERT_SETTINGS})

    @property
    def client(self) -> MedColBERT:
        """The model itself: token vectors, ``similarity``, ``close()`` ..."""
        return self._client

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best documents, best first.

        Args:
            documents: What the first stage found.
            query: The query.
            callbacks: Not used: nothing here calls a model that reports to them.

        Returns:
            Copies of at most ``top_n`` documents, with their score in ``metadata["relevance_score"]``.

        Raises:
            medembed.errors.InputTypeError: The query is not a ``str``.
        """
        del callbacks
        texts = [document.page_content for document in documents]
        ranked = self._client.rerank(query, texts, self.top_n, assertion=self.assertion)
        return [
            documents[item.index].model_copy(update={"metadata": {**documents[item.index].metadata, SCORE: item.score}})
            for item in ranked
        ]


# every field but those that belong to the ranking, not to the model
MEDCOLBERT_SETTINGS = tuple(name for name in MedColBERTRerank.model_fields if name not in ("top_n", "assertion"))
