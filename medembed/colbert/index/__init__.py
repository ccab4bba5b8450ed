"""A store of compressed token vectors.

It is built in shards that survive a crash, and searched by centroids and exact MaxSim.
"""
