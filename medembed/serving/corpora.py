"""Corpora that are searched by name, each within the scope of the request, and always in their newest state."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medembed.clinical.asked import Assertion
from medembed.colbert.index.layout import INDEX
from medembed.colbert.index.store import TokenIndex
from medembed.corpus.hybrid import Hybrid, usual
from medembed.corpus.search import ScanKind
from medembed.corpus.store import EmbeddedCorpus
from medembed.errors import CorpusError, CorpusModelError, RefusedError, SettingError, UnsafePathError
from medembed.model import MedEmbed
from medembed.serving.keys import Key, Scope
from medembed.storage import filters, grouped
from medembed.storage import scopes as storage
from medembed.storage.around import Around
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
        scope: Columns and values that every row found has; ``"all"`` for all rows of a corpus that is divided.
        scan: What the first pass runs over.
        hybrid: Fusion with BM25; None for vectors alone; ``"usual"`` for what the command does.
        assertion: What rows have to assert of the query's words; None to read it from the query.
        group_by: Kept column of whose values only the best row each is given.
        most: Rows looked at for groups.
    """

    corpus: str | None
    texts: Sequence[str]
    k: int
    where: Sequence[str] = ()
    filter: Mapping[str, Any] | None = None
    scope: Scope | None = None
    scan: ScanKind = "auto"
    hybrid: Hybrid | Literal["usual"] | None = "usual"
    assertion: Assertion | None = None
    group_by: str | None = None
    most: int = 1000


@dataclass(frozen=True)
class Searched:
    """What was found, and where.

    Attributes:
        name: Name of the corpus.
        corpus: The corpus in the state that was searched.
        scope: The request's scope.
        how: Fusion with BM25; None for vectors or late interaction alone.
        hits: The hits of each query, best first.
    """

    name: str
    corpus: Either
    scope: Scope | None
    how: Hybrid | None
    hits: list[list[Hit]]

    def around(self, hits: Sequence[Hit], n: int) -> list[Around]:
        """Passages beside hits, none of which lies outside of the scope.

        Raises:
            CorpusError: The rows of the corpus are no passages.
        """
        with called(self.name, self.corpus.path):
            return self.corpus.around(hits, n, filter=within(self.scope), scope=divided(self.corpus, self.scope))


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
                with called(name, self._opened[name].path):
                    self._opened[name] = self._opened[name].newest()
                self._looked[name] = now
            return self._opened[name]

    def search(self, query: Query, key: Key) -> Searched:
        """Search a corpus.

        Raises:
            RefusedError: The key may not.
            MedEmbedError: As the corpus's own ``search``.
        """
        key.check_use("search")
        key.check_scope(query.scope or {})
        name, corpus = self.get(query.corpus, key)
        with called(name, corpus.path):
            return self._search(query, name, corpus)

    def _search(self, query: Query, name: str, corpus: Either) -> Searched:
        grouped.check_column(corpus.manifest, query.group_by)
        how = self._fusion(corpus, query)
        options: dict[str, Any] = {
            "filter": allowed(corpus, query),
            "assertion": query.assertion,
            "scope": divided(corpus, query.scope),
            **({"scan": query.scan, "hybrid": how} if isinstance(corpus, EmbeddedCorpus) else {}),
        }

        def ranking(n: int) -> list[list[Hit]]:
            return corpus.search(list(query.texts), min(n, query.most), **options)

        if query.group_by is None:
            return Searched(name, corpus, query.scope, how, corpus.search(list(query.texts), query.k, **options))
        # not by the corpus's own group_by, which looks at every row where one value has most of them
        reduce = partial(grouped.by_column, column=query.group_by)
        return Searched(name, corpus, query.scope, how, grouped.search(ranking, query.k, query.most, reduce))

    @staticmethod
    def _fusion(corpus: Either, query: Query) -> Hybrid | None:
        """Fusion with BM25 that a query asks for.

        Raises:
            RefusedError: The corpus is a token index, and something is asked for that it does not do.
        """
        if isinstance(corpus, EmbeddedCorpus):
            return usual(text_stored=corpus.manifest.text_stored) if query.hybrid == "usual" else query.hybrid
        if isinstance(query.hybrid, Hybrid) or query.scan != "auto":
            raise RefusedError(
                400, "hybrid and scan are for embedded corpora, and this is a token index: leave them out"
            )
        return None

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
        name, corpus = self.get(name, key)
        with called(name, corpus.path):
            store: Any = corpus.store.within(divided(corpus, scope))
            found = np.flatnonzero(store.allowed(Every(({"id": row_id}, within(scope) or {}))))
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


@contextmanager
def called(name: str, path: Path) -> Iterator[None]:
    """Have errors of a corpus call it by its name. Where it lies on the server is nothing for a client, nor where its model does.

    Raises:
        CorpusModelError: The corpus was replaced by one of another model.
        CorpusError: As it was, with the name.
        UnsafePathError: As it was, with the name.
    """
    try:
        yield
    except CorpusModelError as error:
        raise CorpusModelError(
            f"{name} is encoded with another model than this server has loaded for it: have the server restarted"
        ) from error
    except (CorpusError, UnsafePathError) as error:
        raise type(error)(str(error).replace(str(path), name)) from error


def divided(corpus: Either, scope: Scope | None) -> storage.Scope | None:
    """The scope that a corpus with a scope column asks for, as its own methods take it. None for other corpora.

    Args:
        corpus: The corpus.
        scope: The request's own.

    Raises:
        RefusedError: The request names none.
    """
    column = corpus.manifest.scope
    if column is None or scope == "all":
        return scope if column is not None else None
    values = (scope or {}).get(column)
    if not values:
        raise RefusedError(
            422,
            f'the rows of this corpus are divided by {column!r}: name whose, "scope": {{"{column}": "…"}}, or "scope": "all"',
        )
    return {column: list(values)}


def within(scope: Scope | None) -> dict[str, Sequence[str]] | None:
    """A request's scope as a filter. None where it leaves nothing out."""
    return dict(scope) if scope and scope != "all" else None


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
    parts += [dict(some) for some in (query.filter, within(query.scope)) if some]
    return Every(tuple(parts)) if parts else None
