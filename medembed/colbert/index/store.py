"""TokenIndex: compressed token vectors on disk, opened for late-interaction search and careful changes."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from medembed.colbert.index import build as building
from medembed.colbert.index import layout, shards
from medembed.colbert.index.build import TokenSettings
from medembed.colbert.index.layout import TokenManifest
from medembed.colbert.maxsim import check, maxsim_flat
from medembed.colbert.model import MedColBERT
from medembed.colbert.residual import Packed, ResidualCodec
from medembed.errors import CorpusError, CorpusModelError, SettingError
from medembed.runtime.lifecycle import ClosedByWith
from medembed.storage.shard_folders import is_intact

Floats = NDArray[np.float32]

# Centroids looked at for each query token, and documents looked at exactly; see docs/decisions/0041-token-index.md
PROBE = 8
CANDIDATES = 256


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Attributes:
        id: Its id.
        score: Its MaxSim with the query; higher is more alike.
        text: Its text; None where the index does not store texts.
    """

    id: str
    score: float
    text: str | None


@dataclass(frozen=True)
class _Shard:
    """A mapped shard: the number of its first document, where each document's tokens begin, and the tokens."""

    start: int
    table: Any
    offsets: NDArray[np.int32]
    codes: NDArray[np.uint16]
    remainders: NDArray[np.uint8]


class TokenIndex(ClosedByWith):
    """A late-interaction index in a folder: documents chosen by centroids, scored by exact MaxSim of what is stored.

    Example:
        >>> index = TokenIndex.build("index/", [{"id": "a", "text": "chest pain"}], model)  # doctest: +SKIP
        >>> index.search("angina", k=1)[0].id  # doctest: +SKIP
        'a'
    """

    def __init__(self, path: Path, manifest: TokenManifest, model: MedColBERT | None) -> None:
        """Use :meth:`open`."""
        self._path, self._manifest, self._given = path, manifest, model
        self._model = model
        self._read()

    def _read(self) -> None:
        told = self._manifest
        self._codec = ResidualCodec.load(self._path / told.codec.file)
        self._lists = shards.read_lists(self._path, told)
        self._shards = []
        start = 0
        for shard in told.shards:
            table = shards.read_shard(self._path, shard)
            codes, remainders = (
                layout.flat(table.column(name), dtype)
                for name, dtype in (("codes", np.uint16), ("remainders", np.uint8))
            )
            offsets = table.column("codes").chunk(0).offsets.to_numpy()
            self._shards.append(_Shard(start, table, offsets, codes, remainders.reshape(len(codes), -1)))
            start += shard.n_rows
        self._alive = np.ones(told.n_rows, dtype=bool)
        self._alive[told.deleted] = False

    @classmethod
    def open(cls, path: str | os.PathLike[str], model: MedColBERT | None = None) -> Self:
        """Open a finished index.

        Args:
            path: Its folder.
            model: The model it was built with; None to load the one its manifest names when a text is first searched.

        Raises:
            CorpusError: No index, an unfinished or damaged one, or one of a newer version.
            CorpusModelError: ``model`` is another; the message says both.
        """
        folder = Path(path).expanduser()
        manifest = layout.read_manifest(folder)
        if model is not None:
            layout.check_model(manifest.encoding, model, folder)
        return cls(folder, manifest, model)

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        rows: Iterable[Mapping[str, Any]],
        model: MedColBERT,
        settings: TokenSettings | None = None,
    ) -> Self:
        """Encode documents into a new index and open it; bounded memory, and after a crash the same call goes on.

        Args:
            path: Its folder; made if missing.
            rows: Mappings with an ``id`` and a ``text``. Centroids are made from the first 2,048: mix the sources.
            model: What encodes.
            settings: Bits, pooling, shards; None for the defaults.

        Raises:
            CorpusError: A row cannot be used (the message has its number), or the folder holds another index.
        """
        folder = Path(path).expanduser()
        building.build(folder, rows, model, settings or TokenSettings())
        return cls.open(folder, model)

    @property
    def manifest(self) -> TokenManifest:
        """What it was made with, and of which files it consists."""
        return self._manifest

    @property
    def model(self) -> MedColBERT:
        """The model of this index, loaded when first asked for."""
        if self._model is None:
            model = MedColBERT(**self.model_settings)
            layout.check_model(self._manifest.encoding, model, self._path)
            self._model = model
        return self._model

    @property
    def model_settings(self) -> dict[str, Any]:
        """What to make the index's model with: ``MedColBERT(**index.model_settings, device="cuda")``."""
        told = self._manifest.encoding
        return {
            "model": told.model,
            "revision": None if told.revision.startswith("sha256-") else told.revision,
            "document_length": told.document_length,
            "overlong": told.overlong,
        }

    @property
    def bytes_a_token(self) -> float:
        """Bytes on disk for each token vector, texts, ids and lists included."""
        parts = (*self._manifest.shards, self._manifest.codec, self._manifest.lists)
        size = sum((self._path / part.file).stat().st_size for part in parts)
        return size / max(1, self._manifest.n_tokens)

    def __len__(self) -> int:
        """Documents, deleted ones left out."""
        return int(self._alive.sum())

    @overload
    def search(self, queries: str, k: int = 10, *, candidates: int = CANDIDATES, probe: int = PROBE) -> list[Hit]: ...  # type: ignore[overload-overlap]
    @overload
    def search(
        self, queries: Sequence[str], k: int = 10, *, candidates: int = CANDIDATES, probe: int = PROBE
    ) -> list[list[Hit]]: ...

    def search(
        self, queries: str | Sequence[str], k: int = 10, *, candidates: int = CANDIDATES, probe: int = PROBE
    ) -> list[Hit] | list[list[Hit]]:
        """The best documents for a query or several.

        Args:
            queries: One text, or a sequence of texts.
            k: Documents a query.
            candidates: Documents looked at exactly, at least ``k``; more find more and take longer.
            probe: Centroids looked at for each query token.

        Returns:
            Hits, best first; for a sequence of queries a list of them for each.

        Raises:
            InputTypeError: A query is not a ``str``.
            SettingError: ``k``, ``candidates`` or ``probe`` below 1.
        """
        if isinstance(queries, str):
            return self.search_vectors([self.model.encode_query(queries)], k, candidates=candidates, probe=probe)[0]
        encoded = self.model.encode_query(queries, show_progress=False)
        return self.search_vectors(encoded, k, candidates=candidates, probe=probe)

    def search_vectors(
        self, queries: Sequence[Floats], k: int = 10, *, candidates: int = CANDIDATES, probe: int = PROBE
    ) -> list[list[Hit]]:
        """:meth:`search` for queries that are encoded already.

        Args:
            queries: From :meth:`MedColBERT.encode_query`, each *Shape:* ``(tokens, dimension)``.
            k: Documents a query.
            candidates: Documents looked at exactly.
            probe: Centroids looked at for each query token.

        Returns:
            For each query its hits, best first.

        Raises:
            SettingError: ``k``, ``candidates`` or ``probe`` below 1.
            CorpusModelError: Another dimension than the index's.
            VectorError: Not a list of ``(tokens, dimension)`` arrays.
        """
        for name, value in (("k", k), ("candidates", candidates), ("probe", probe)):
            if type(value) is not int or value < 1:
                raise SettingError(f"{name}={value!r}: give a whole number from 1")
        check(queries, "query")
        told = self._manifest.encoding
        if len(queries) and queries[0].shape[1] != told.dimension:
            raise CorpusModelError(
                f"{self._path} holds token vectors of {told.dimension} dimensions of {told.model!r}, but the query has {queries[0].shape[1]}: "
                "encode it with the index's own model"
            )
        return [self._search(query, k, max(k, candidates), probe) for query in queries]

    def _search(self, query: Floats, k: int, candidates: int, probe: int) -> list[Hit]:
        query = self._codec.turned(query)
        chosen = self._lists.promising(query @ self._codec.centroids.T, candidates, probe=probe, alive=self._alive)
        if not len(chosen):
            return []
        packed, starts = self._gathered(chosen)
        scores = maxsim_flat(query, self._codec.coordinates(packed), starts)
        return [self._hit(int(chosen[i]), float(scores[i])) for i in np.argsort(-scores, kind="stable")[:k]]

    def _gathered(self, numbers: NDArray[np.int32]) -> tuple[Packed, NDArray[np.intp]]:
        """The stored tokens of documents, one after the other, and where each document's begin."""
        codes, remainders, lengths = [], [], []
        for number in numbers.tolist():
            shard, place = self._place(number)
            part = slice(shard.offsets[place], shard.offsets[place + 1])
            codes.append(shard.codes[part])
            remainders.append(shard.remainders[part])
            lengths.append(part.stop - part.start)
        starts = np.cumsum([0, *lengths[:-1]]).astype(np.intp)
        return Packed(np.concatenate(codes), np.concatenate(remainders)), starts

    def _place(self, number: int) -> tuple[_Shard, int]:
        """A document's shard, and its place there; full shards are all of one length but after an append."""
        low = min(number // max(1, self._manifest.shard_rows), len(self._shards) - 1)
        while self._shards[low].start + self._shards[low].table.num_rows <= number:
            low += 1
        return self._shards[low], number - self._shards[low].start

    def _hit(self, number: int, score: float) -> Hit:
        shard, place = self._place(number)
        text = shard.table.column("text")[place].as_py()
        return Hit(shard.table.column("id")[place].as_py(), score, text)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add documents; they are compressed with the centroids that are there.

        Args:
            rows: As for :meth:`build`.

        Raises:
            CorpusError: A row cannot be used, its id is there already, or another process writes.
        """
        building.append(self._path, rows, self.model)
        self._reload()

    def delete(self, ids: Collection[str]) -> int:
        """Leave documents out from now on; their bytes go when the index is built again.

        Returns:
            How many were deleted.

        Raises:
            CorpusError: An id that is not there; nothing is deleted then.
        """
        if isinstance(ids, str):
            raise CorpusError("delete() takes a collection of ids: wrap a single one in a list")
        wanted = set(ids)
        names = (name for shard in self._shards for name in shard.table.column("id").to_pylist())
        numbers = {name: number for number, name in enumerate(names) if self._alive[number] and name in wanted}
        if missing := wanted - numbers.keys():
            raise CorpusError(f"{len(missing)} of {len(wanted)} ids are not in the index, among them {min(missing)!r}")
        if numbers:
            building.delete(self._path, numbers.values())
            self._reload()
        return len(numbers)

    def verify(self) -> list[str]:
        """Hash every file.

        Returns:
            Names of files that are missing or changed, below the folder; empty where all is well.
        """
        parts = (*self._manifest.shards, self._manifest.codec, self._manifest.lists)
        return [part.file for part in parts if not is_intact(self._path, part.file, part.sha256)]

    def _reload(self) -> None:
        self._manifest = layout.read_manifest(self._path)
        self._read()

    def close(self) -> None:
        """Let go of the maps, and of the model where it was loaded here."""
        self._shards = []
        if self._model is not None and self._given is None:
            self._model.close()
            self._model = None

    def __repr__(self) -> str:
        """Tell path, documents, bits and model."""
        told = self._manifest.encoding
        return f"TokenIndex({str(self._path)!r}, documents={len(self)}, dimension={told.dimension}, bits={told.bits}, model={told.model!r})"
