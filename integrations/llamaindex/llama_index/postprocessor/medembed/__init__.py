"""MedColBERT for LlamaIndex: retrieved nodes put in the order of late interaction, offline on any CPU."""

from llama_index.postprocessor.medembed.base import MedColBERTRerank

__all__ = ["MedColBERTRerank"]
