"""The files of a finished corpus, mapped when first asked for: rows, vectors, and which rows are live."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.corpus import embed, maps, scan
from medembed.corpus.layout import Manifest, Stored
from medembed.search.topk import Floats, Integers
from medembed.vectors import to_float


class OpenFiles:
    """What a corpus on disk holds, by row number.

    Args:
        path: The corpus's folder.
        manifest: Its manifest; what was read stays as it was, whatever writers do meanwhile.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Nothing is read yet."""
        self._path, self._manifest = path, manifest
        self._blocks: dict[str, list[maps.Block]] = {}
        self._tables: list[Any] | None = None
        self._live: NDArray[np.bool_] | None = None

    def rows(self) -> list[Any]:
        """Arrow tables of all columns but the vectors, in order."""
        if self._tables is None:
            self._tables = maps.row_tables(self._path, self._manifest)
        return self._tables

    def ids(self) -> list[str]:
        """Ids of all rows, deleted ones too."""
        return [name for table in self.rows() for name in table.column("id").to_pylist()]

    def blocks(self, kind: Stored) -> list[maps.Block]:
        """All vectors, as stored or quantised further."""
        if kind not in self._blocks:
            self._blocks[kind] = maps.vector_blocks(self._path, self._manifest, kind)
        return self._blocks[kind]

    def live(self) -> NDArray[np.bool_]:
        """Which rows are not deleted. *Shape:* ``(rows,)``."""
        if self._live is None:
            self._live = np.ones(self._manifest.n_rows, dtype=bool)
            self._live[list(embed.deleted_rows(self._path, self._manifest))] = False
        return self._live

    def vectors(self, rows: Integers) -> Floats:
        """Vectors by row number as float32. *Shape:* ``(len(rows), dimension)``."""
        if not len(rows):
            return np.empty((0, self._manifest.embedding.dimension), dtype=np.float32)
        return self.to_float(scan.take(self.blocks(self._manifest.embedding.vectors), rows))

    def groups(self) -> Iterator[tuple[Any, NDArray[Any]]]:
        """Live rows of each map: an Arrow table without vectors, and the stored vectors. *Shape:* ``(n, columns)``."""
        live = self.live()
        for table, block in zip(self.rows(), self.blocks(self._manifest.embedding.vectors), strict=True):
            here = live[block.start : block.start + len(block.vectors)]
            yield (table, block.vectors) if here.all() else (table.filter(here), block.vectors[here])

    def to_float(self, stored: NDArray[Any]) -> Floats:
        """Stored vectors of this corpus as float32. *Shape:* ``(n, dimension)``."""
        told = self._manifest.embedding
        return to_float(stored, told.vectors, told.ranges_array())
