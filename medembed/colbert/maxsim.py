"""MaxSim: the similarity of a query and a document. Both have one vector per token. Pure numpy.

Rows of all lengths are multiplied as one long matrix, a cache-sized block of documents at a time, and cut apart afterwards:
nothing is padded, so nothing has to be masked, and no padded token can ever win over a negative similarity.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.errors import VectorError
from medembed.per_process import computing

Floats = NDArray[np.float32]

# Document tokens multiplied at a time. Measured on one query and 100 documents of 200 tokens: joining 2,000 tokens of
# 128 dimensions (1 MB, which stays in a core's cache) costs a tenth of multiplying them; joining all 20,000 costs half.
BLOCK_TOKENS = 2_048
# query tokens multiplied at a time: with a block of documents, 16 MB of similarities
QUERY_TOKENS = 2_048


def maxsim(queries: Sequence[Floats], documents: Sequence[Floats]) -> Floats:
    """Score every document for every query.

    The score is ``Σᵢ maxⱼ qᵢ · dⱼ`` (Khattab and Zaharia 2020, https://arxiv.org/abs/2004.12832).

    Args:
        queries: An array for each query, *Shape:* ``(tokens, dim)``; numbers of tokens may differ.
        documents: An array for each document, *Shape:* ``(tokens, dim)``.

    Returns:
        float32, *Shape:* ``(len(queries), len(documents))``. Higher is more alike.

    Raises:
        VectorError: An array that is not ``(tokens, dim)``, has no tokens, has another ``dim`` than the others, or does not
            hold finite floats.

    Example:
        >>> query = np.array([[1, 0], [0, 1]], dtype=np.float32)
        >>> far, near = np.array([[-1, 0]], dtype=np.float32), np.array([[1, 0], [0, 0.5]], dtype=np.float32)
        >>> maxsim([query], [far, near])
        array([[-1. ,  1.5]], dtype=float32)
    """
    check(queries, "query")
    check(documents, "document")
    if len(queries) and len(documents) and queries[0].shape[1] != documents[0].shape[1]:
        raise VectorError(
            f"query vectors have {queries[0].shape[1]} dimensions, document vectors {documents[0].shape[1]}: encode both with one model"
        )
    out = np.empty((len(queries), len(documents)), dtype=np.float32)
    for some in blocks([len(query) for query in queries], QUERY_TOKENS):
        asked, query_starts = joined(queries[some])
        for part in blocks([len(document) for document in documents], BLOCK_TOKENS):
            answers, starts = joined(documents[part])
            with computing():
                best = np.maximum.reduceat(asked @ answers.T, starts, axis=1)
            out[some, part] = np.add.reduceat(best, query_starts, axis=0)
    return out


def maxsim_flat(query: Floats, tokens: Floats, starts: NDArray[np.intp]) -> Floats:
    """Score documents whose tokens lie one after the other in one matrix.

    Args:
        query: *Shape:* ``(query tokens, dim)``.
        tokens: *Shape:* ``(tokens, dim)``.
        starts: Where each document begins; none is empty. *Shape:* ``(documents,)``.

    Returns:
        float32, *Shape:* ``(documents,)``.
    """
    return np.asarray(np.maximum.reduceat(query @ tokens.T, starts, axis=1).sum(axis=0), dtype=np.float32)


def check(rows: Sequence[Floats], kind: str) -> None:
    """Refuse what is not a list of ``(tokens, dim)`` arrays.

    Args:
        rows: Arrays of token vectors.
        kind: What they are, for the error.

    Raises:
        VectorError: The message names the first that does not fit.
    """
    shape: tuple[int, ...] | None = getattr(rows, "shape", None)  # an array in place of a list is a common slip
    if shape is not None and len(shape) != 3:
        raise VectorError(
            f"{kind} vectors are one array of shape {shape}: give a list of (tokens, dim) arrays, [{kind}] for one"
        )
    for index, row in enumerate(rows):
        if row.ndim != 2:
            raise VectorError(
                f"{kind} {index} has shape {row.shape}, but (tokens, dim) is needed: one vector per token"
            )
        if not len(row):
            raise VectorError(
                f"{kind} {index} has no tokens, so there is nothing to compare: leave it out, or encode a text with words in it"
            )
        if row.shape[1] != rows[0].shape[1]:
            raise VectorError(
                f"{kind} {index} has {row.shape[1]} dimensions, {kind} 0 has {rows[0].shape[1]}: encode all with one model"
            )
        vectors.as_floats(row)


def blocks(lengths: Sequence[int], most: int) -> Iterator[slice]:
    """Cut rows into runs of at most ``most`` tokens. A longer row gets a run of its own.

    Args:
        lengths: Tokens of each row.
        most: Tokens of a run.

    Yields:
        Slices that cover the rows in order.
    """
    start, filled = 0, 0
    for index, length in enumerate(lengths):
        if index > start and filled + length > most:
            yield slice(start, index)
            start, filled = index, 0
        filled += length
    if len(lengths):
        yield slice(start, len(lengths))


def joined(rows: Sequence[Floats]) -> tuple[Floats, NDArray[np.intp]]:
    """Rows as one matrix, float32, and where each begins in it."""
    starts = np.zeros(len(rows), dtype=np.intp)
    np.cumsum([len(row) for row in rows[:-1]], out=starts[1:])
    flat = rows[0] if len(rows) == 1 else np.concatenate(rows)
    return np.asarray(flat, dtype=np.float32), starts
