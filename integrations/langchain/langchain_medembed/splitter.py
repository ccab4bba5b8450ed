"""MedEmbedSplitter: passages of clinical notes behind LangChain's BaseDocumentTransformer interface."""

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.documents import BaseDocumentTransformer, Document

from medembed import MedColBERT, MedEmbed, Splitting, split


class MedEmbedSplitter(BaseDocumentTransformer):
    """Cuts documents into the passages that ``medembed.split`` gives, with offsets and sections.

    Each passage is a document of its own. Its metadata are those of the note and ``start_index``, ``end_index``, ``section`` and
    ``heading``; its id is the note's with ``#1``, ``#2`` … where the note has one.

    Args:
        client: The model whose tokens count: ``MedEmbedEmbeddings(...).client``.
        max_tokens: Tokens of a passage at most; None for 256, or what the model reads if that is less.
        overlap: Tokens at most that a passage repeats of the one before.

    Raises:
        medembed.errors.SettingError: The tokens do not fit the model.

    Example:
        >>> embeddings = MedEmbedEmbeddings()  # doctest: +SKIP
        >>> MedEmbedSplitter(embeddings.client).transform_documents(notes)  # doctest: +SKIP
    """

    def __init__(self, client: MedEmbed | MedColBERT, *, max_tokens: int | None = None, overlap: int = 0) -> None:
        """Check the settings against the model."""
        Splitting(max_tokens, overlap).limit(client)
        self._client, self._max_tokens, self._overlap = client, max_tokens, overlap

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """The passages of documents, in order.

        Args:
            documents: The notes.
            kwargs: Not used: LangChain's interface has them.
        """
        del kwargs
        return [passage for document in documents for passage in self._passages(document)]

    def _passages(self, document: Document) -> Iterator[Document]:
        found = split(document.page_content, self._client, max_tokens=self._max_tokens, overlap=self._overlap)
        for number, passage in enumerate(found, 1):
            place = {
                "start_index": passage.start,
                "end_index": passage.end,
                "section": passage.section,
                "heading": passage.heading,
            }
            name = None if document.id is None else f"{document.id}#{number}"
            yield Document(id=name, page_content=passage.text, metadata={**document.metadata, **place})
