"""Embedder: batches of every kind, pickled into other processes, one model in each."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from medembed import Embedder, FakeEngine, MedEmbed
from medembed.corpus import embedder
from medembed.errors import InputTypeError, OverlongTextError, SettingError, UnknownModelError

TEXTS = ["chest pain", "", "itchy skin"]
COLUMNS: dict[str, Any] = {"id": [1, 2, 3], "note": TEXTS}
# kind → makes a batch, reads the matrix back
KINDS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "mapping-of-lists": (dict, lambda column: column),
    "mapping-of-arrays": (
        lambda rows: {name: np.array(values) for name, values in rows.items()},
        lambda column: column,
    ),
    "pandas": (pd.DataFrame, lambda column: np.stack(list(column))),
    "polars": (pl.DataFrame, lambda column: column.to_numpy()),
    "arrow-table": (pa.table, lambda column: np.array(column.to_pylist(), dtype=np.float32)),
    "arrow-batch": (pa.RecordBatch.from_pydict, lambda column: np.array(column.to_pylist(), dtype=np.float32)),
}


@pytest.fixture
def embed(fake: MedEmbed) -> Embedder:
    return Embedder(fake, text_column="note")


@pytest.mark.parametrize(("make", "matrix_of"), KINDS.values(), ids=KINDS)
def test_a_batch_comes_back_as_its_kind_with_one_column_more(
    make: Callable[[Any], Any], matrix_of: Callable[[Any], Any], embed: Embedder, fake: MedEmbed
) -> None:
    batch = make(COLUMNS)
    done = embed(batch)
    assert type(done) is type(batch)
    matrix = matrix_of(done["vector"])
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, fake.encode_document(TEXTS))
    assert list(done["id"]) == list(batch["id"])
    columns = batch.schema.names if isinstance(batch, pa.Table | pa.RecordBatch) else list(batch)
    assert "vector" not in [getattr(column, "name", column) for column in columns]  # the batch passed in is left alone
    again = matrix_of(embed(done)["vector"])  # and a column of that name is replaced
    np.testing.assert_array_equal(again, matrix)


@pytest.mark.parametrize(("make", "matrix_of"), KINDS.values(), ids=KINDS)
def test_an_empty_batch_has_the_column_too(
    make: Callable[[Any], Any], matrix_of: Callable[[Any], Any], embed: Embedder
) -> None:
    del matrix_of
    batch = make({"id": [1], "note": ["x"]})
    empty = {name: values[:0] for name, values in batch.items()} if isinstance(batch, dict) else batch[:0]
    assert len(embed(empty)["vector"]) == 0


@pytest.mark.parametrize(
    ("batch", "error", "says"),
    [
        pytest.param(
            {"text": ["a"]}, SettingError, r"no column 'note', but the columns 'text'.*text_column", id="column"
        ),
        pytest.param(["a"], InputTypeError, r"mapping of columns.*not list.*mapInArrow", id="list"),
        pytest.param(iter([{"note": ["a"]}]), InputTypeError, r"not list_iterator", id="iterator-of-batches"),
        pytest.param({"note": ["a", None]}, InputTypeError, r"text 1 .*NoneType", id="none"),
        pytest.param(pa.table({"note": ["a", None]}), InputTypeError, r"text 1 .*NoneType", id="arrow-null"),
        pytest.param(pd.DataFrame({"note": ["a", np.nan]}), InputTypeError, r"text 1 .*float", id="pandas-nan"),
    ],
)
def test_what_cannot_be_embedded_is_refused(batch: Any, error: type[Exception], says: str, embed: Embedder) -> None:
    with pytest.raises(error, match=says):
        embed(batch)


def test_settings_of_a_model_are_those_of_the_workers(tiny_folder: Path) -> None:
    with MedEmbed(tiny_folder, threads=1, truncate_dim=32, overlong="error") as model:
        embed = Embedder(model, vector_column="v", prompt_name="query", threads=2)
        assert embed.model.settings == {**model.settings, "threads": 2}
        np.testing.assert_allclose(
            np.array(embed({"text": np.array(TEXTS)})["v"]), model.encode_query(TEXTS), atol=1e-6
        )
        with pytest.raises(OverlongTextError):
            embed({"text": ["pain " * 500]})


def test_nothing_is_loaded_before_the_first_batch() -> None:
    embed = Embedder("no-such-model")
    with pytest.raises(UnknownModelError):
        embed({"text": ["a"]})


def test_embedders_of_the_same_settings_share_one_model_in_a_process(tiny_folder: Path) -> None:
    one = Embedder(tiny_folder, text_column="a", threads=1)
    before = len(embedder._MODELS()._loaded)
    assert pickle.loads(pickle.dumps(Embedder(tiny_folder, text_column="b", threads=1))).model is one.model
    assert Embedder(tiny_folder, threads=2).model is not one.model
    assert len(embedder._MODELS()._loaded) == before + 2


def test_an_engine_of_ones_own_that_only_cloudpickle_can_send_is_the_embedders_alone() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")  # as Ray and Spark use it

    class Own(FakeEngine):
        """Of a notebook: pickle does not find it by name."""

    before = len(embedder._MODELS()._loaded)
    embed = Embedder(MedEmbed(engine=Own(dimension=8)))
    assert embed({"text": ["a"]})["vector"] is not None
    assert embed.model is embed.model
    sent = cloudpickle.loads(cloudpickle.dumps(embed))
    assert sent.model is not embed.model
    assert sent.model.dimension == 8
    assert len(embedder._MODELS()._loaded) == before


def test_a_pickle_is_small_and_works_in_another_process(tiny_folder: Path, tmp_path: Path) -> None:
    embed = Embedder(tiny_folder, text_column="note", threads=1)
    embed(COLUMNS)  # the loaded model does not go along
    pickled = tmp_path / "embedder.pickle"
    pickled.write_bytes(pickle.dumps(embed))
    assert pickled.stat().st_size < 1000
    program = (
        "import pickle, sys; from pathlib import Path; "
        "print(pickle.loads(Path(sys.argv[1]).read_bytes())({'note': ['chest pain']})['vector'].shape)"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(pickled)], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "(1, 64)", ran.stderr
