"""Which rows a search may find: by values of kept columns, by id, or by an Arrow expression."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.errors import CorpusError
from medembed.extras import require

Filter = Mapping[str, Any] | Any
"""``{"ward": "icu", "year": [2024, 2025]}``: all must hold, a list means any of it; or a ``pyarrow.compute`` expression."""


def allowed(tables: Any, chosen: Filter, kept: Collection[str]) -> NDArray[np.bool_]:
    """Rows that a filter lets through.

    Args:
        tables: The corpus's row tables, in order.
        chosen: The filter.
        kept: Names of kept columns, for the error.

    Returns:
        *Shape:* ``(rows,)``.

    Raises:
        CorpusError: A column that is not there, or a value of another type than the column's.
    """
    arrow = require("pyarrow")
    expression = _expression(chosen) if isinstance(chosen, Mapping) else chosen
    masks = []
    for table in tables:
        mask = np.zeros(table.num_rows, dtype=bool)
        numbered = table.append_column("row number", arrow.array(np.arange(table.num_rows)))
        try:
            found = numbered.filter(expression)
        except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError, TypeError) as error:
            known = ", ".join(["id", "source", "line", *kept])
            raise CorpusError(
                f"this filter does not fit the corpus ({type(error).__name__}): its columns are {known}; keep more with --keep when indexing"
            ) from error
        mask[found.column("row number").to_numpy()] = True
        masks.append(mask)
    return np.concatenate(masks) if masks else np.zeros(0, dtype=bool)


def _expression(chosen: Mapping[str, Any]) -> Any:
    compute = require("pyarrow.compute")
    whole = compute.scalar(True)
    for name, value in chosen.items():
        column = compute.field(name)
        many = isinstance(value, list | tuple | set | frozenset)
        whole = whole & (column.isin(list(value)) if many else column == value)
    return whole
