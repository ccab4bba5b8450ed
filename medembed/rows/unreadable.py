"""The reason that the content of a document is no text. It becomes a reject."""


class UnreadableError(Exception):
    """A document that cannot be read; the message says why, and never what is in it."""
