"""What people hand to ``encode`` in place of a list of texts: accepted as it is meant, or refused with the line that works."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from medembed import MedEmbed
from medembed.errors import InputTypeError
from medembed.runtime.inputs import checked_texts, windows

TEXTS = ["fever", "rash"]


def pandas(make: str) -> Any:
    module = pytest.importorskip("pandas")
    frame = module.DataFrame({"text": TEXTS, "n": [1, 2]})
    return {
        "table": frame,
        "column": frame["text"],
        "index": module.Index(TEXTS),
        "category": frame["text"].astype("category"),
        "missing": module.Series(["fever", module.NA], dtype="object"),
        "nan": module.Series(["fever", None]),
        "groups": frame.groupby("n"),
    }[make]


def polars(make: str) -> Any:
    module = pytest.importorskip("polars")
    frame = module.DataFrame({"text": TEXTS})
    return {"table": frame, "column": frame["text"], "query": frame.lazy(), "missing": module.Series(["fever", None])}[
        make
    ]


def arrow(make: str) -> Any:
    module = pytest.importorskip("pyarrow")
    table = module.table({"text": TEXTS})
    return {
        "table": table,
        "batch": table.to_batches()[0],
        "column": table["text"],
        "array": module.array(TEXTS),
        "missing": module.array(["fever", None]),
        "scalars": list(module.array(TEXTS)),
    }[make]


ACCEPTED: dict[str, Callable[[], Any]] = {
    "list": lambda: TEXTS,
    "tuple": lambda: tuple(TEXTS),
    "objects": lambda: np.array(TEXTS, dtype=object),
    "strings": lambda: np.array(TEXTS),
    "values of a dict": lambda: dict(enumerate(TEXTS)).values(),
    "pandas column": lambda: pandas("column"),
    "pandas index": lambda: pandas("index"),
    "pandas category": lambda: pandas("category"),
    "polars column": lambda: polars("column"),
    "arrow column": lambda: arrow("column"),
    "arrow array": lambda: arrow("array"),
}
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "pandas table": (
        lambda: pandas("table"),
        r"a table \(DataFrame\): pass one column .* model.encode\(table\['text'\]\)",
    ),
    "polars table": (lambda: polars("table"), r"a table \(DataFrame\): pass one column"),
    "polars query": (lambda: polars("query"), r"not LazyFrame: pass one column .*query.collect\(\)\['text'\]"),
    "arrow table": (lambda: arrow("table"), r"a table \(Table\): pass one column"),
    "arrow batch": (lambda: arrow("batch"), r"a table \(RecordBatch\): pass one column"),
    "two dimensions": (lambda: np.array([TEXTS]), r"an array of 2 dimensions \(ndarray\): pass one dimension"),
    "no dimension": (lambda: np.array("fever"), r"an array of 0 dimensions"),
    "mapping": (lambda: {"text": TEXTS}, r"not dict: pass the text field"),
    "set": (lambda: set(TEXTS), r"not set: it has no order, .* pass sorted\(texts\)"),
    "frozen set": (lambda: frozenset(TEXTS), r"not frozenset: it has no order"),
    "bytes": (lambda: b"fever", r"not bytes: decode it first"),
    "number": (lambda: 7, r"not int"),
    "nothing": (lambda: None, r"not NoneType: fill or drop"),
    "rows": (lambda: [{"text": "fever"}], r"text 0 is a dict, not a str: pass the text field"),
    "nested": (lambda: [TEXTS], r"text 0 is a list, not a str: flatten"),
    "pandas missing": (lambda: pandas("missing"), r"text 1 is a NAType, not a str: fill or drop"),
    "pandas nan": (lambda: pandas("nan"), r"text 1 is a \w+, not a str: fill or drop"),
    "pandas groups": (lambda: pandas("groups"), r"text 0 is a tuple"),
    "polars missing": (lambda: polars("missing"), r"text 1 is a NoneType, not a str: fill or drop"),
    "arrow missing": (lambda: arrow("missing"), r"text 1 is a NoneType, not a str: fill or drop"),
    "arrow scalars": (lambda: arrow("scalars"), r"text 0 is a StringScalar, not a str: pass the column itself"),
}


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_columns_are_texts(make: Callable[[], Any]) -> None:
    assert checked_texts(make()) == TEXTS
    assert list(windows(make(), 1)) == [["fever"], ["rash"]]


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_column_is_refused_with_the_line_that_works(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(InputTypeError, match=says) as caught:
        checked_texts(make())
    with pytest.raises(InputTypeError, match=says):
        list(windows(make(), 10))
    assert "fever" not in str(caught.value)


def test_an_iterator_is_for_streams() -> None:
    def texts() -> Iterator[str]:
        yield from TEXTS

    with pytest.raises(InputTypeError, match=r"not generator: for an iterator use encode_stream"):
        checked_texts(texts())
    assert list(windows(texts(), 5)) == [TEXTS]


def test_encode_takes_a_column_and_refuses_a_table(tiny: MedEmbed) -> None:
    np.testing.assert_array_equal(tiny.encode(arrow("column")), tiny.encode(TEXTS))
    for call in (tiny.encode, tiny.encode_query, tiny.encode_document):
        with pytest.raises(InputTypeError, match="a table"):
            call(arrow("table"))
