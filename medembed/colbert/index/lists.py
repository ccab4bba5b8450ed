"""Documents by the centroids that their tokens are near.

They lead to the documents most worth an exact look for a query.

A query token's best match in a document is worth at least what the token's similarity to a near centroid says, for every
document that has a token there. Documents that are in none of the lists looked at are taken to have the similarity of the
last of them (the imputation of WARP, Scheerer et al. 2025, https://arxiv.org/abs/2501.17788).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from medembed.extras import require
from medembed.storage import arrow_files

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


@dataclass(frozen=True)
class CentroidLists:
    """Documents by centroid.

    Attributes:
        documents: Numbers of the documents of each centroid, one list after the other, ascending. int32.
        starts: Where each centroid's list begins, and the end of the last. int64, *Shape:* ``(centroids + 1,)``.
        n_documents: How many documents there are.
    """

    documents: Integers
    starts: NDArray[np.int64]
    n_documents: int

    def save(self, folder: Path) -> None:
        """Write the lists into a folder, for :meth:`load`."""
        arrow = require("pyarrow")
        for name, values in (("documents", self.documents), ("starts", self.starts)):
            arrow_files.save(folder / f"{name}.arrow", arrow.table({name: values}))
        arrow_files.save(folder / "count.arrow", arrow.table({"n_documents": [self.n_documents]}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Lists that were saved, mapped."""
        documents, starts = (_values(folder, name) for name in ("documents", "starts"))
        return cls(documents, starts, int(_values(folder, "count", "n_documents")[0]))

    def fits(self, n_documents: int, n_centroids: int) -> bool:
        """Tell whether these are lists of so many documents and centroids."""
        return (
            self.n_documents == n_documents
            and len(self.starts) == n_centroids + 1
            and bool((np.diff(self.starts) >= 0).all())
            and (self.starts[0], self.starts[-1]) == (0, len(self.documents))
            and bool(((self.documents >= 0) & (self.documents < n_documents)).all())
        )

    def promising(
        self, similarities: Floats, count: int, *, probe: int, alive: NDArray[np.bool_] | None = None
    ) -> Integers:
        """Documents most worth an exact look.

        Args:
            similarities: Of each query token to each centroid. *Shape:* ``(query tokens, centroids)``.
            count: How many.
            probe: Centroids looked at for each query token.
            alive: Which documents may be found; None for all. *Shape:* ``(n_documents,)``.

        Returns:
            Their numbers, ascending, at most ``count``.
        """
        probe = min(probe, similarities.shape[1] - 1)
        total = np.zeros(self.n_documents, dtype=np.float32)
        gained = np.zeros(self.n_documents, dtype=np.float32)
        for row in similarities:
            nearest = np.argpartition(row, len(row) - probe - 1)[len(row) - probe - 1 :]
            nearest = nearest[np.argsort(row[nearest])]  # ascending, so that a nearer centroid overwrites a farther one
            missed = row[nearest[0]]
            gained[:] = 0
            for centroid in nearest[1:]:
                gained[self.documents[self.starts[centroid] : self.starts[centroid + 1]]] = row[centroid] - missed
            total += gained
        if alive is not None:
            total[~alive] = -np.inf
        count = min(count, self.n_documents)
        best = np.argpartition(total, self.n_documents - count)[self.n_documents - count :]
        return np.sort(best[total[best] > -np.inf]).astype(np.int32)


def make_lists(codes: NDArray[np.uint16], counts: NDArray[np.integer], n_centroids: int) -> CentroidLists:
    """Sort documents by centroid.

    Args:
        codes: Centroid of every token, document after document. *Shape:* ``(tokens,)``.
        counts: Tokens of each document. *Shape:* ``(documents,)``.
        n_centroids: How many centroids there are.

    Returns:
        The lists; a document is once in each, however many tokens it has there.
    """
    owners = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    pairs = np.unique(codes.astype(np.int64) * max(1, len(counts)) + owners)
    centroids, documents = np.divmod(pairs, max(1, len(counts)))
    starts = np.zeros(n_centroids + 1, dtype=np.int64)
    np.cumsum(np.bincount(centroids, minlength=n_centroids), out=starts[1:])
    return CentroidLists(documents.astype(np.int32), starts, len(counts))


def _values(folder: Path, name: str, column: str | None = None) -> NDArray[Any]:
    table = arrow_files.mapped(folder / f"{name}.arrow").column(column or name)
    return np.asarray(table.chunk(0).to_numpy(zero_copy_only=True) if len(table) else np.empty(0, dtype=np.int32))
