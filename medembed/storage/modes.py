"""Modes of writing a store, and how much one of them may delete. Nothing is imported for them: help names them too."""

from typing import Literal

Mode = Literal["new", "append", "upsert", "sync", "overwrite"]

# of a store's rows at most, so that an export that broke off deletes little
SYNC_LIMIT = 0.2
