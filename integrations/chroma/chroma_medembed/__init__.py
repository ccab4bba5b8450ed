"""MedEmbed for Chroma: medical embeddings with the model's own prompts, offline on any CPU.

Importing this package registers the function, so that collections filled with it open by their name alone.

Example:
    >>> from chroma_medembed import MedEmbedEmbeddingFunction
    >>> MedEmbedEmbeddingFunction(threads=1)(["chest pain"])[0].shape
    (384,)
"""

from importlib.metadata import version

from chroma_medembed.function import MedEmbedEmbeddingFunction

__version__ = version("chroma-medembed")

__all__ = ["MedEmbedEmbeddingFunction", "__version__"]
