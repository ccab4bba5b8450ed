"""TokenIndex, compressed token vectors on disk. It is opened for late-interaction search and careful changes."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from medembed.clinical.asked import Assertion, Wish
from medembed.clinical.hits import deep_enough, hits_of, wishes_of
from medembed.colbert.index import build as building
from medembed.colbert.index import layout
from medembed.colbert.index.build import TokenSettings
from medembed.colbert.index.layout import INDEX, TokenEncoding
from medembed.colbert.index.lists import CentroidLists, make_lists
from medembed.colbert.maxsim import check, maxsim_flat
from medembed.colbert.model import MedColBERT
from medembed.colbert.residual import CODE_BYTES, Packed, ResidualCodec
from medembed.errors import SettingError
from medembed.extras import require
from medembed.per_process import computing
from medembed.storage import arrays, arrow_files, manifest
from medembed.storage.building import Summary
from medembed.storage.filters import Filter
from medembed.storage.modes import SYNC_LIMIT, Mode
from medembed.storage.opened import Opened
from medembed.storage.paths import below
from medembed.storage.scopes import Scope
from medembed.storage.shards import row_columns
from medembed.storage.tables import Hit, Store

Floats = NDArray[np.float32]

# Centroids looked at for each query token, and rows looked at exactly; see docs/decisions/0041-token-index.md
PROBE = 8
CANDIDATES = 256
# rows handed over at a time: 200 tokens of 128 float32 each are 26 MB
ROWS_AT_A_TIME = 256


@dataclass(frozen=True)
class _Tokens:
    """The tokens of a shard.

    It has their bytes, and the places where those of each row begin. *Shape of the offsets:* ``(rows + 1,)``.
    """

    offsets: NDArray[np.int64]
    codes: NDArray[np.uint16]
    remainders: NDArray[np.uint8]

    def of(self, place: int) -> slice:
        """Place of a row's tokens."""
        return slice(int(self.offsets[place]), int(self.offsets[place + 1]))


class TokenIndex(Opened[TokenEncoding, MedColBERT]):
    """A late-interaction index in a folder.

    Rows are chosen by centroids, and scored by exact MaxSim of what is stored.

    Example:
        >>> index = TokenIndex.build("index/", [{"id": "a", "text": "chest pain"}], model)  # doctest: +SKIP
        >>> index.search("angina", k=1)[0].id  # doctest: +SKIP
        'a'
    """

    KIND = INDEX

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        rows: Iterable[Mapping[str, Any]],
        model: MedColBERT,
        settings: TokenSettings | None = None,
    ) -> Self:
        """Encode rows into a new index and open it. Memory is bounded. After a crash the same call goes on.

        Args:
            path: Its folder; made if missing.
            rows: Mappings with the id, the text and kept columns. Centroids are made from the first 2,048: mix the sources.
            model: What encodes.
            settings: Columns, bits, pooling, shards; None for the defaults.

        Raises:
            CorpusError: A row cannot be used (the message has its number), or the folder holds another index.
        """
        building.index_python(rows, Path(path).expanduser(), model, settings or TokenSettings())
        return cls.open(path, model)

    @classmethod
    def _encoding_of(cls, model: MedColBERT) -> TokenEncoding:
        return layout.encoding_of(model, 2, 1.0)

    def _load(self, device: str, threads: int | None) -> MedColBERT:
        return MedColBERT(**self.model_settings, device=device, threads=threads)

    def _add(self, rows: Iterable[Mapping[str, Any]], mode: Mode, sync_limit: float = SYNC_LIMIT) -> Summary:
        return building.index_python(
            rows, self.path, self.model, replace(building.settings_of(self.manifest, mode), sync_limit=sync_limit)
        )

    @property
    def model_settings(self) -> dict[str, Any]:
        """Arguments that make :class:`MedColBERT` the model of this index."""
        told = self.manifest.encoding
        return {
            "model": told.model,
            "revision": self.revision_setting,
            "document_length": told.max_seq_length,
            "overlong": told.overlong,
        }

    @property
    def bytes_a_token(self) -> float:
        """Bytes on disk for each token vector.

        Texts, ids and the codec are included. What is derived for speed is left out.
        """
        size = sum(below(self.path, part.file).stat().st_size for part in self.manifest.files)
        return size / max(1, self.manifest.n_vectors)

    @overload
    def search(  # type: ignore[overload-overlap] # a str is a sequence of str too
        self,
        queries: str,
        k: int = 10,
        *,
        filter: Filter | None = None,
        group_by: str | None = None,
        candidates: int = CANDIDATES,
        probe: int = PROBE,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[Hit]: ...
    @overload
    def search(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        filter: Filter | None = None,
        group_by: str | None = None,
        candidates: int = CANDIDATES,
        probe: int = PROBE,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[list[Hit]]: ...

    def search(
        self,
        queries: str | Sequence[str],
        k: int = 10,
        *,
        filter: Filter | None = None,  # noqa: A002 - what it is called everywhere
        group_by: str | None = None,
        candidates: int = CANDIDATES,
        probe: int = PROBE,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """The best rows for a query or several.

        Args:
            queries: One text, or a sequence of texts.
            k: Rows per query.
            filter: Which rows may be found, as for :meth:`EmbeddedCorpus.search`.
            group_by: As for :meth:`EmbeddedCorpus.search`.
            candidates: Rows looked at exactly, at least ``k``; more find more and take longer.
            probe: Centroids looked at for each query token.
            assertion: As for :meth:`EmbeddedCorpus.search`.
            scope: Whose rows may be found, as for :meth:`EmbeddedCorpus.search`.

        Returns:
            Hits, best first; for a sequence of queries a list of them for each.

        Raises:
            InputTypeError: A query is not a ``str``.
            SettingError: ``k``, ``candidates`` or ``probe`` below 1.
            CorpusError: The filter or ``group_by`` does not fit.
            CorpusScopeError: A scope has to be named and was not, or it is none of this index.
        """
        self._within(scope)  # a missing scope is told before anything is encoded
        if isinstance(queries, str):
            options = {
                "filter": filter,
                "candidates": candidates,
                "probe": probe,
                "assertion": assertion,
                "scope": scope,
            }
            return self.search([queries], k, group_by=group_by, **options)[0]  # type: ignore[arg-type]
        encoded = self.model.encode_query(queries, show_progress_bar=False)
        wishes = wishes_of(queries, assertion, self.manifest)
        return self._searched(encoded, wishes, k, filter, group_by, candidates, probe, scope)

    @overload
    async def asearch(  # type: ignore[overload-overlap]
        self,
        queries: str,
        k: int = 10,
        *,
        filter: Filter | None = None,
        group_by: str | None = None,
        candidates: int = CANDIDATES,
        probe: int = PROBE,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[Hit]: ...
    @overload
    async def asearch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        filter: Filter | None = None,
        group_by: str | None = None,
        candidates: int = CANDIDATES,
        probe: int = PROBE,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[list[Hit]]: ...

    async def asearch(
        self,
        queries: str | Sequence[str],
        k: int = 10,
        *,
        filter: Filter | None = None,  # noqa: A002
        group_by: str | None = None,
        candidates: int = CANDIDATES,
        probe: int = PROBE,
        assertion: Assertion | None = None,
        scope: Scope | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """``search`` without blocking the event loop. Arguments, hits and errors are the same."""
        return await asyncio.to_thread(
            partial(
                self.search,
                queries,
                k,
                filter=filter,
                group_by=group_by,
                candidates=candidates,
                probe=probe,
                assertion=assertion,
                scope=scope,
            )
        )

    def search_vectors(
        self,
        queries: Sequence[Floats],
        k: int = 10,
        *,
        filter: Filter | None = None,  # noqa: A002
        group_by: str | None = None,
        candidates: int = CANDIDATES,
        probe: int = PROBE,
        scope: Scope | None = None,
    ) -> list[list[Hit]]:
        """:meth:`search` for queries that are encoded already.

        Args:
            queries: From :meth:`MedColBERT.encode_query`, each *Shape:* ``(tokens, dimension)``.
            k: Rows per query.
            filter: Which rows may be found.
            group_by: As for :meth:`EmbeddedCorpus.search`.
            candidates: Rows looked at exactly.
            probe: Centroids looked at for each query token.
            scope: Whose rows may be found.

        Returns:
            For each query its hits, best first.

        Raises:
            SettingError: ``k``, ``candidates`` or ``probe`` below 1.
            CorpusModelError: Another dimension than the index's.
            VectorError: Not a list of ``(tokens, dimension)`` arrays.
        """
        return self._searched(queries, [[] for _ in queries], k, filter, group_by, candidates, probe, scope)

    def _searched(
        self,
        queries: Sequence[Floats],
        wishes: list[list[Wish]],
        k: int,
        chosen: Filter | None,
        group_by: str | None,
        candidates: int,
        probe: int,
        scope: Scope | None,
    ) -> list[list[Hit]]:
        for name, value in (("k", k), ("candidates", candidates), ("probe", probe)):
            if type(value) is not int or value < 1:
                raise SettingError(f"{name}={value!r}: give a whole number from 1")
        check(queries, "query")
        if len(queries) and queries[0].shape[1] != self.dimension:
            raise manifest.other_dimension(self.manifest, queries[0].shape[1], self.path)
        return self._read(
            lambda: self._grouped(
                lambda n: self._found(queries, wishes, n, chosen, max(n, candidates), probe, self._within(scope)),
                k,
                group_by,
            )
        )

    def _found(
        self,
        queries: Sequence[Floats],
        wishes: list[list[Wish]],
        k: int,
        chosen: Filter | None,
        candidates: int,
        probe: int,
        store: Store[TokenEncoding],
    ) -> list[list[Hit]]:
        if store.manifest.shards:
            # outside of computing(): another thread may be making them, and nothing is waited for in there
            self._lists(store)
        with computing():
            alive = store.allowed(chosen)
            deep = deep_enough(wishes, k)
            found = [self._best(query, deep, alive, max(deep, candidates), probe, store) for query in queries]
            return hits_of(store, [rows for rows, _ in found], [scores for _, scores in found], wishes, k)

    def _best(
        self,
        query: Floats,
        k: int,
        alive: NDArray[np.bool_] | None,
        candidates: int,
        probe: int,
        store: Store[TokenEncoding],
    ) -> tuple[NDArray[np.int64], Floats]:
        codec = self._codec(store)
        query = codec.turned(query)
        chosen = self._lists(store).promising(query @ codec.centroids.T, candidates, probe=probe, alive=alive)
        if not len(chosen):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        packed, starts = self._gathered(chosen, store)
        scores = maxsim_flat(query, codec.coordinates(packed), starts)
        order = np.argsort(-scores, kind="stable")[:k]
        return chosen[order].astype(np.int64), scores[order]

    def _gathered(self, numbers: NDArray[np.int32], store: Store[TokenEncoding]) -> tuple[Packed, NDArray[np.intp]]:
        """The stored tokens of rows, one after the other. The second value is where each row's tokens begin."""
        codes, remainders, lengths = [], [], []
        homes = np.searchsorted(store.starts, numbers, side="right") - 1
        for home, place in zip(homes.tolist(), (numbers - store.starts[homes]).tolist(), strict=True):
            tokens = self._tokens_of(home, store)
            part = tokens.of(place)
            codes.append(tokens.codes[part])
            remainders.append(tokens.remainders[part])
            lengths.append(part.stop - part.start)
        starts = np.cumsum([0, *lengths[:-1]]).astype(np.intp)
        return Packed(np.concatenate(codes), np.concatenate(remainders)), starts

    def _tokens_of(self, number: int, store: Store[TokenEncoding]) -> _Tokens:
        """The mapped tokens of a shard."""
        return store.once(number, lambda: self._mapped(store.table(number)))

    def _mapped(self, table: Any) -> _Tokens:
        codes, ends = arrow_files.to_bytes(table.column("codes"))
        remainders, _ = arrow_files.to_bytes(table.column("remainders"))
        width = self.dimension * self.manifest.encoding.bits // 8
        return _Tokens(
            ends // CODE_BYTES,
            codes.view(np.uint16),
            remainders[: len(remainders) // width * width].reshape(-1, width),
        )

    def _codec(self, store: Store[TokenEncoding]) -> ResidualCodec:
        return store.once("codec", lambda: building.load_codec(self.path, store.manifest))

    def _lists(self, store: Store[TokenEncoding]) -> CentroidLists:
        def fit(lists: CentroidLists) -> bool:
            return lists.fits(store.manifest.n_rows, len(self._codec(store).centroids))

        def get() -> CentroidLists:
            return store.whole("lists", partial(self._make_lists, store), CentroidLists.save, CentroidLists.load, fit)

        return store.once("lists", get)

    def _make_lists(self, store: Store[TokenEncoding]) -> CentroidLists:
        every = [self._tokens_of(number, store) for number in range(len(store.manifest.shards))]
        codes = np.concatenate([tokens.codes[: tokens.offsets[-1]] for tokens in every])
        counts = np.concatenate([np.diff(tokens.offsets) for tokens in every])
        return make_lists(codes, counts, len(self._codec(store).centroids))

    def to_parquet(self, path: str | os.PathLike[str], *, scope: Scope | None = None) -> None:
        """Write rows as Parquet.

        The columns are id, text, source, line, kept columns and ``vectors``, a list of float32 lists per row.

        Args:
            path: Where, ending in ``.parquet``.
            scope: As for :meth:`search`.

        Raises:
            CorpusScopeError: A scope has to be named and was not, or it is none of this index.
            CorpusError: The path does not end in ``.parquet``, or nothing can be written there.
        """
        store = self._within(scope)
        arrow = require("pyarrow")
        kind = arrow.large_list(arrow.list_(arrow.float32(), self.dimension))
        columns = arrays.schema(self.manifest.kept, "vectors", kind)
        arrays.write_parquet(Path(path), columns, (self._restored(*part, kind, store) for part in self._parts(store)))

    def to_npy(self, path: str | os.PathLike[str], *, scope: Scope | None = None) -> None:
        """Write the vectors of all tokens as ``.npy``. The id of each token's row is beside it as ``.ids.json``.

        Args:
            path: Where, ending in ``.npy``; *shape* of the array: ``(tokens, dimension)``.
            scope: As for :meth:`search`.

        Raises:
            CorpusScopeError: A scope has to be named and was not, or it is none of this index.
            CorpusError: The path does not end in ``.npy``, or nothing can be written there.
        """
        store = self._within(scope)
        ids: list[str] = []
        total = 0
        for number, places in self._parts(store):
            names = store.table(number).column("id")
            for place in places.tolist():
                part = self._tokens_of(number, store).of(place)
                ids += [names[place].as_py()] * (part.stop - part.start)
                total += part.stop - part.start
        pieces = (self._vectors_of(number, places, store)[0] for number, places in self._parts(store))
        arrays.write(Path(path), (total, self.dimension), pieces, ids)

    @staticmethod
    def _parts(store: Store[TokenEncoding]) -> Iterable[tuple[int, NDArray[np.int64]]]:
        """Numbers of shards, and places of some live rows in each."""
        live, starts = store.live(), store.starts
        for number in range(len(store.manifest.shards)):
            places = np.flatnonzero(live[starts[number] : starts[number + 1]])
            for at in range(0, len(places), ROWS_AT_A_TIME):
                yield number, places[at : at + ROWS_AT_A_TIME]

    def _vectors_of(
        self, number: int, places: NDArray[np.int64], store: Store[TokenEncoding]
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Restored vectors of rows of a shard, and where each row's begin."""
        tokens = self._tokens_of(number, store)
        parts = [tokens.of(place) for place in places.tolist()]
        packed = Packed(
            np.concatenate([tokens.codes[part] for part in parts]),
            np.concatenate([tokens.remainders[part] for part in parts]),
        )
        return self._codec(store).restore(packed), np.cumsum([0, *(part.stop - part.start for part in parts)])

    def _restored(self, number: int, places: NDArray[np.int64], kind: Any, store: Store[TokenEncoding]) -> Any:
        arrow = require("pyarrow")
        vectors, ends = self._vectors_of(number, places, store)
        flat = arrow_files.to_column(vectors, kind.value_type)
        rows = row_columns(store.table(number), self.manifest).drop_columns(["text_hash"]).take(places)
        lists = arrow.LargeListArray.from_arrays(arrow.array(ends, type=arrow.int64()), flat)
        return rows.append_column(arrow.field("vectors", kind), lists.cast(kind))

    def __repr__(self) -> str:
        """Tell path, rows, bits and model."""
        told = self.manifest.encoding
        return f"TokenIndex({str(self.path)!r}, rows={len(self)}, dimension={told.dimension}, bits={told.bits}, model={told.model!r})"
