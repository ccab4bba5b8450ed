"""MedEmbedDocumentEmbedder: a MedEmbed model that embeds documents in a Haystack pipeline."""

import asyncio
import os
from dataclasses import replace
from typing import Literal

from haystack import Document, component

from haystack_integrations.components.embedders.medembed.loaded import Loaded
from medembed import MedEmbed, errors


@component
class MedEmbedDocumentEmbedder(Loaded[MedEmbed]):
    """Embeds documents, with the model's document prompt.

    The other arguments are the settings of :class:`medembed.MedEmbed` and are checked there when the model is loaded: by
    ``warm_up``, which a pipeline calls before it runs.

    Args:
        meta_fields_to_embed: Fields of a document's metadata that are read before its text, in this order.
        embedding_separator: What stands between them and the text.
        progress_bar: True or False; None shows a bar at a terminal once a run takes longer than two seconds.

    Example:
        >>> embedder = MedEmbedDocumentEmbedder(threads=1)
        >>> done = embedder.run([Document(content="Metformin lowers blood glucose.")])["documents"]
        >>> len(done[0].embedding)
        384
    """

    def __init__(  # noqa: PLR0913 - the settings of MedEmbed and three of the framework, all keyword-only
        self,
        model: str | os.PathLike[str] = "mini",
        *,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        progress_bar: bool | None = None,
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
        """Keep the settings."""
        settings = {
            "model": model, "device": device, "precision": precision, "max_seq_length": max_seq_length,
            "truncate_dim": truncate_dim, "overlong": overlong, "threads": threads, "revision": revision,
            "cache_dir": cache_dir, "local_files_only": local_files_only,
        }  # fmt: skip
        self._meta_fields = meta_fields_to_embed or []
        self._separator = embedding_separator
        self._progress_bar = progress_bar
        own = {
            "meta_fields_to_embed": self._meta_fields, "embedding_separator": embedding_separator, "progress_bar": progress_bar,
        }  # fmt: skip
        Loaded.__init__(self, MedEmbed, settings, **own)  # super() knows only the class before the decorator

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Embed documents.

        Args:
            documents: The documents; one without text is read as an empty one.

        Returns:
            ``documents``, copies with their ``embedding``, in input order.

        Raises:
            medembed.errors.InputTypeError: Not a list of documents.
        """
        texts = [self._text(document) for document in checked_documents(documents, "MedEmbedDocumentEmbedder")]
        rows = self.client.encode_document(texts, show_progress_bar=self._progress_bar).tolist()
        return {"documents": [replace(document, embedding=row) for document, row in zip(documents, rows, strict=True)]}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, list[Document]]:
        """:meth:`run` in a thread: the event loop stays free, also while the lists are made."""
        done: dict[str, list[Document]] = await asyncio.to_thread(self.run, documents)
        return done

    def _text(self, document: Document) -> str:
        return text_of(document, self._meta_fields, self._separator)


def text_of(document: Document, meta_fields: list[str], separator: str) -> str:
    """The text that is read of a document: the fields of its metadata that it has, then its content.

    Args:
        document: The document.
        meta_fields: The fields.
        separator: What stands between them.
    """
    told = [str(document.meta[name]) for name in meta_fields if document.meta.get(name) is not None]
    return separator.join([*told, document.content or ""])


def checked_documents(documents: list[Document], component_name: str) -> list[Document]:
    """The same documents.

    Args:
        documents: What a component was given.
        component_name: For the message.

    Raises:
        medembed.errors.InputTypeError: Not a list of documents.
    """
    if not isinstance(documents, list):
        raise errors.InputTypeError(
            f"{component_name} takes a list of haystack.Document, not {type(documents).__name__}"
        )
    for place, document in enumerate(documents):
        if not isinstance(document, Document):
            raise errors.InputTypeError(
                f"{component_name} takes a list of haystack.Document, but item {place} is a {type(document).__name__}"
            )
    return documents
