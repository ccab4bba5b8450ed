"""A store of either kind, opened by what its manifest says."""

from pathlib import Path
from typing import Any

import numpy as np

from medembed.checkpoints.registry import stored_name
from medembed.colbert.index.layout import INDEX, TokenEncoding
from medembed.colbert.index.store import TokenIndex
from medembed.colbert.model import MedColBERT
from medembed.corpus.layout import CORPUS, Embedding
from medembed.corpus.store import EmbeddedCorpus
from medembed.model import MedEmbed
from medembed.storage import arrow_files, format1
from medembed.storage.format1 import Reader
from medembed.storage.manifest import kind_of

Either = EmbeddedCorpus | TokenIndex


def open_store(path: Path, model: str | None = None, *, device: str = "auto", threads: int | None = None) -> Either:
    """Open an embedded corpus or a token index.

    Args:
        path: Its folder.
        model: Where its model is now; None for what the manifest names.
        device: For its model.
        threads: For its model.

    Raises:
        CorpusError: Neither of both.
        CorpusModelError: ``model`` is another than it was made with.
    """
    if kind_of(path) == INDEX.name:
        index = TokenIndex.open(path, device=device, threads=threads)
        return index if model is None else _with(index, model, device, threads)
    corpus = EmbeddedCorpus.open(path, device=device, threads=threads)
    return corpus if model is None else _with(corpus, model, device, threads)


def _with(opened: Either, name: str, device: str, threads: int | None) -> Either:
    settings: dict[str, Any] = {**opened.model_settings, "model": name, "device": device, "threads": threads}
    if isinstance(opened, TokenIndex):
        opened.use(MedColBERT(**settings))
    else:
        opened.use(MedEmbed(**settings))
    return opened


def take_over(source: Path, target: Path) -> int:
    """Write a store in an earlier medembed's layout as a new one.

    See :func:`medembed.storage.format1.take_over`.
    """
    return format1.take_over(source, target, READERS)


def _embedding(told: dict[str, Any]) -> Embedding:
    return Embedding.model_validate({**told, "model": stored_name(told["model"], told["revision"])})


def _token_encoding(told: dict[str, Any]) -> TokenEncoding:
    return TokenEncoding.model_validate(
        {
            **{key: value for key, value in told.items() if key in TokenEncoding.model_fields},
            "model": stored_name(told["model"], told["revision"]),
            "weights": told["revision"],
            "max_seq_length": told["document_length"],
        }
    )


def _token_columns(table: Any) -> dict[str, Any]:
    columns = {}
    for name, dtype in (("codes", np.uint16), ("remainders", np.uint8)):
        lists = table.column(name).combine_chunks()
        values = lists.flatten().to_numpy(zero_copy_only=False).view(dtype)
        ends = np.cumsum([0, *lists.value_lengths().to_numpy(zero_copy_only=False)]) * values.itemsize
        columns[name] = arrow_files.from_bytes(values, ends)
    return columns


READERS = {
    CORPUS.name: Reader(CORPUS, _embedding, lambda table: {"vector": table.column("vector")}),
    INDEX.name: Reader(INDEX, _token_encoding, _token_columns),
}
