"""Batches of rows that are hard to tell apart, so that in-batch negatives are hard at no cost. Pure.

A mined negative is one more passage to encode for every row. A batch in which the rows' own passages are each other's hard
negatives has them for nothing: of 64 rows each, 63 negatives instead of one.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from medembed.recipes.records import Triplet, content_id, document_of
from medembed.recipes.train_settings import Grouping


def batches(rows: Sequence[Triplet], batch_size: int, by: Grouping, group_size: int, seed: int) -> list[list[int]]:
    """Put rows into batches made of groups of related rows.

    Args:
        rows: Training rows of one source.
        batch_size: Rows per batch.
        by: What makes rows related: ``"document"``, their document; ``"neighbors"``, that one's passage is a mined negative
            of the other.
        group_size: Related rows that are kept together; a batch holds several such groups.
        seed: Order of groups and batches.

    Returns:
        Indices into ``rows``, ``batch_size`` a batch; no text twice in a batch. Rows left over at the end make no batch.

    Example:
        >>> row = lambda name, document: Triplet(f"query {name}", f"passage {name}", [], [], "notes", document)
        >>> mixed = [row("a", "1"), row("b", "2"), row("c", "1"), row("d", "2")]
        >>> sorted(sorted(batch) for batch in batches(mixed, 2, "document", 2, seed=0))
        [[0, 2], [1, 3]]
    """
    related = _by_document(rows) if by == "document" else _by_negatives(rows)
    return list(_packed(rows, list(_groups(rows, related, group_size, seed)), batch_size))


def _shuffled(rows: Sequence[Triplet], indices: Sequence[int], seed: int) -> list[int]:
    """By hash, so that the order of the input does not matter."""
    return sorted(indices, key=lambda index: content_id("group", str(seed), rows[index].query, rows[index].positive))


def _by_document(rows: Sequence[Triplet]) -> list[Sequence[int]]:
    members: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(document_of(row), []).append(index)
    return [members[document_of(row)] for row in rows]


def _by_negatives(rows: Sequence[Triplet]) -> list[Sequence[int]]:
    owners: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        owners.setdefault(row.positive, []).append(index)
    return [[other for text in row.negatives for other in owners.get(text, ())] for row in rows]


def _groups(rows: Sequence[Triplet], related: list[Sequence[int]], size: int, seed: int) -> Iterator[list[int]]:
    """Groups of a row, its relations, and theirs. Each takes relations until it is full. Each row is in one group."""
    taken: set[int] = set()
    for first in _shuffled(rows, range(len(rows)), seed):
        if first in taken:
            continue
        group, open_ends = [first], deque([first])
        taken.add(first)
        while open_ends and len(group) < size:
            for other in _shuffled(rows, [i for i in related[open_ends.popleft()] if i not in taken], seed):
                if len(group) == size:
                    break
                if other not in taken:
                    taken.add(other)
                    group.append(other)
                    open_ends.append(other)
        yield group


def _packed(rows: Sequence[Triplet], groups: list[list[int]], batch_size: int) -> Iterator[list[int]]:
    """Groups put into batches one after another. A row whose texts the batch holds already waits for the next one."""
    waiting: deque[int] = deque(index for group in groups for index in group)
    while len(waiting) >= batch_size:
        batch: list[int] = []
        held: set[str] = set()
        later: list[int] = []
        while waiting and len(batch) < batch_size:
            index = waiting.popleft()
            texts = {rows[index].query.casefold(), rows[index].positive.casefold()}
            if held & texts:
                later.append(index)
            else:
                held |= texts
                batch.append(index)
        if len(batch) < batch_size:
            return
        waiting.extendleft(reversed(later))
        yield batch
