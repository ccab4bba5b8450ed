"""MedEmbedProvider: a MedEmbed model behind Daft's Provider interface."""

import os
from dataclasses import dataclass, fields
from typing import Any, Literal

from daft import DataType
from daft.ai.protocols import TextEmbedderDescriptor
from daft.ai.provider import Provider
from daft.ai.typing import Embedding, EmbeddingDimensions, Options, UDFOptions

from medembed import Embedder, MedEmbed, errors

UDF = tuple(field.name for field in fields(UDFOptions))


class MedEmbedProvider(Provider):
    """Medical text embeddings for Daft's ``embed_text``.

    The arguments are the settings of :class:`medembed.MedEmbed` and are checked there. Each worker process loads one model, at
    its first batch, and only the one that the driver found: its revision goes along.

    ``embed_text`` takes besides ``model`` and ``dimensions`` the options ``prompt_name`` (``"document"``, or ``"query"`` for a column of
    search queries) and those of Daft: ``batch_size``, ``concurrency``, ``num_gpus``, ``max_retries``, ``on_error``.

    Example:
        >>> import daft
        >>> from daft.functions import embed_text
        >>> _ = daft.attach_provider(MedEmbedProvider(threads=1))
        >>> asked = daft.from_pydict({"query": ["diabetes drug"]})
        >>> asked = asked.with_column("vector", embed_text(asked["query"], provider="medembed", prompt_name="query"))
        >>> asked.schema()["vector"].dtype
        Embedding[Float32; 384]
    """

    def __init__(  # noqa: PLR0913 - the settings of MedEmbed, all keyword-only
        self,
        model: str | os.PathLike[str] = "mini",
        *,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto",
        max_seq_length: int | None = None,
        overlong: Literal["truncate", "error", "chunk"] = "truncate",
        threads: int | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Remember the settings. Nothing is loaded yet."""
        self._model, self._revision = model, revision
        self._settings: dict[str, Any] = {
            "device": device, "precision": precision, "max_seq_length": max_seq_length, "overlong": overlong,
            "threads": threads, "cache_dir": cache_dir, "local_files_only": local_files_only,
        }  # fmt: skip

    @property
    def name(self) -> str:
        """The name under which a session knows this provider."""
        return "medembed"

    def get_text_embedder(
        self, model: str | None = None, dimensions: int | None = None, **options: Any
    ) -> TextEmbedderDescriptor:
        """The embedder of one ``embed_text``, with the model loaded once here to learn its dimension and revision.

        Args:
            model: Another model than the provider's.
            dimensions: Numbers of a vector to keep, of a model that was trained for that.
            **options: ``prompt_name``, and Daft's own.

        Raises:
            medembed.errors.MedEmbedError: The model cannot be found or loaded, or a setting or option does not fit.
        """
        prompt = options.pop("prompt_name", "document")
        if unknown := [name for name in options if name not in UDF]:
            raise errors.SettingError(
                f"embed_text got the options {', '.join(map(repr, unknown))}, which the provider medembed does not know: it takes "
                f"prompt_name, {', '.join(UDF)}. Settings of the model are arguments of MedEmbedProvider"
            )
        revision = self._revision if model is None else None  # the provider's is a revision of the provider's model
        with MedEmbed(model or self._model, revision=revision, truncate_dim=dimensions, **self._settings) as found:
            embedder = Embedder(found, prompt_name=prompt)
            found.encode("", prompt_name=prompt)  # a prompt that the model has not is said here, not by a worker
            return _Descriptor(embedder, str(model or self._model), found.dimension, options)


@dataclass(frozen=True)
class _Descriptor(TextEmbedderDescriptor):
    """What Daft sends to its workers: settings, not a model."""

    embedder: Embedder
    model: str
    dimension: int
    options: Options

    def get_provider(self) -> str:
        return "medembed"

    def get_model(self) -> str:
        return self.model

    def get_options(self) -> Options:
        return self.options

    def get_dimensions(self) -> EmbeddingDimensions:
        return EmbeddingDimensions(size=self.dimension, dtype=DataType.float32())

    def instantiate(self) -> "_TextEmbedder":
        return _TextEmbedder(self.embedder)


@dataclass(frozen=True)
class _TextEmbedder:
    """Daft's interface to an ``Embedder``."""

    embedder: Embedder

    def embed_text(self, text: list[str]) -> list[Embedding]:
        """One float32 vector a text."""
        return list(self.embedder({"text": text})["vector"])
