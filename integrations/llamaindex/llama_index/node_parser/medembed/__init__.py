"""Passages of clinical notes for LlamaIndex, as medembed cuts them."""

from llama_index.node_parser.medembed.base import MedEmbedNodeParser

__all__ = ["MedEmbedNodeParser"]
