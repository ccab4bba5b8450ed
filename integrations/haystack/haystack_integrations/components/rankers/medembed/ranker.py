"""MedColBERTRanker: a late-interaction model that ranks documents in a Haystack pipeline."""

import asyncio
import os
from dataclasses import replace
from typing import Literal

from haystack import Document, component

from haystack_integrations.components.embedders.medembed.document_embedder import checked_documents, text_of
from haystack_integrations.components.embedders.medembed.loaded import Loaded
from medembed import MedColBERT, errors


@component
class MedColBERTRanker(Loaded[MedColBERT]):
    """Puts what retrievers found in a better order, and keeps the best.

    The other arguments are the settings of :class:`medembed.MedColBERT` and are checked there when the model is loaded: by
    ``warm_up``, which a pipeline calls before it runs.

    Args:
        top_k: Documents to keep; None for all, in their new order.
        meta_fields_to_embed: Fields of a document's metadata that are read before its text, in this order.
        embedding_separator: What stands between them and the text.
        first_share: What a document's score from the retriever counts; 0.3 after hybrid or lexical retrieval.
        assertion: What documents have to say of the query's words; None reads it from the query, ``"any"`` for no matter.

    Raises:
        medembed.errors.SettingError: ``top_k`` is not a whole number from 1.

    Example:
        >>> ranker = MedColBERTRanker(threads=1, top_k=1)
        >>> texts = ["A stye is an infected gland.", "Metformin lowers blood glucose."]
        >>> ranker.run("diabetes drug", [Document(content=text) for text in texts])["documents"][0].content
        'Metformin lowers blood glucose.'
    """

    def __init__(  # noqa: PLR0913 - the settings of MedColBERT and of the ranking, all keyword-only
        self,
        model: str | os.PathLike[str] = "mini",
        *,
        top_k: int | None = 10,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        first_share: float = 0.0,
        assertion: Literal["affirmed", "negated", "any"] | None = None,
        device: str | list[str] = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto",
        query_length: int | None = None,
        document_length: int | None = None,
        overlong: Literal["truncate", "error", "chunk"] = "truncate",
        threads: int | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Keep the settings."""
        settings = {
            "model": model, "device": device, "precision": precision, "query_length": query_length,
            "document_length": document_length, "overlong": overlong, "threads": threads, "revision": revision,
            "cache_dir": cache_dir, "local_files_only": local_files_only,
        }  # fmt: skip
        self._top_k = _checked(top_k)
        self._meta_fields = meta_fields_to_embed or []
        self._separator = embedding_separator
        self._first_share = first_share
        self._assertion = assertion
        own = {
            "top_k": self._top_k, "meta_fields_to_embed": self._meta_fields, "embedding_separator": embedding_separator,
            "first_share": first_share, "assertion": assertion,
        }  # fmt: skip
        Loaded.__init__(self, MedColBERT, settings, **own)  # super() knows only the class before the decorator

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """Put documents in the order of their MaxSim with a query.

        Args:
            query: The query.
            documents: What the retrievers found. Of several with one id, that with the highest score is kept.
            top_k: Documents to keep this time; None for the component's own number.

        Returns:
            ``documents``, copies with their ``score``, best first.

        Raises:
            medembed.errors.InputTypeError: The query is not a ``str``, or not a list of documents.
            medembed.errors.SettingError: ``top_k`` or ``first_share`` does not fit, or counts scores that documents lack.
        """
        kept = _once(checked_documents(documents, "MedColBERTRanker"))
        ranked = self.client.rerank(
            query,
            [text_of(document, self._meta_fields, self._separator) for document in kept],
            self._top_k if top_k is None else _checked(top_k),
            first_scores=self._first_scores(kept) if self._first_share else None,
            share=self._first_share or None,
            assertion=self._assertion,
        )
        return {"documents": [replace(kept[item.index], score=item.score) for item in ranked]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """:meth:`run` in a thread: the event loop stays free."""
        done: dict[str, list[Document]] = await asyncio.to_thread(self.run, query, documents, top_k)
        return done

    def _first_scores(self, documents: list[Document]) -> list[float]:
        scores = [document.score for document in documents if document.score is not None]
        if len(scores) < len(documents):
            raise errors.SettingError(
                f"first_share={self._first_share} counts the retriever's scores, and {len(documents) - len(scores)} of "
                f"{len(documents)} documents have none: leave first_share out"
            )
        return scores


def _once(documents: list[Document]) -> list[Document]:
    """Two retrievers that both lead here may find one document twice."""
    kept: dict[str, Document] = {}
    for document in documents:
        other = kept.get(document.id)
        if other is None or (document.score is not None and (other.score is None or document.score > other.score)):
            kept[document.id] = document
    return list(kept.values())


def _checked(top_k: int | None) -> int | None:
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise errors.SettingError(f"top_k={top_k!r}: give a whole number from 1, or None for all")
    return top_k
