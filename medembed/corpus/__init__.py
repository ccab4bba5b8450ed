"""Embedded corpora on disk.

Rows are read, and embedded into shards that survive a crash. They are searched exactly and handed over.
"""
