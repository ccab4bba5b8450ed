"""Ranking of arrays: top-k, BM25, fusion and nDCG."""
