"""MedColBERT for Haystack: retrieved documents put in the order of late interaction, offline on any CPU."""

from haystack_integrations.components.rankers.medembed.ranker import MedColBERTRanker

__all__ = ["MedColBERTRanker"]
