"""EmbeddedCorpus, an embedded corpus on disk. It is opened for reading, searching and careful changes."""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.clinical.asked import Assertion
from medembed.clinical.hits import deep_enough, hits_of, wishes_of
from medembed.corpus import embed, layout, scan, search
from medembed.corpus import hybrid as fusing
from medembed.corpus.embed import Settings
from medembed.corpus.hybrid import Hybrid
from medembed.corpus.layout import CORPUS, Embedding, Stored
from medembed.corpus.scan import Block
from medembed.corpus.search import Index, ScanKind
from medembed.errors import CorpusError, InputTypeError, SettingError, VectorError
from medembed.extras import require
from medembed.model import MedEmbed
from medembed.per_process import computing
from medembed.search.bm25 import Bm25
from medembed.search.words import VERSION
from medembed.storage import arrow_files, derived, manifest
from medembed.storage.building import Summary
from medembed.storage.filters import Filter
from medembed.storage.manifest import count_rows
from medembed.storage.modes import SYNC_LIMIT, Mode
from medembed.storage.opened import Opened
from medembed.storage.scopes import Scope
from medembed.storage.shards import row_columns
from medembed.storage.tables import Hit, Store

Floats = NDArray[np.float32]


class EmbeddedCorpus(Opened[Embedding, MedEmbed]):
    """Texts with their vectors in a folder of Arrow shards. They are searched through memory maps.

    Made by ``medembed index`` or :meth:`build`, opened with :meth:`open`. Reading never changes the shards; what is derived
    for searching lies in ``derived/`` and may be deleted at any time.

    Example:
        >>> import tempfile
        >>> from medembed import EmbeddedCorpus, FakeEngine, MedEmbed
        >>> rows = [{"id": "a", "text": "chest pain"}, {"id": "b", "text": "itchy skin"}]
        >>> with tempfile.TemporaryDirectory() as folder, MedEmbed(engine=FakeEngine()) as model:
        ...     corpus = EmbeddedCorpus.build(folder, rows, model)
        ...     corpus.search("pain in the chest", k=1)[0].id
        'a'
    """

    KIND = CORPUS

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        rows: Iterable[Mapping[str, Any]],
        model: MedEmbed,
        settings: Settings | None = None,
    ) -> Self:
        """Embed rows into a new corpus and open it. Memory is bounded, for any number of rows.

        Args:
            path: Its folder; made if missing.
            rows: Mappings with the id, the text and kept columns; see :class:`medembed.rows.read.Columns`.
            model: What embeds.
            settings: Columns, storage, mode; None for the defaults.

        Raises:
            CorpusError: A row cannot be used (the message has its number), or the folder holds another corpus.
        """
        embed.index_python(rows, Path(path).expanduser(), model, settings or Settings())
        return cls.open(path, model)

    @classmethod
    def _encoding_of(cls, model: MedEmbed) -> Embedding:
        return layout.embedding_of(model, "float32")

    def _load(self, device: str, threads: int | None) -> MedEmbed:
        return MedEmbed(**self.model_settings, device=device, threads=threads)

    def _add(self, rows: Iterable[Mapping[str, Any]], mode: Mode, sync_limit: float = SYNC_LIMIT) -> Summary:
        return embed.index_python(
            rows, self.path, self.model, replace(embed.settings_of(self.manifest, mode), sync_limit=sync_limit)
        )

    @property
    def model_settings(self) -> dict[str, Any]:
        """Arguments that make :class:`MedEmbed` the model of this corpus."""
        return layout.model_settings(self.manifest, self.revision_setting)

    def vectors(self, ids: Sequence[str] | None = None, *, scope: Scope | None = None) -> Floats:
        """Vectors as float32.

        They are those of all rows in the order of :attr:`ids`, or of chosen rows in the order asked.

        Args:
            ids: Which; None for all, which takes ``4 · len · dimension`` bytes.
            scope: As for :meth:`search`.

        Returns:
            *Shape:* ``(n, dimension)``.

        Raises:
            CorpusError: An id that is not there, or not in the scope.
            CorpusScopeError: A scope has to be named and was not, or it is none of this corpus.
        """
        return self._read(lambda: self._vectors(ids, self._within(scope)))

    def _vectors(self, ids: Sequence[str] | None, store: Store[Embedding]) -> Floats:
        rows = np.flatnonzero(store.live()) if ids is None else store.numbers(ids)
        if not len(rows):
            return np.empty((0, self.dimension), dtype=np.float32)
        return self.to_float(scan.take(self._blocks_of(self.manifest.encoding.vectors, store), rows))

    @overload
    def search(  # type: ignore[overload-overlap] # a str is a sequence of str too
        self,
        queries: str,
        k: int = 10,
        *,
        filter: Filter | None = None,
        group_by: str | None = None,
        scan: ScanKind = "auto",
        hybrid: Hybrid | None = None,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[Hit]: ...
    @overload
    def search(
        self,
        queries: Sequence[str] | Floats,
        k: int = 10,
        *,
        filter: Filter | None = None,
        group_by: str | None = None,
        scan: ScanKind = "auto",
        hybrid: Hybrid | None = None,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[list[Hit]]: ...

    def search(
        self,
        queries: str | Sequence[str] | Floats,
        k: int = 10,
        *,
        filter: Filter | None = None,  # noqa: A002 - what it is called everywhere
        group_by: str | None = None,
        scan: ScanKind = "auto",
        hybrid: Hybrid | None = None,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """The best rows for queries, exactly: every vector is compared.

        Args:
            queries: A text, several, or vectors of the corpus's model. *Shape:* ``(n, dimension)``.
            k: Rows per query.
            filter: Which rows may be found: ``{"ward": "icu", "year": [2024, 2025]}``, or a ``pyarrow.compute`` expression
                over ``id``, ``source``, ``line`` and kept columns.
            group_by: Kept column, such as ``"note"`` of passages: only the best row of each of its values is given, and ``others``
                of a hit counts the rest; None for every row.
            scan: ``"int8"`` or ``"binary"`` choose candidates over smaller vectors and score those in floats: faster, and
                nearly always the same rows. ``"auto"`` is exact for float vectors, and the stored kind for others.
            hybrid: Fuse with BM25 over the same texts; None for vectors alone. See the guide for when it helps.
            assertion: What the texts have to say of the query's words: ``"affirmed"``, ``"negated"``, or ``"any"`` for no matter.
                None reads it from the query (*without*, *no*, *mother with*, *history of*). Of the best 100 rows, those that
                assert something else fall back; their hits say what.
            scope: Whose rows may be found, for a corpus with a scope column: ``{"patient": "17"}``, with a list for several, or ``"all"``.
                It cannot be left out there. A value that no row has finds nothing.

        Returns:
            Hits, best first: one list for a ``str``, a list of lists for several queries.

        Raises:
            SettingError: ``k`` below 1.
            CorpusError: The filter or ``group_by`` does not fit, the corpus stores less than ``scan`` needs, or no texts for ``hybrid``.
            CorpusScopeError: A scope has to be named and was not, or it is none of this corpus.
            CorpusModelError: Vectors of another dimension, or the model is not the corpus's.
        """
        if k < 1:
            raise SettingError(f"k={k}: give at least 1")
        requested = [queries] if isinstance(queries, str) else queries
        self._within(scope)  # a missing scope is told before anything is encoded
        matrix = self._query_vectors(requested)
        hits = self._read(
            lambda: self._grouped(
                lambda n: self._found(requested, matrix, n, filter, scan, hybrid, assertion, self._within(scope)),
                k,
                group_by,
            )
        )
        return hits[0] if isinstance(queries, str) else hits

    @overload
    async def asearch(  # type: ignore[overload-overlap]
        self,
        queries: str,
        k: int = 10,
        *,
        filter: Filter | None = None,
        group_by: str | None = None,
        scan: ScanKind = "auto",
        hybrid: Hybrid | None = None,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[Hit]: ...
    @overload
    async def asearch(
        self,
        queries: Sequence[str] | Floats,
        k: int = 10,
        *,
        filter: Filter | None = None,
        group_by: str | None = None,
        scan: ScanKind = "auto",
        hybrid: Hybrid | None = None,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[list[Hit]]: ...

    async def asearch(
        self,
        queries: str | Sequence[str] | Floats,
        k: int = 10,
        *,
        filter: Filter | None = None,  # noqa: A002
        group_by: str | None = None,
        scan: ScanKind = "auto",
        hybrid: Hybrid | None = None,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """``search`` without blocking the event loop. Arguments and their shapes, hits and errors are the same."""
        return await asyncio.to_thread(
            partial(
                self.search,
                queries,
                k,
                filter=filter,
                group_by=group_by,
                scan=scan,
                hybrid=hybrid,
                assertion=assertion,
                scope=scope,
            )
        )

    def _found(
        self,
        requested: Sequence[str] | Floats,
        matrix: Floats,
        k: int,
        chosen: Filter | None,
        scan: ScanKind,
        hybrid: Hybrid | None,
        assertion: Assertion | None,
        store: Store[Embedding],
    ) -> list[list[Hit]]:
        fusing.check(hybrid)
        # outside of computing(): another thread may be making them, and nothing is waited for in there
        index = self._index(scan, chosen, store)
        fusion = None if hybrid is None else (hybrid, self._words(requested, store))
        with computing():
            wishes = wishes_of(requested, assertion, self.manifest)
            deep = min(deep_enough(wishes, k), max(1, store.manifest.n_rows))
            if fusion is None:
                rows, scores = search.top_k(index, matrix, deep)
            else:
                how, words = fusion
                found = fusing.candidates(index, words, list(requested), matrix, max(deep, how.depth))
                both = [fusing.ranked(item, how, deep) for item in found]
                rows, scores = [item[0] for item in both], [item[1] for item in both]
            return hits_of(store, rows, scores, wishes, k)

    def choose_weight(
        self,
        queries: Sequence[str],
        relevant: Sequence[Mapping[str, int]],
        *,
        depth: int = 100,
        k: int = 10,
        scope: Scope | None = None,
    ) -> dict[float, float]:
        """Mean nDCG@k of hybrid search on a development set, for each of some weights.

        Weight 0 is the dense score alone.

        Args:
            queries: The set's queries; not those you will report results on.
            relevant: For each query, ids of relevant rows and how relevant they are.
            depth: Candidates of each side.
            k: Ranks that count.
            scope: As for :meth:`search`.

        Returns:
            By weight; ``max(found, key=found.get)`` is the one to take.

        Raises:
            SettingError: Not as many judgements as queries.
            CorpusError: The corpus holds no texts.
        """
        if len(queries) != len(relevant):
            raise SettingError(
                f"{len(queries)} queries, but judgements for {len(relevant)}: give one mapping per query"
            )
        self._within(scope)
        matrix = self._query_vectors(queries)
        found, ids = self._read(lambda: self._judged(queries, matrix, depth, self._within(scope)))
        return {
            weight: fusing.mean_ndcg(found, Hybrid(weight=weight, depth=depth), ids, relevant, k)
            for weight in fusing.WEIGHTS
        }

    def _judged(
        self, queries: Sequence[str], matrix: Floats, depth: int, store: Store[Embedding]
    ) -> tuple[list[fusing.Candidates], list[str]]:
        index, words = self._index("auto", None, store), self._words(queries, store)
        return fusing.candidates(index, words, list(queries), matrix, depth), store.ids()

    def _words(self, queries: Sequence[str] | Floats, store: Store[Embedding]) -> Bm25:
        """BM25 over the texts, for queries that are texts. It is made once, and kept with what else is derived."""
        if isinstance(queries, np.ndarray):
            raise InputTypeError("hybrid search needs the queries' texts, not their vectors: BM25 compares words")
        if not self.manifest.text_stored:
            raise CorpusError(f"{self.path} holds no texts, which hybrid search needs: index again with --store-text")

        def make() -> Bm25:
            return Bm25([text for table in store.tables() for text in table.column("text").to_pylist()])

        def get() -> Bm25:
            n_rows = store.manifest.n_rows
            return store.whole(f"bm25.{VERSION}", make, Bm25.save, Bm25.load, lambda words: words.size == n_rows)

        return store.once("words", get)

    def _query_vectors(self, queries: Sequence[str] | Floats) -> Floats:
        if not isinstance(queries, np.ndarray):
            return self.model.encode_query(list(queries), show_progress_bar=False)
        if queries.ndim != 2:
            raise InputTypeError(f"query vectors have shape {queries.shape}; expected (n, {self.dimension})")
        if not np.issubdtype(queries.dtype, np.floating):
            raise InputTypeError(f"query vectors are {queries.dtype}; expected floats, as encode_query gives them")
        if not np.isfinite(queries).all():
            raise VectorError("a query vector holds NaN or infinity: nothing can be compared with it")
        if queries.shape[1] != self.dimension:
            raise manifest.other_dimension(self.manifest, queries.shape[1], self.path)
        return np.ascontiguousarray(queries, dtype=np.float32)

    def index(
        self,
        scan: ScanKind = "auto",
        filter: Filter | None = None,  # noqa: A002
        *,
        scope: Scope | None = None,
    ) -> Index:
        """The input of :func:`medembed.corpus.search.top_k`.

        It has mapped vectors and the rows that a filter and a scope let through.
        """
        return self._index(scan, filter, self._within(scope))

    def _index(self, scan: ScanKind, chosen: Filter | None, store: Store[Embedding]) -> Index:
        told = store.manifest.encoding
        kind = search.first_kind(scan, told.vectors)
        stored = self._blocks_of(told.vectors, store)
        first = self._blocks_of(kind, store)
        return Index(stored, told.vectors, first, kind, told.ranges_array(), store.allowed(chosen))

    def _blocks_of(self, kind: Stored, store: Store[Embedding]) -> list[Block]:
        """All vectors, mapped: as they are stored, or quantized further. Which of them may be found is said beside them."""
        is_stored = kind == store.manifest.encoding.vectors
        return store.once(kind, lambda: self._stored_blocks(store) if is_stored else self._quantized(kind, store))

    @staticmethod
    def _stored_blocks(store: Store[Embedding]) -> list[Block]:
        pairs = zip(store.starts, store.tables(), strict=False)
        return [Block(int(start), arrow_files.to_matrix(table.column("vector"))) for start, table in pairs]

    def _quantized(self, kind: Stored, store: Store[Embedding]) -> list[Block]:
        blocks = []
        for group in derived.groups(store.manifest):
            make = partial(self._derive, group, kind, store)
            n_rows = count_rows([store.manifest.shards[number] for number in group.numbers])
            schema = self._derived_schema(kind)
            table = store.derived.table(kind, group.key, make, partial(arrow_files.fits, schema=schema, n_rows=n_rows))
            blocks.append(Block(group.start, arrow_files.to_matrix(table.column("vector"))))
        return blocks

    def _derive(self, group: derived.Group, kind: Stored, store: Store[Embedding]) -> Any:
        told = self.manifest.encoding
        stored = [arrow_files.to_matrix(store.table(number).column("vector")) for number in group.numbers]
        packed = vectors.quantize(self.to_float(np.concatenate(stored)), kind, told.ranges_array())
        column = arrow_files.to_column(packed, layout.vector_type(told, kind))
        return require("pyarrow").table([column], schema=self._derived_schema(kind))

    def _derived_schema(self, kind: Stored) -> Any:
        return require("pyarrow").schema({"vector": layout.vector_type(self.manifest.encoding, kind)})

    def to_float(self, stored: NDArray[Any]) -> Floats:
        """Stored vectors of this corpus as float32. *Shape:* ``(n, dimension)``."""
        told = self.manifest.encoding
        return vectors.to_float(stored, told.vectors, told.ranges_array())

    def groups(self, scope: Scope | None = None) -> Iterator[tuple[Any, NDArray[Any]]]:
        """Live rows of each shard in a scope, and their stored vectors.

        The rows are an Arrow table without vectors. The vectors have *Shape:* ``(n, columns)``.

        Raises:
            CorpusScopeError: A scope has to be named and was not, or it is none of this corpus.
        """
        store = self._within(scope)
        live = store.live()
        for block, table in zip(self._blocks_of(self.manifest.encoding.vectors, store), store.tables(), strict=True):
            here = live[block.start : block.start + len(block.vectors)]
            rows = row_columns(table, self.manifest).drop_columns(["text_hash"])
            yield (rows, block.vectors) if here.all() else (rows.filter(here), block.vectors[here])

    def to_npy(self, path: str | os.PathLike[str], *, scope: Scope | None = None) -> None:
        """Write vectors as ``.npy`` and ids beside it as ``.ids.json``. See :func:`medembed.corpus.handover.to_npy`."""
        from medembed.corpus import handover

        handover.to_npy(self, Path(path), scope)

    def to_parquet(self, path: str | os.PathLike[str], *, scope: Scope | None = None) -> None:
        """Write rows with their vectors as Parquet. See :func:`medembed.corpus.handover.to_parquet`."""
        from medembed.corpus import handover

        handover.to_parquet(self, Path(path), scope)

    def to_faiss(self, factory: str = "Flat", *, scope: Scope | None = None) -> tuple[Any, list[str]]:
        """A faiss index and the ids of its rows. See :func:`medembed.corpus.handover.to_faiss`."""
        from medembed.corpus import handover

        return handover.to_faiss(self, factory, scope)

    def to_lancedb(self, uri: str, table: str = "corpus", *, scope: Scope | None = None) -> Any:
        """A LanceDB table. See :func:`medembed.corpus.handover.to_lancedb`."""
        from medembed.corpus import handover

        return handover.to_lancedb(self, uri, table, scope)

    def to_qdrant(self, client: Any, collection: str, *, scope: Scope | None = None) -> None:
        """A Qdrant collection. See :func:`medembed.corpus.handover.to_qdrant`."""
        from medembed.corpus import handover

        handover.to_qdrant(self, client, collection, scope)

    def __repr__(self) -> str:
        """Tell path, rows, dimension and model."""
        told = self.manifest.encoding
        return f"EmbeddedCorpus({str(self.path)!r}, rows={len(self)}, dimension={told.dimension}, vectors={told.vectors!r}, model={told.model!r})"
