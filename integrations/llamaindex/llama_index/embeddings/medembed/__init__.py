"""MedEmbed for LlamaIndex: medical embeddings with the model's own prompts, offline on any CPU.

Example:
    >>> from llama_index.embeddings.medembed import MedEmbedEmbedding
    >>> len(MedEmbedEmbedding(threads=1).get_query_embedding("chest pain"))
    384
"""

from llama_index.embeddings.medembed.base import MedEmbedEmbedding

__all__ = ["MedEmbedEmbedding"]
