"""MedColBERTRerank: a late-interaction model behind LlamaIndex's BaseNodePostprocessor interface."""

from typing import Any, Literal

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import AliasChoices, ConfigDict, Field, InstanceOf, PrivateAttr

from medembed import Engine, MedColBERT, errors


class MedColBERTRerank(BaseNodePostprocessor):
    """Puts retrieved nodes in a better order, and keeps the best.

    The fields are the settings of :class:`medembed.MedColBERT`, which checks them; the model is loaded at construction.
    A node is read as it was embedded, metadata included; its score becomes its MaxSim with the query, or with
    ``first_share`` that and the score it came with.

    Raises:
        pydantic.ValidationError: A field is unknown or of the wrong type.
        medembed.errors.MedEmbedError: The model cannot be found or loaded, or a setting does not fit.

    Example:
        >>> rerank = MedColBERTRerank(top_n=5)  # doctest: +SKIP
        >>> index.as_query_engine(similarity_top_k=100, node_postprocessors=[rerank])  # doctest: +SKIP
    """

    model_config = ConfigDict(
        extra="forbid", protected_namespaces=(), populate_by_name=True, arbitrary_types_allowed=True
    )

    model: str = Field(
        default="mini",
        validation_alias=AliasChoices("model", "model_name"),
        description="mini, or a hub id or a local folder of a late-interaction model.",
    )
    top_n: int | None = Field(default=3, gt=0, description="Nodes to keep; None for all, in their new order.")
    first_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="What a node's score from the retriever counts; 0.3 after hybrid or lexical retrieval.",
    )
    assertion: Literal["affirmed", "negated", "any"] | None = Field(
        default=None,
        description="What nodes have to say of the query's words; None reads it from the query, any for no matter.",
    )
    device: str | list[str] = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps, or several of CUDA.")
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        default="auto", description="Number format of the computation."
    )
    query_length: int | None = Field(default=None, description="Tokens to read of each query; None: the model's own.")
    document_length: int | None = Field(default=None, description="Tokens to read of each node; None: the model's own.")
    overlong: Literal["truncate", "error", "chunk"] = Field(
        default="truncate", description="Texts above the limit: cut with a warning, refused, or (nodes) read whole."
    )
    threads: int | None = Field(default=None, description="CPU threads; None for one per usable physical core.")
    revision: str | None = Field(default=None, description="Commit of a hub model; None: the one first downloaded.")
    cache_dir: str | None = Field(default=None, description="Where downloads are kept.")
    local_files_only: bool = Field(default=False, description="Never use the network.")
    engine: InstanceOf[Engine] | None = Field(
        default=None, exclude=True, repr=False, description="An engine to use instead of choosing one."
    )

    _client: MedColBERT = PrivateAttr()

    def __init__(self, /, **data: Any) -> None:
        """Check the fields, then load the model.

        Here and not in a validator, which would turn some of medembed's errors into pydantic's and lose their class.
        """
        super().__init__(**data)
        self._client = MedColBERT(**{name: getattr(self, name) for name in MEDCOLBERT_SETTINGS})

    @classmethod
    def class_name(cls) -> str:
        """Name of this class in serialised pipelines."""
        return "MedColBERTRerank"

    def __getstate__(self) -> dict[str, Any]:
        """Settings without the model, which the copy loads by itself."""
        return {**super().__getstate__(), "__pydantic_private__": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the model; unlike the framework's own, this does not hide why that failed."""
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    @property
    def client(self) -> MedColBERT:
        """The model itself: token vectors, ``similarity``, ``close()`` ..."""
        return self._client

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise errors.InputTypeError("MedColBERTRerank needs the query: pass query_str or query_bundle")
        texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        ranked = self._client.rerank(
            query_bundle.query_str,
            texts,
            self.top_n,
            first_scores=self._first_scores(nodes) if self.first_share else None,
            share=self.first_share or None,
            assertion=self.assertion,
        )
        return [NodeWithScore(node=nodes[item.index].node, score=item.score) for item in ranked]

    def _first_scores(self, nodes: list[NodeWithScore]) -> list[float]:
        scores = [node.score for node in nodes if node.score is not None]
        if len(scores) < len(nodes):
            raise errors.SettingError(
                f"first_share={self.first_share} counts the retriever's scores, and {len(nodes) - len(scores)} of {len(nodes)} nodes have none: "
                "leave first_share out"
            )
        return scores


# what MedColBERT is told
MEDCOLBERT_SETTINGS = tuple(
    name
    for name in MedColBERTRerank.model_fields
    if name not in BaseNodePostprocessor.model_fields and name not in ("top_n", "first_share", "assertion")
)
