"""MedEmbedTextEmbedder: a MedEmbed model that embeds queries in a Haystack pipeline."""

import os
from typing import Literal

from haystack import component

from haystack_integrations.components.embedders.medembed.loaded import Loaded
from medembed import MedEmbed, errors


@component
class MedEmbedTextEmbedder(Loaded[MedEmbed]):
    """Embeds a query, with the model's query prompt.

    The arguments are the settings of :class:`medembed.MedEmbed` and are checked there when the model is loaded: by
    ``warm_up``, which a pipeline calls before it runs.

    Example:
        >>> embedder = MedEmbedTextEmbedder(threads=1)
        >>> len(embedder.run("diabetes drug")["embedding"])
        384
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
        """Keep the settings."""
        settings = {
            "model": model, "device": device, "precision": precision, "max_seq_length": max_seq_length,
            "truncate_dim": truncate_dim, "overlong": overlong, "threads": threads, "revision": revision,
            "cache_dir": cache_dir, "local_files_only": local_files_only,
        }  # fmt: skip
        Loaded.__init__(self, MedEmbed, settings)  # super() knows only the class before the decorator

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, list[float]]:
        """Embed a query.

        Args:
            text: The query.

        Returns:
            ``embedding``, a vector of Python floats.

        Raises:
            medembed.errors.InputTypeError: Not a ``str``.
        """
        return {"embedding": self.client.encode_query(_one(text), show_progress_bar=False).tolist()}

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str) -> dict[str, list[float]]:
        """:meth:`run` without blocking the event loop; queries awaited at the same time share a batch."""
        return {"embedding": (await self.client.aencode_query(_one(text))).tolist()}


def _one(text: str) -> str:
    """A query is one text; a list would come back as a matrix, which no retriever expects."""
    if not isinstance(text, str):
        raise errors.InputTypeError(
            f"MedEmbedTextEmbedder takes a str, not {type(text).__name__}: for documents use MedEmbedDocumentEmbedder"
        )
    return text
