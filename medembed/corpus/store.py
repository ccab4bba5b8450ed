"""EmbeddedCorpus: an embedded corpus on disk, opened for reading, searching and careful changes."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from medembed.corpus import changes, embed, filters, layout, search
from medembed.corpus import hybrid as fusing
from medembed.corpus.embed import Settings, Summary
from medembed.corpus.filters import Filter
from medembed.corpus.hybrid import Hybrid
from medembed.corpus.layout import Manifest
from medembed.corpus.lexical import lexical_index
from medembed.corpus.open_files import OpenFiles
from medembed.corpus.search import Hit, Index, ScanKind
from medembed.errors import InputTypeError, SettingError
from medembed.model import MedEmbed
from medembed.runtime.lifecycle import ClosedByWith
from medembed.search.bm25 import Bm25
from medembed.search.topk import Integers

Floats = NDArray[np.float32]


class EmbeddedCorpus(ClosedByWith):
    """Texts with their vectors in a folder of Parquet shards, searched through memory maps.

    Made by ``medembed index`` or :meth:`build`, opened with :meth:`open`. Reading never changes the shards; what is derived
    for searching lies in ``maps/`` and may be deleted at any time.

    Example:
        >>> import tempfile
        >>> from medembed import EmbeddedCorpus, FakeEngine, MedEmbed
        >>> rows = [{"id": "a", "text": "chest pain"}, {"id": "b", "text": "itchy skin"}]
        >>> with tempfile.TemporaryDirectory() as folder, MedEmbed(engine=FakeEngine()) as model:
        ...     corpus = EmbeddedCorpus.build(folder, rows, model)
        ...     corpus.search("pain in the chest", k=1)[0].id
        'a'
    """

    def __init__(self, path: Path, manifest: Manifest, model: MedEmbed | None) -> None:
        """Use :meth:`open`."""
        self._path, self._manifest, self._given = path, manifest, model
        self._model = model
        self._forget()

    def _forget(self) -> None:
        """Drop what was read of the files, which may have changed."""
        self._files = OpenFiles(self._path, self._manifest)
        self._lexical: Bm25 | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], model: MedEmbed | None = None) -> Self:
        """Open a finished corpus.

        Args:
            path: Its folder.
            model: The model it was embedded with; None to load the one its manifest names when a text is first searched.

        Raises:
            CorpusError: No corpus, an unfinished or damaged one, or one of a newer version.
            CorpusModelError: ``model`` is another, or gives another dimension; the message says both.
        """
        folder = Path(path).expanduser()
        manifest = layout.read_manifest(folder)
        if model is not None:
            layout.check_model(manifest, model, folder)
        for shard in manifest.shards:
            if not (folder / shard.file).is_file():
                raise layout.damaged_shard(folder, shard)
        return cls(folder, manifest, model)

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        rows: Iterable[Mapping[str, Any]],
        model: MedEmbed,
        settings: Settings | None = None,
    ) -> Self:
        """Embed rows into a new corpus and open it; bounded memory, any number of rows.

        Args:
            path: Its folder; made if missing.
            rows: Mappings with the id, the text and kept columns; see :class:`medembed.rows.read.Columns`.
            model: What embeds.
            settings: Columns, storage, mode; None for the defaults.

        Raises:
            CorpusError: A row cannot be used (the message has its number), or the folder holds another corpus.
        """
        chosen = settings or Settings()
        stream = changes.rows_of(rows, chosen.columns)
        embed.index_rows(stream, Path(path).expanduser(), model, chosen, inputs=[changes.FROM_PYTHON])
        return cls.open(path, model)

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._path

    @property
    def manifest(self) -> Manifest:
        """What it was made with, and of which files it consists."""
        return self._manifest

    @property
    def dimension(self) -> int:
        """Length of a vector before packing."""
        return self._manifest.embedding.dimension

    @property
    def model_settings(self) -> dict[str, Any]:
        """Arguments that make :class:`MedEmbed` the model of this corpus."""
        told = self._manifest.embedding
        return {
            "model": told.model,
            "revision": None if told.revision.startswith("sha256-") else told.revision,
            "truncate_dim": told.dimension,
            "max_seq_length": told.max_seq_length,
        }

    @property
    def model(self) -> MedEmbed:
        """The model of the corpus; loaded at the first use where none was passed.

        Raises:
            CorpusModelError: What is on this disk under the model's name is another model by now.
        """
        if self._model is None:
            model = MedEmbed(**self.model_settings)
            layout.check_model(self._manifest, model, self._path)
            self._model = model
        return self._model

    def __len__(self) -> int:
        """Rows, deleted ones left out."""
        return self._manifest.n_rows - (self._manifest.deleted.n_rows if self._manifest.deleted else 0)

    @property
    def ids(self) -> list[str]:
        """Ids of all rows, in the order they were indexed, deleted ones left out."""
        names = self._files.ids()
        return [names[row] for row in np.flatnonzero(self._files.live())]

    def vectors(self, ids: Sequence[str] | None = None) -> Floats:
        """Vectors as float32, of all rows in the order of :attr:`ids`, or of chosen ones in the order asked.

        Args:
            ids: Which; None for all, which takes ``4 · len · dimension`` bytes.

        Returns:
            *Shape:* ``(n, dimension)``.

        Raises:
            CorpusError: An id that is not there.
        """
        files = self._files
        rows = np.flatnonzero(files.live()) if ids is None else changes.rows_with(files.rows(), files.live(), ids)
        return files.vectors(rows)

    @property
    def files(self) -> OpenFiles:
        """The mapped files, for handing them over to other engines."""
        return self._files

    @overload
    def search(  # type: ignore[overload-overlap] # a str is a sequence of str too
        self,
        queries: str,
        k: int = 10,
        *,
        filter: Filter | None = None,
        scan: ScanKind = "auto",
        hybrid: Hybrid | None = None,
    ) -> list[Hit]: ...
    @overload
    def search(
        self,
        queries: Sequence[str] | Floats,
        k: int = 10,
        *,
        filter: Filter | None = None,
        scan: ScanKind = "auto",
        hybrid: Hybrid | None = None,
    ) -> list[list[Hit]]: ...

    def search(
        self,
        queries: str | Sequence[str] | Floats,
        k: int = 10,
        *,
        filter: Filter | None = None,  # noqa: A002 - what it is called everywhere
        scan: ScanKind = "auto",
        hybrid: Hybrid | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """The best rows for queries, exactly: every vector is compared.

        Args:
            queries: A text, several, or vectors of the corpus's model. *Shape:* ``(n, dimension)``.
            k: How many rows a query.
            filter: Which rows may be found: ``{"ward": "icu", "year": [2024, 2025]}``, or a ``pyarrow.compute`` expression
                over ``id``, ``source``, ``line`` and kept columns.
            scan: ``"int8"`` or ``"binary"`` choose candidates over smaller vectors and score those in floats: faster, and
                nearly always the same rows. ``"auto"`` is exact for float vectors, and the stored kind for others.
            hybrid: Fuse with BM25 over the same texts; None for vectors alone. See the guide for when it helps.

        Returns:
            Hits, best first: one list for a ``str``, a list of lists for several queries.

        Raises:
            SettingError: ``k`` below 1.
            CorpusError: The filter does not fit, the corpus stores less than ``scan`` needs, or no texts for ``hybrid``.
            CorpusModelError: Vectors of another dimension, or the model is not the corpus's.
        """
        if k < 1:
            raise SettingError(f"k={k}: give at least 1")
        asked = [queries] if isinstance(queries, str) else queries
        matrix, index = self._query_vectors(asked), self.index(scan, filter)
        if hybrid is None:
            rows, scores = search.top_k(index, matrix, k)
        else:
            found = self._candidates(index, asked, matrix, max(k, hybrid.depth))
            both = [fusing.ranked(item, hybrid, k) for item in found]
            rows, scores = [item[0] for item in both], [item[1] for item in both]
        hits = self._hits(rows, scores)
        return hits[0] if isinstance(queries, str) else hits

    def choose_weight(
        self, queries: Sequence[str], relevant: Sequence[Mapping[str, int]], *, depth: int = 100, k: int = 10
    ) -> dict[float, float]:
        """Mean nDCG@k of weighted fusion on a development set, for each weight from 0 (BM25) to 1 (dense) in steps of 0.05.

        Args:
            queries: The set's queries; not those you will report results on.
            relevant: For each query, ids of relevant rows and how relevant they are.
            depth: Candidates of each side.
            k: Ranks that count.

        Returns:
            By weight; ``max(found, key=found.get)`` is the one to take.

        Raises:
            SettingError: Not as many judgements as queries.
            CorpusError: The corpus holds no texts.
        """
        if len(queries) != len(relevant):
            raise SettingError(f"{len(queries)} queries, but judgements for {len(relevant)}: give one mapping a query")
        found = self._candidates(self.index(), queries, self._query_vectors(queries), depth)
        ids = self._files.ids()
        return {
            weight: fusing.mean_ndcg(found, Hybrid(weight=weight, depth=depth), ids, relevant, k)
            for weight in fusing.WEIGHTS
        }

    def _candidates(
        self, index: Index, queries: Sequence[str] | Floats, matrix: Floats, depth: int
    ) -> list[fusing.Candidates]:
        if isinstance(queries, np.ndarray):
            raise InputTypeError("hybrid search needs the queries' texts, not their vectors: BM25 compares words")
        if self._lexical is None:
            self._lexical = lexical_index(self._path, self._manifest, self._files.rows())
        return fusing.candidates(index, self._lexical, list(queries), matrix, depth)

    def _query_vectors(self, queries: Sequence[str] | Floats) -> Floats:
        if not isinstance(queries, np.ndarray):
            return self.model.encode_query(list(queries), show_progress=False)
        if queries.ndim != 2:
            raise InputTypeError(f"query vectors have shape {queries.shape}; expected (n, {self.dimension})")
        if queries.shape[1] != self.dimension:
            raise layout.other_dimension(self._manifest, queries.shape[1], self._path)
        return np.ascontiguousarray(queries, dtype=np.float32)

    def index(self, scan: ScanKind = "auto", filter: Filter | None = None) -> Index:  # noqa: A002
        """What :func:`medembed.corpus.search.top_k` searches: mapped vectors and the rows a filter lets through."""
        told = self._manifest.embedding
        kind = search.first_kind(scan, told.vectors)
        allowed = None if self._manifest.deleted is None else self._files.live()
        if filter is not None:
            allowed = self._files.live() & filters.allowed(self._files.rows(), filter, self._manifest.kept)
        return Index(
            self._files.blocks(told.vectors), told.vectors, self._files.blocks(kind), kind, told.ranges_array(), allowed
        )

    def to_npy(self, path: str | os.PathLike[str]) -> None:
        """Write vectors as ``.npy`` and ids beside it as ``.ids.json``; see :func:`medembed.corpus.handover.to_npy`."""
        from medembed.corpus import handover

        handover.to_npy(self, Path(path))

    def to_faiss(self, factory: str = "Flat") -> tuple[Any, list[str]]:
        """A faiss index and the ids of its rows; see :func:`medembed.corpus.handover.to_faiss`."""
        from medembed.corpus import handover

        return handover.to_faiss(self, factory)

    def to_lancedb(self, uri: str, table: str = "corpus") -> Any:
        """A LanceDB table; see :func:`medembed.corpus.handover.to_lancedb`."""
        from medembed.corpus import handover

        return handover.to_lancedb(self, uri, table)

    def to_qdrant(self, client: Any, collection: str) -> None:
        """A Qdrant collection; see :func:`medembed.corpus.handover.to_qdrant`."""
        from medembed.corpus import handover

        handover.to_qdrant(self, client, collection)

    def _hits(self, rows: list[Integers], scores: list[Floats]) -> list[list[Hit]]:
        """Rows of all queries fetched at once, and given back query by query."""
        fetched = iter(changes.rows_at(self._files.rows(), np.concatenate(rows) if rows else np.empty(0, np.int64)))
        return [[_hit(next(fetched), float(score)) for score in values] for values in scores]

    def append(self, rows: Iterable[Mapping[str, Any]]) -> Summary:
        """Embed further rows with the corpus's model; ids that are there already are refused.

        Args:
            rows: As for :meth:`build`, with the columns that the corpus keeps.

        Returns:
            How many rows there are now, and how many of them this call embedded.

        Raises:
            CorpusError: A row cannot be used, or another process writes.
        """
        stream = changes.rows_of(rows, changes.columns_of(self._manifest))
        settings = changes.settings_of(self._manifest, "append")
        summary = embed.index_rows(stream, self._path, self.model, settings, inputs=[changes.FROM_PYTHON])
        self._reload()
        return summary

    def delete(self, ids: Collection[str]) -> int:
        """Leave rows out from now on; their bytes go with :meth:`compact`.

        Returns:
            How many rows were deleted.

        Raises:
            CorpusError: An id that is not there; nothing is deleted then.
        """
        count = changes.delete(self._path, list(ids))
        self._reload()
        return count

    def compact(self, shard_rows: int | None = None) -> None:
        """Write the shards anew without deleted rows and in full length; nothing is embedded again.

        Args:
            shard_rows: Rows a shard; None for what the corpus has.
        """
        changes.compact(self._path, shard_rows)
        self._reload()

    def verify(self) -> list[str]:
        """Hash every file.

        Returns:
            Names of files that are missing or changed, below the corpus; empty where all is well. Damaged maps are removed,
            since they are made again by themselves; damaged shards are for ``medembed index`` to make again.
        """
        return changes.verify(self._path, self._manifest)

    def _reload(self) -> None:
        self._manifest = layout.read_manifest(self._path)
        self._forget()

    def close(self) -> None:
        """Let go of the maps, and of the model where it was loaded here."""
        self._forget()
        if self._model is not None and self._given is None:
            self._model.close()
            self._model = None

    def __repr__(self) -> str:
        """Tell path, rows, dimension and model."""
        told = self._manifest.embedding
        return f"EmbeddedCorpus({str(self._path)!r}, rows={len(self)}, dimension={told.dimension}, vectors={told.vectors!r}, model={told.model!r})"


def _hit(values: dict[str, Any], score: float) -> Hit:
    own = {name: values.pop(name) for name in ("id", "text", "source", "line")}
    return Hit(**own, score=score, kept=values)
