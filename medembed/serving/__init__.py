"""A server of embeddings, rankings and search, for clients that speak HTTP or MCP."""
