"""Late interaction: one vector per token, compared by MaxSim. It serves reranking and search."""
