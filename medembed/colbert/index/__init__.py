"""A store of compressed token vectors: built in shards that survive a crash, searched by centroids and exact MaxSim."""
