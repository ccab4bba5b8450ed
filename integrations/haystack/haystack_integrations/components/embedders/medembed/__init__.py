"""MedEmbed for Haystack: medical embeddings with the model's own prompts, offline on any CPU."""

from haystack_integrations.components.embedders.medembed.document_embedder import MedEmbedDocumentEmbedder
from haystack_integrations.components.embedders.medembed.text_embedder import MedEmbedTextEmbedder

__all__ = ["MedEmbedDocumentEmbedder", "MedEmbedTextEmbedder"]
