"""Embedded corpora at rest: read rows, embed them into shards that survive a crash, search them exactly, hand them over."""
