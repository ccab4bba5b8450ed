"""Tokens: the same as the reference tokenizer's, truncation counted, windows that miss nothing."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference

from medembed.checkpoints.checkpoint import BUNDLED_FOLDER
from medembed.checkpoints.files import ModelFiles
from medembed.errors import CorruptFileError, OverlongTextError
from medembed.runtime import tokenizer as tokenizer_module
from medembed.runtime.tokenizer import Tokenizer

LONG = " ".join(f"finding{i}" for i in range(60))


@pytest.fixture(scope="module")
def short() -> Tokenizer:
    return Tokenizer(ModelFiles(BUNDLED_FOLDER), 32)


@pytest.fixture(scope="module")
def reference() -> Reference:
    made = Reference.from_file(str(BUNDLED_FOLDER / "tokenizer.json"))
    made.no_padding()
    made.enable_truncation(32)
    return made


@given(text=st.text(max_size=400))
@settings(deadline=None)
def test_ids_equal_the_reference_truncation_included(short: Tokenizer, reference: Reference, text: str) -> None:
    assert short([text]).ids == [reference.encode(text).ids]


def test_prompt_is_tokenized_with_the_text(short: Tokenizer, reference: Reference) -> None:
    assert short(["pain"], prompt="query: ").ids == [reference.encode("query: pain").ids]


def test_tokens_count_what_is_there_before_cutting(short: Tokenizer) -> None:
    reference = Reference.from_file(str(BUNDLED_FOLDER / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    assert short([LONG]).tokens == short.count([LONG]) == [len(reference.encode(LONG).ids)]


def test_error_policy_names_the_index_in_the_callers_input(short: Tokenizer) -> None:
    with pytest.raises(OverlongTextError, match=r"text 7 has \d+ tokens, but the model reads 32"):
        short(["pain", LONG], overlong="error", places=[3, 7])


def test_windows_overlap_and_together_hold_every_token(short: Tokenizer) -> None:
    windows = short([LONG, "pain"], overlong="chunk", prompt="note: ")
    assert windows.owners[-1] == 1
    rows = [ids[1:-1] for ids, owner in zip(windows.ids, windows.owners, strict=True) if owner == 0]
    lead = short(["note: "]).ids[0][1:-1]
    assert len(rows) > 2
    assert all(row[: len(lead)] == lead for row in rows)
    assert all(len(row) <= short.room for row in rows)
    bodies = [row[len(lead) :] for row in rows]
    whole = bodies[0]
    for previous, following in itertools.pairwise(bodies):
        shared = len(previous) // tokenizer_module.OVERLAP_SHARE
        assert previous[-shared:] == following[:shared]
        whole = whole + following[shared:]
    assert whole == Tokenizer(ModelFiles(BUNDLED_FOLDER), 512)([LONG]).ids[0][1:-1]


@pytest.mark.parametrize(
    "text", ["\ud800", "a\udfffb", "\x00", "", "   ", "👩‍⚕️💊"], ids=["high", "low", "nul", "empty", "blank", "emoji"]
)
def test_odd_strings_become_tokens(short: Tokenizer, text: str) -> None:
    assert len(short([text, "pain"]).ids) == 2


def test_surrogates_read_as_replacement_characters(short: Tokenizer) -> None:
    assert short(["a \ud800 b"]).ids == short(["a \ufffd b"]).ids


def test_a_broken_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(CorruptFileError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        Tokenizer(ModelFiles(tmp_path), 32)
