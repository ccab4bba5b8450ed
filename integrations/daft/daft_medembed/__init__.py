"""MedEmbed for Daft: ``embed_text`` with a medical model and its own prompts, offline on any CPU.

Example:
    >>> import daft
    >>> from daft.functions import embed_text
    >>> _ = daft.attach_provider(MedEmbedProvider(threads=1))
    >>> notes = daft.from_pydict({"note": ["chest pain", "itchy skin"]})
    >>> rows = notes.select(embed_text(notes["note"], provider="medembed").alias("vector")).to_pydict()
    >>> rows["vector"][0].shape
    (384,)
"""

from importlib.metadata import version

from daft_medembed.provider import MedEmbedProvider

__version__ = version("daft-medembed")

__all__ = ["MedEmbedProvider", "__version__"]
