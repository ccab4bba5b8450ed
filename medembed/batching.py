"""Lengths → batches under a token budget. Pure: no model, no text, no I/O."""

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], max_tokens: int, *, multiple: int = 1) -> list[list[int]]:
    """Group texts of similar length so that padding costs little and each batch fits its budget.

    Texts are taken longest first; a batch is closed when one more row would lift
    ``rows × padded width`` above the budget. A single text longer than the budget gets a batch of its own.

    Args:
        lengths: Tokens per text. *Shape:* ``(n,)``.
        max_tokens: Budget of padded tokens per batch.
        multiple: Widths are rounded up to a multiple of this, as the engine will pad them.

    Returns:
        Batches of indices into ``lengths``. Each index occurs exactly once; within a batch lengths do not grow.

    Example:
        >>> plan_batches([3, 10, 4, 9], max_tokens=20)
        [[1, 3], [2, 0]]
    """
    batches: list[list[int]] = []
    rows_left = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if rows_left == 0:
            batches.append([])
            width = max(multiple, -(-lengths[index] // multiple) * multiple)
            rows_left = max(1, max_tokens // width)
        batches[-1].append(index)
        rows_left -= 1
    return batches


def split_by_size(sizes: Sequence[int], max_size: int) -> list[list[int]]:
    """Cut texts into work units of similar cost, largest texts first.

    A worker tokenises one unit while others compute, so units must be many enough to share evenly and large enough
    to batch well inside.

    Args:
        sizes: Cost per text, for instance characters. *Shape:* ``(n,)``.
        max_size: A unit is closed once its texts add up to this.

    Returns:
        Units of indices into ``sizes``; each index occurs exactly once.

    Example:
        >>> split_by_size([5, 1, 9, 1], max_size=9)
        [[2], [0, 1, 3]]
    """
    units: list[list[int]] = []
    filled = max_size
    for index in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        if filled >= max_size:
            units.append([])
            filled = 0
        units[-1].append(index)
        filled += sizes[index]
    return units
