"""Odd strings: a vector or the documented error, never a crash, never NaN."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medembed import FakeEngine, MedEmbed, TruncationWarning

ANY_TEXT = st.text(alphabet=st.characters(), max_size=60) | st.text(
    alphabet=st.characters(categories=["Cs", "Cc", "Co", "So"]), max_size=20
)

pytestmark = pytest.mark.filterwarnings("ignore::medembed.runtime.tokenizer.TruncationWarning")


@given(texts=st.lists(ANY_TEXT, max_size=12))
@settings(deadline=None, max_examples=60)
def test_any_texts_give_finite_unit_vectors(tiny: MedEmbed, texts: list[str]) -> None:
    rows = tiny.encode(texts)
    assert rows.shape == (len(texts), 64)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=12), seed=st.randoms())
@settings(deadline=None, max_examples=40)
def test_company_and_order_do_not_change_a_vector(tiny: MedEmbed, texts: list[str], seed: object) -> None:
    rows = tiny.encode(texts)
    order = list(range(len(texts)))
    seed.shuffle(order)  # type: ignore[attr-defined]
    shuffled = tiny.encode([texts[i] for i in order])
    assert ((rows[order] * shuffled).sum(axis=1) > 0.9999).all()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\t ",
        "\x00",
        "a\x00b",
        "\ud800",
        "x\udc00y",
        "👩🏽‍⚕️💉",
        "﷽" * 50,
        "\u202e right to left",
        "e" + "\u0301" * 500,
    ],
    ids=["empty", "blank", "white", "nul", "nul-in", "high", "low", "emoji", "wide", "rtl", "marks"],
)
def test_odd_text_gives_a_valid_vector(mini: MedEmbed, text: str) -> None:
    row = mini.encode(text)
    assert np.isfinite(row).all()
    assert abs(float(np.linalg.norm(row)) - 1) < 1e-5


def test_two_megabytes_of_text(tiny: MedEmbed) -> None:
    with pytest.warns(TruncationWarning, match="1 text was cut to 64 tokens"):
        row = tiny.encode("fever and cough " * 131_072)
    assert np.isfinite(row).all()


def test_a_hundred_thousand_empty_texts() -> None:
    rows = MedEmbed(engine=FakeEngine(dimension=8)).encode([""] * 100_000)
    assert rows.shape == (100_000, 8)
    np.testing.assert_array_equal(rows, np.broadcast_to(rows[0], rows.shape))
