"""Embedder: a callable on batches of rows, for one's own Ray, Spark, Dask or datasets job."""

import os
import threading
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medembed.errors import InputTypeError, SettingError
from medembed.model import MedEmbed
from medembed.per_process import PerProcess
from medembed.rows import names
from medembed.runtime.engines import Device

Batch = TypeVar("Batch")


class Embedder:
    """Add a column of vectors to batches of rows. One process holds one model for all embedders of the same settings.

    It pickles as its settings: each worker process loads the model at its first batch. The batch may be a mapping of columns
    (Ray's ``"numpy"`` format, ``datasets.map(batched=True)``), a pandas or polars frame, or a pyarrow table or record batch
    (Ray's ``"pyarrow"``, Spark's ``mapInArrow``); what comes back is of the same kind, with one column more.

    Args:
        model: A name, hub id or folder, as :class:`medembed.MedEmbed` takes it; or a ``MedEmbed`` whose settings the workers use,
            its revision included.
        text_column: The column with the texts.
        vector_column: The column to add; one of that name is replaced.
        prompt_name: The model's prompt that is put before each text.
        device: Device of the workers; None for that of ``model``, or ``"auto"``.
        threads: CPU threads of each worker, which should be the cores that the framework reserves for it.

    Raises:
        MedEmbedError: At the first batch of a process: the model cannot be loaded there.

    Example:
        >>> from medembed import FakeEngine, MedEmbed
        >>> with MedEmbed(engine=FakeEngine(dimension=8)) as model:
        ...     embed = Embedder(model, text_column="note")
        >>> embed({"id": [1, 2], "note": ["chest pain", "itchy skin"]})["vector"].shape
        (2, 8)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | MedEmbed = "mini",
        *,
        text_column: str = "text",
        vector_column: str = "vector",
        prompt_name: str = "document",
        device: Device | None = None,
        threads: int | None = None,
    ) -> None:
        """Remember the settings. Nothing is loaded yet."""
        settings = model.settings if isinstance(model, MedEmbed) else {"model": os.fspath(model)}
        chosen = {"device": device, "threads": threads}
        self._settings = {**settings, **{name: value for name, value in chosen.items() if value is not None}}
        self._text, self._vector, self._prompt = text_column, vector_column, prompt_name
        self._own: MedEmbed | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The settings alone: a loaded model stays in its process."""
        return {**vars(self), "_own": None}

    @property
    def model(self) -> MedEmbed:
        """The model of this process, loaded at the first use. With an engine of the caller's own it is this embedder's alone."""
        if self._settings.get("engine") is None:
            return _MODELS().get(self._settings)
        if self._own is None:  # nothing tells whether two such engines are alike
            self._own = MedEmbed(**self._settings)
        return self._own

    def __call__(self, batch: Batch) -> Batch:
        """The batch with vectors of its texts.

        Args:
            batch: Rows, as columns.

        Returns:
            A batch of the same kind; the one that was passed in is left as it is. A mapping gets a float32 array, *Shape:*
            ``(rows, dimension)``; a frame gets one array of ``dimension`` numbers a row; a table a list of fixed size a row.

        Raises:
            SettingError: No such column.
            InputTypeError: Another kind of batch, or a text that is no ``str``; the message has its row in the batch.
            OverlongTextError: ``overlong="error"`` and a text is too long.
        """
        kind = _kind_of(batch)
        found = _column_names(batch, kind)
        if self._text not in found:
            raise SettingError(
                f"the batch has no column {self._text!r}, but {names.shown([str(name) for name in found])}: name it with text_column"
            )
        added: Batch = _ADD[kind](batch, self._vector, self._vectors(_texts(batch, self._text, kind)))
        return added

    def _vectors(self, texts: list[str]) -> NDArray[np.float32]:
        model = self.model
        if not texts:  # Ray and Spark call with empty batches to learn the columns
            return np.empty((0, model.dimension), dtype=np.float32)
        return model.encode(texts, prompt_name=self._prompt, show_progress_bar=False)


class _Models:
    """Models of this process by their settings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[str, MedEmbed] = {}

    def get(self, settings: Mapping[str, Any]) -> MedEmbed:
        key = repr(sorted(settings.items()))  # names, numbers and lists of names
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = MedEmbed(**settings)
            return self._loaded[key]


_MODELS = PerProcess(_Models)


def _kind_of(batch: object) -> str:
    if isinstance(batch, Mapping):
        return "mapping"
    package, name = type(batch).__module__.partition(".")[0], type(batch).__name__
    kinds = {
        ("pandas", "DataFrame"): "pandas",
        ("polars", "DataFrame"): "polars",
        ("pyarrow", "Table"): "arrow table",
        ("pyarrow", "RecordBatch"): "arrow batch",
    }
    if (package, name) not in kinds:
        raise InputTypeError(
            f"a batch must be a mapping of columns, a pandas or polars DataFrame, or a pyarrow Table or RecordBatch, not {name}: "
            "with Spark pass the function to mapInArrow or mapInPandas, as lambda batches: map(embedder, batches)"
        )
    return kinds[package, name]


def _column_names(batch: Any, kind: str) -> list[str]:
    if kind.startswith("arrow"):
        return list(batch.schema.names)
    return list(batch.columns if kind == "polars" else batch)


def _texts(batch: Any, column: str, kind: str) -> list[Any]:
    values = batch[column] if kind != "arrow batch" else batch.column(column)
    if kind.startswith("arrow"):
        texts: list[Any] = values.to_pylist()
        return texts
    return list(values)


def _to_mapping(batch: Mapping[str, Any], name: str, matrix: NDArray[np.float32]) -> dict[str, Any]:
    return {**batch, name: matrix}


def _to_pandas(batch: Any, name: str, matrix: NDArray[np.float32]) -> Any:
    return batch.assign(**{name: list(matrix)})


def _to_polars(batch: Any, name: str, matrix: NDArray[np.float32]) -> Any:
    import polars as pl

    return batch.with_columns(pl.Series(name, matrix, dtype=pl.Array(pl.Float32, matrix.shape[1])))


def _to_table(batch: Any, name: str, matrix: NDArray[np.float32]) -> Any:
    import pyarrow as pa

    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
    place = batch.schema.get_field_index(name)
    return batch.append_column(name, column) if place < 0 else batch.set_column(place, name, column)


_ADD = {
    "mapping": _to_mapping, "pandas": _to_pandas, "polars": _to_polars, "arrow table": _to_table, "arrow batch": _to_table,
}  # fmt: skip
