"""MedEmbed for LangChain: medical embeddings with the model's own prompts, offline on any CPU.

Example:
    >>> from langchain_medembed import MedEmbedEmbeddings
    >>> len(MedEmbedEmbeddings(threads=1).embed_query("chest pain"))
    384
"""

from importlib.metadata import version

from langchain_medembed.embeddings import MedEmbedEmbeddings
from langchain_medembed.rerank import MedColBERTRerank
from langchain_medembed.splitter import MedEmbedSplitter

__version__ = version("langchain-medembed")

__all__ = ["MedColBERTRerank", "MedEmbedEmbeddings", "MedEmbedSplitter", "__version__"]
