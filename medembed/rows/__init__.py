"""Rows of text from files, folders, archives and URLs."""
