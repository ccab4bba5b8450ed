"""A model on disk: the known ones, their files, weights and settings."""
