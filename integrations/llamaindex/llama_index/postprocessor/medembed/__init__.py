"""MedColBERT for LlamaIndex: retrieved nodes put in a better order by late interaction, offline on any CPU."""

from llama_index.postprocessor.medembed.base import MedColBERTRerank

__all__ = ["MedColBERTRerank"]
