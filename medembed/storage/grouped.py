"""Hits put together: the best row of each note or patient, and rows of equal text shown once."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from medembed.errors import CorpusError
from medembed.storage.manifest import Manifest
from medembed.storage.tables import Hit
from medembed.storage.wording import known_by

# rows looked at first for each group that is asked for, and how many times more where they are too few
FIRST, MORE = 5, 4
# scores that lie nearer are those of equal vectors: a product's last digits depend on a row's place
SAME = 1e-5

Ranking = Callable[[int], list[list[Hit]]]
"""Gives the best rows of every query, as many as asked for."""


def check_column(manifest: Manifest, column: str | None) -> None:  # type: ignore[type-arg] # of any kind
    """Check that rows can be grouped by a column.

    Raises:
        CorpusError: The store does not keep it.
    """
    if column is not None and column not in manifest.kept:
        kept = ", ".join(manifest.kept) or "none"
        raise CorpusError(
            f"rows cannot be grouped by {column!r}: the kept columns are {kept}; --split keeps note, and --keep others, when indexing"
        )


def by_column(hits: Sequence[Hit], column: str) -> list[Hit]:
    """The best row of each group, with the count of the others.

    Args:
        hits: Best first.
        column: Kept column that the rows of a group share. A row without a value is a group of its own.

    Returns:
        Hits, best first; ``others`` of each says how many rows of its group stand behind it.

    Example:
        >>> hits = [Hit(f"n#{n}", 1.0, "", "", 1, {"note": "n"}) for n in (1, 2)]
        >>> [(hit.id, hit.others) for hit in by_column(hits, "note")]
        [('n#1', 1)]
    """
    groups = _groups(hits, lambda hit: hit.id if hit.kept[column] is None else (hit.kept[column],))
    return [replace(group[0], others=sum(1 + hit.others for hit in group[1:])) for group in groups]


def by_text(hits: Sequence[Hit], manifest: Manifest) -> list[Hit]:  # type: ignore[type-arg] # of any kind
    """The first of the rows of a text, with the ids of the others in ``also_in``. All rows where every row is encoded."""
    if (key := known_by(manifest)) is None:
        return list(hits)
    scope = manifest.scope
    groups = _groups(
        hits, lambda hit: hit.id if hit.text is None else (key(hit.text, None if scope is None else hit.kept[scope]),)
    )
    return [replace(group[0], also_in=tuple(hit.id for hit in group[1:])) for group in groups]


def reduced(hits: Sequence[Hit], column: str | None, manifest: Manifest) -> list[Hit]:  # type: ignore[type-arg] # of any kind
    """The first of the rows of each text, and of these the best of each group where there is a column."""
    found = by_text(hits, manifest)
    return found if column is None else by_column(found, column)


def _groups(hits: Sequence[Hit], key: Callable[[Hit], Hashable]) -> list[list[Hit]]:
    found: dict[Hashable, list[Hit]] = {}
    for hit in hits:
        found.setdefault(key(hit), []).append(hit)
    return list(found.values())


def search(ranking: Ranking, k: int, n_rows: int, reduce: Callable[[Sequence[Hit]], list[Hit]]) -> list[list[Hit]]:
    """The best groups of every query. More rows are looked at until there are enough groups.

    Args:
        ranking: Gives rows.
        k: Groups per query.
        n_rows: Rows of the store.
        reduce: Makes groups of rows.

    Returns:
        Hits, best first. What they say of others holds for all rows that are as good as the last one shown.
    """
    depth = FIRST * k
    while True:
        found = ranking(depth)
        if depth >= n_rows or all(_is_enough(hits, k, depth, reduce) for hits in found):
            return [_shown(hits, k, reduce) for hits in found]
        depth *= MORE


def _is_enough(hits: Sequence[Hit], k: int, depth: int, reduce: Callable[[Sequence[Hit]], list[Hit]]) -> bool:
    if len(hits) < depth:
        return True
    best = reduce(hits)
    return len(best) >= k and hits[-1].score < best[k - 1].score - SAME


def _shown(hits: Sequence[Hit], k: int, reduce: Callable[[Sequence[Hit]], list[Hit]]) -> list[Hit]:
    best = reduce(hits)[:k]
    if not best:
        return []
    last = best[-1].score - SAME
    return reduce([hit for hit in hits if hit.score >= last])[:k]
