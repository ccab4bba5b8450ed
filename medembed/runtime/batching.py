"""Lengths → batches under a token budget. Pure: no model, no text, no I/O."""

from collections.abc import Sequence

# A batch of at least a quarter of its budget is closed early when the next text is narrower than nine tenths of it.
# Simulated on 512 medical queries of 8 to 24 tokens: 11% of what is computed is padding, against 30% without; smaller
# shares cut more but leave batches too small to multiply well.
NARROWER = 0.9
LEAST_SHARE = 4


def plan_batches(
    lengths: Sequence[int], max_tokens: int, *, multiple: int = 1, max_rows: int | None = None
) -> list[list[int]]:
    """Group texts of similar length so that padding costs little and each batch fits its budget.

    Texts are taken longest first; a batch is closed when one more row would lift ``rows × padded width`` above the budget,
    or when it is large enough and the next row would be padded much. A text longer than the budget gets its own batch.

    Args:
        lengths: Tokens per text. *Shape:* ``(n,)``.
        max_tokens: Budget of padded tokens per batch.
        multiple: Widths are rounded up to a multiple of this, as the engine will pad them.
        max_rows: Most texts of a batch; None for no limit but the budget.

    Returns:
        Batches of indices into ``lengths``. Each index occurs exactly once; within a batch lengths do not grow.

    Example:
        >>> plan_batches([3, 10, 4, 10], max_tokens=20)
        [[1, 3], [2, 0]]
    """
    batches: list[list[int]] = []
    width = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        padded = max(multiple, -(-lengths[index] // multiple) * multiple)
        tokens = len(batches[-1]) * width if batches else 0
        full = tokens + width > max_tokens or (bool(batches) and len(batches[-1]) == max_rows)
        wasteful = padded <= NARROWER * width and tokens * LEAST_SHARE >= max_tokens
        if not batches or full or wasteful:
            batches.append([])
            width = padded
        batches[-1].append(index)
    return batches


def split_by_size(sizes: Sequence[int], max_size: int) -> list[list[int]]:
    """Cut texts into work units of similar cost, largest texts first.

    A worker tokenizes one unit while others compute, so units must be many enough to share evenly and large enough
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
