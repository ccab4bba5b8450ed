"""BM25 over the texts of a corpus, kept beside its maps."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medembed.corpus.layout import MAPS, Manifest
from medembed.errors import CorpusError
from medembed.search.bm25 import Bm25
from medembed.search.words import VERSION
from medembed.storage import paths
from medembed.storage.durable import write_folder

log = logging.getLogger("medembed")
# written last: an index without it is not whole
WHOLE = "whole"


def lexical_index(folder: Path, manifest: Manifest, tables: Sequence[Any]) -> Bm25:
    """BM25 over the texts of a corpus; made once and kept beside its maps.

    Args:
        folder: The corpus.
        manifest: Its manifest.
        tables: Its row tables, in order.

    Raises:
        CorpusError: The corpus was made without texts.
    """
    if not manifest.text_stored:
        raise CorpusError(f"{folder} holds no texts, which hybrid search needs: index again with --store-text")
    key = hashlib.sha256("".join((VERSION, *(shard.sha256 for shard in manifest.shards))).encode()).hexdigest()[:16]
    kept = folder / MAPS / f"bm25-{key}"
    if (kept / WHOLE).is_file():
        return Bm25.load(kept)
    made = Bm25([text for table in tables for text in table.column("text").to_pylist()])

    def fill(aside: Path) -> None:
        made.save(aside)
        (aside / WHOLE).touch()

    try:
        kept.parent.mkdir(exist_ok=True)
        for outdated in kept.parent.glob("bm25-*"):
            paths.remove_folder(folder, f"{MAPS}/{outdated.name}")
        write_folder(kept, fill)
    except OSError as error:
        # a corpus on a read-only or full disk can be searched all the same
        log.warning("%s: the BM25 index cannot be kept (%s) and is made at every start", folder, type(error).__name__)
    return made
