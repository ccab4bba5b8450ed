"""Corpora that are searched by name, each within the scope of the request, and always in their newest state."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medembed.colbert.index.layout import INDEX
from medembed.colbert.index.store import TokenIndex
from medembed.corpus.hybrid import Hybrid
from medembed.corpus.search import ScanKind
from medembed.corpus.store import EmbeddedCorpus
from medembed.errors import CorpusModelError, RefusedError, SettingError
from medembed.model import MedEmbed
from medembed.serving.keys import Key, Scope
from medembed.storage import filters
from medembed.storage.filters import Every, Filter
from medembed.storage.manifest import kind_of
from medembed.storage.tables import Hit

Either = EmbeddedCorpus | TokenIndex

# seconds between two looks at a manifest: what a writer has changed is found after so long
LOOK_S = 1.0


@dataclass(frozen=True)
class Query:
    """What is searched for, and where.

    Attributes:
        corpus: Name of the corpus; None where there is but one.
        texts: The queries.
        k: Rows for each.
        where: Conditions such as ``ward=icu``.
        filter: Values by column.
        scope: Columns and values that every row found has.
        scan: What the first pass runs over.
        hybrid: Fusion with BM25; None for vectors alone.
    """

    corpus: str | None
    texts: Sequence[str]
    k: int
    where: Sequence[str] = ()
    filter: Mapping[str, Any] | None = None
    scope: Scope | None = None
    scan: ScanKind = "auto"
    hybrid: Hybrid | None = None


class Corpora:
    """Opened corpora, by name.

    Args:
        folders: Their folders, by name.
        model: The server's model; a corpus of another one loads its own.
        device: For a model that is loaded here.
        threads: For a model that is loaded here.

    Raises:
        CorpusError: A folder holds no corpus, or a damaged one.
    """

    def __init__(self, folders: Mapping[str, Path], model: MedEmbed, device: str, threads: int | None) -> None:
        """Open them all."""
        self._opened = {name: _open(path, model, device, threads) for name, path in folders.items()}
        self._first = dict(self._opened)
        self._looked = dict.fromkeys(folders, time.monotonic())
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._opened)

    def names(self, key: Key) -> list[str]:
        """Names of those that a key reaches."""
        return [name for name in self._opened if key.corpora is None or name in key.corpora]

    def get(self, name: str | None, key: Key) -> tuple[str, Either]:
        """A corpus in its newest state, and its name.

        Args:
            name: Its name; None where the key reaches but one.
            key: Whose it must be.

        Raises:
            RefusedError: There is none of that name that the key reaches, or several and no name.
        """
        names = self.names(key)
        if name is None and len(names) == 1:
            name = names[0]
        if name is None or name not in names:
            # a corpus that the key does not reach is answered like one that is not there
            told = ", ".join(names) or "none"
            raise RefusedError(404 if name else 400, f'name one of this key\'s corpora in "corpus": {told}')
        return name, self._newest(name)

    def _newest(self, name: str) -> Either:
        now = time.monotonic()
        with self._lock:
            if now - self._looked[name] >= LOOK_S:
                self._looked[name] = now
                self._opened[name] = self._opened[name].newest()
            return self._opened[name]

    def search(self, query: Query, key: Key) -> tuple[str, list[list[Hit]]]:
        """Search a corpus.

        Returns:
            Its name, and the hits of each query.

        Raises:
            RefusedError: The key may not.
            MedEmbedError: As the corpus's own ``search``.
        """
        key.check_use("search")
        key.check_scope(query.scope or {})
        name, corpus = self.get(query.corpus, key)
        chosen = allowed(corpus, query)
        texts = list(query.texts)
        if isinstance(corpus, EmbeddedCorpus):
            named = divided(corpus, query.scope)
            return name, corpus.search(texts, query.k, filter=chosen, scan=query.scan, hybrid=query.hybrid, **named)
        if query.hybrid is not None or query.scan != "auto":
            raise RefusedError(
                400, "hybrid and scan are for embedded corpora, and this is a token index: leave them out"
            )
        return name, corpus.search(texts, query.k, filter=chosen, **divided(corpus, query.scope))

    def row(self, name: str | None, row_id: str, scope: Scope, key: Key) -> dict[str, Any]:
        """A row by its id.

        Args:
            name: The corpus.
            row_id: The row's id.
            scope: Columns and values that it has to have.
            key: Who asks.

        Raises:
            RefusedError: There is no such row in this scope.
        """
        key.check_use("search")
        key.check_scope(scope)
        _, corpus = self.get(name, key)
        chosen = Every(({"id": row_id}, dict(scope)))
        store: Any = corpus.store
        if named := divided(corpus, scope):
            store = store.within(named["scope"])
        found = np.flatnonzero(store.allowed(chosen))
        if not len(found):
            raise RefusedError(404, "there is no row of this id in this scope")
        row: dict[str, Any] = store.rows(found[:1])[0]
        return row

    def filters(self, name: str | None, key: Key) -> dict[str, Any]:
        """Columns that a search may filter by, with their types, and which of them the key has to name."""
        key.check_use("search")
        found, corpus = self.get(name, key)
        return {
            "corpus": found,
            "rows": len(corpus),
            "columns": {**filters.OWN, **corpus.manifest.kept},
            "scope": sorted(key.scope),
        }

    def close(self) -> None:
        """Close them, and the models that they loaded. What was opened since shares them."""
        for name, corpus in self._opened.items():
            corpus.close()
            self._first[name].close()


def _open(path: Path, model: MedEmbed, device: str, threads: int | None) -> Either:
    if kind_of(path) == INDEX.name:
        index = TokenIndex.open(path, device=device, threads=threads)
        index.model.warm_up()
        return index
    try:
        return EmbeddedCorpus.open(path, model)
    except CorpusModelError:
        corpus = EmbeddedCorpus.open(path, device=device, threads=threads)
        corpus.model.warm_up()
        return corpus


def divided(corpus: Either, scope: Scope | None) -> dict[str, Any]:
    """The scope that a corpus with a scope column asks for, as an argument of its methods. Empty for others.

    Several values are a filter, which :func:`allowed` makes of any scope, within all of the corpus.

    Args:
        corpus: The corpus.
        scope: The request's own.
    """
    column = getattr(corpus.manifest, "scope", None)
    values = (scope or {}).get(column) if column is not None else None
    if not values:
        return {}
    return {"scope": {column: values[0]} if len(values) == 1 else "all"}


def allowed(corpus: Either, query: Query) -> Filter | None:
    """The rows that a query may find: those that fit its conditions, its values and its scope, all of them.

    Raises:
        SettingError: A condition cannot be read.
    """
    parts: list[Any] = []
    if query.where:
        try:
            parts.append(filters.parse(query.where, corpus.manifest.kept))
        except SettingError as error:
            raise SettingError(str(error).replace("--where", '"where"')) from None
    if query.filter:
        parts.append(dict(query.filter))
    if query.scope:
        parts.append(dict(query.scope))
    return Every(tuple(parts)) if parts else None
