"""Late interaction: a vector a token, compared by MaxSim, for reranking and for search."""
