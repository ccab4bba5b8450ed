"""MedEmbed as its users meet it."""

import itertools
import logging
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from medembed import FakeEngine, MedEmbed, TruncationWarning
from medembed.errors import (
    ClosedModelError,
    EngineError,
    InputTypeError,
    OverlongTextError,
    PrecisionError,
    SettingError,
    VectorError,
)
from medembed.runtime import session
from medembed.runtime.engines.interface import TokenIds

TEXTS = ["chest pain", "a", "", "shortness of breath on exertion since last week", "pain " * 40]
LONG = "The patient reports pain in the left knee after walking. " * 60


def test_one_str_gives_a_vector_and_a_sequence_a_matrix(mini: MedEmbed) -> None:
    one, many = mini.encode("chest pain"), mini.encode(["chest pain"])
    assert (one.shape, many.shape) == ((384,), (1, 384))
    assert one.dtype == many.dtype == np.float32
    np.testing.assert_allclose(one, many[0], atol=1e-6)


def test_vectors_come_in_input_order_and_unit_length(mini: MedEmbed) -> None:
    together = mini.encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for row, text in zip(together, TEXTS, strict=True):
        assert float(row @ mini.encode(text)) > 0.9999


@pytest.mark.parametrize("texts", [[], (), np.array([], dtype=str)], ids=["list", "tuple", "array"])
def test_nothing_gives_an_empty_matrix(mini: MedEmbed, texts: list[str]) -> None:
    assert mini.encode(texts).shape == (0, 384)


@pytest.mark.parametrize(
    "texts", [tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object)], ids=["tuple", "array", "objects"]
)
def test_any_sequence_of_str_will_do(tiny: MedEmbed, texts: list[str]) -> None:
    np.testing.assert_array_equal(tiny.encode(texts), tiny.encode(TEXTS))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (None, "must be a str or a sequence of str, not NoneType"),
        (3, "not int"),
        (b"pain", r"not bytes: decode it first"),
        ({"text": "pain"}, r"not dict: pass the text field"),
        ({"pain"}, "not set"),
        ((text for text in TEXTS), r"not generator: for an iterator use encode_stream"),
        (["pain", None], r"text 1 is a NoneType, not a str: fill or drop missing values"),
        (["pain", 3.5], "text 1 is a float, not a str$"),
        (["pain", float("nan")], "text 1 is a float, not a str: fill or drop missing values"),
        ([b"pain"], r"text 0 is a bytes, not a str: decode it"),
        (["a", "b", ["c"]], r"text 2 is a list, not a str: flatten nested lists"),
        ([{"text": "a"}], r"text 0 is a dict, not a str: pass the text field"),
    ],
    ids=[
        "none",
        "int",
        "bytes",
        "dict",
        "set",
        "generator",
        "none-in",
        "float-in",
        "nan-in",
        "bytes-in",
        "nested",
        "dict-in",
    ],
)
def test_wrong_inputs_are_named_by_index_and_type(tiny: MedEmbed, texts: object, says: str) -> None:
    with pytest.raises(TypeError, match=says) as caught:
        tiny.encode(texts)  # type: ignore[arg-type]
    assert isinstance(caught.value, InputTypeError)


def test_a_single_text_where_several_are_wanted_is_not_taken_for_its_characters(tiny: MedEmbed) -> None:
    with pytest.raises(InputTypeError, match="not a str: wrap a single text in a list"):
        tiny.count_tokens("pain")


def test_prompts_are_applied_by_themselves(tiny: MedEmbed) -> None:
    np.testing.assert_array_equal(tiny.encode_query("pain"), tiny.encode("query: pain"))
    np.testing.assert_array_equal(tiny.encode_document(["pain"]), tiny.encode(["passage: pain"]))
    np.testing.assert_array_equal(tiny.encode("pain", prompt="query: "), tiny.encode_query("pain"))


def test_stream_gives_the_same_vectors_window_by_window(tiny: MedEmbed) -> None:
    windows = list(tiny.encode_stream(iter(TEXTS * 3), window=4))
    assert [len(window) for window in windows] == [4, 4, 4, 3]
    np.testing.assert_allclose(np.concatenate(windows), tiny.encode(TEXTS * 3), atol=2e-3)


@pytest.mark.parametrize("kind", ["query", "document"])
def test_stream_applies_the_prompt_of_its_kind(tiny: MedEmbed, kind: Literal["query", "document"]) -> None:
    [rows] = tiny.encode_stream(["pain"], prompt_name=kind)
    np.testing.assert_array_equal(rows, getattr(tiny, f"encode_{kind}")(["pain"]))
    [rows] = tiny.encode_stream(["pain"], prompt=tiny.spec.prompts[kind])
    np.testing.assert_array_equal(rows, getattr(tiny, f"encode_{kind}")(["pain"]))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"prompt_name": "passage"}, "prompt_name='passage': this model has 'query', 'document'"),
        ({"window": 0}, "window=0: give at least 1 text"),
    ],
    ids=["unknown prompt", "no window"],
)
def test_stream_settings_that_cannot_be_are_refused(tiny: MedEmbed, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        next(tiny.encode_stream(["pain"], **settings))


def test_stream_reads_no_further_than_its_window(tiny: MedEmbed) -> None:
    endless = itertools.cycle(TEXTS)
    assert next(iter(tiny.encode_stream(endless, window=8))).shape == (8, 64)


def test_stream_names_the_index_in_the_whole_stream(tiny: MedEmbed) -> None:
    with pytest.raises(InputTypeError, match="text 5 is a NoneType"):
        list(tiny.encode_stream(["a"] * 5 + [None], window=4))  # type: ignore[list-item]
    with pytest.raises(InputTypeError, match="wrap a single text in a list"):
        next(tiny.encode_stream("pain"))


def test_long_input_in_windows_equals_it_at_once(tiny: MedEmbed, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"finding {i} {'word ' * (i % 30)}" for i in range(100)]
    whole = tiny.encode(texts)
    monkeypatch.setattr(session, "WINDOW", 7)
    cosines = (tiny.encode(texts) * whole).sum(axis=1)
    assert cosines.min() > 0.9999


def test_truncation_warns_once_with_counts_and_keeps_them(tiny_folder: Path) -> None:
    embedder = MedEmbed(tiny_folder, threads=1)
    counts = embedder.count_tokens([LONG, "pain", LONG])
    with pytest.warns(TruncationWarning) as caught:
        embedder.encode([LONG, "pain", LONG])
    assert len(caught) == 1
    warning = caught[0].message
    assert isinstance(warning, TruncationWarning)
    assert (warning.n_texts, warning.n_tokens) == (2, 2 * (counts[0] - 64))
    assert "patient" not in str(warning)
    assert caught[0].filename == __file__
    with pytest.warns(TruncationWarning) as caught:
        embedder.encode_query(LONG[7:])
    assert caught[0].filename == __file__
    again = embedder.count_tokens([LONG[7:]], prompt="query: ")[0]
    assert (embedder.truncated.texts, embedder.truncated.tokens) == (3, 2 * (counts[0] - 64) + again - 64)


def test_no_warning_when_nothing_is_cut(tiny: MedEmbed) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.encode(["pain " * 62])


def test_error_policy_refuses_naming_the_index(tiny_folder: Path) -> None:
    embedder = MedEmbed(tiny_folder, threads=2, overlong="error")
    with pytest.raises(OverlongTextError, match=r"text 41 has \d+ tokens, but the model reads 64") as caught:
        embedder.encode(["pain"] * 41 + [LONG] + ["pain"] * 10)
    assert "patient" not in str(caught.value)


def test_the_index_counts_from_the_start_of_the_whole_input(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "WINDOW", 10)
    embedder = MedEmbed(tiny_folder, threads=1, overlong="error")
    texts = ["pain"] * 41 + [LONG]
    with pytest.raises(OverlongTextError, match="text 41 has"):
        embedder.encode(texts)
    with pytest.raises(OverlongTextError, match="text 41 has"):
        list(embedder.encode_stream(texts, window=7))


def test_chunk_policy_reads_the_whole_text(tiny_folder: Path) -> None:
    chunking = MedEmbed(tiny_folder, threads=1, overlong="chunk")
    tail = LONG + "fracture of the femur " * 20
    vectors = chunking.encode([LONG, tail, "pain"])
    with pytest.warns(TruncationWarning):
        cut = MedEmbed(tiny_folder, threads=1).encode([LONG, tail])
    assert float(cut[0] @ cut[1]) > 0.999999
    assert float(vectors[0] @ vectors[1]) < 0.9999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[2], MedEmbed(tiny_folder, threads=1).encode("pain"), atol=1e-6)


def test_chunk_policy_is_the_weighted_mean_of_the_windows(tiny_folder: Path) -> None:
    chunking = MedEmbed(tiny_folder, threads=1, overlong="chunk", precision="fp32")
    encoder = chunking._encoder()
    windows = encoder.tokenizer([LONG], overlong="chunk").ids
    raw = encoder.engine.pooled(windows)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    expected = (raw * np.array([[len(ids)] for ids in windows])).sum(axis=0)
    np.testing.assert_allclose(chunking.encode(LONG), expected / np.linalg.norm(expected), atol=1e-5)


def test_truncate_dim_cuts_and_renormalizes(tiny_folder: Path, tiny: MedEmbed) -> None:
    short = MedEmbed(tiny_folder, threads=1, truncate_dim=16)
    full = tiny.encode(TEXTS)[:, :16]
    assert short.dimension == 16
    np.testing.assert_allclose(short.encode(TEXTS), full / np.linalg.norm(full, axis=1, keepdims=True), atol=2e-3)


def test_max_seq_length_bounds_the_tokens(tiny_folder: Path) -> None:
    embedder = MedEmbed(tiny_folder, threads=1, max_seq_length=8)
    with pytest.warns(TruncationWarning, match="cut to 8 tokens"):
        np.testing.assert_allclose(embedder.encode("pain " * 50), embedder.encode("pain " * 6), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"max_seq_length": 65}, SettingError, "max_seq_length=65: this model takes a whole number from 3 to 64"),
        ({"max_seq_length": 2}, SettingError, "from 3 to 64"),
        ({"max_seq_length": 8.0}, SettingError, "whole number"),
        ({"truncate_dim": 0}, SettingError, "truncate_dim=0: this model takes a whole number from 1 to 64"),
        ({"truncate_dim": 65}, SettingError, "from 1 to 64"),
        ({"overlong": "cut"}, SettingError, "overlong='cut': choose one of truncate, error, chunk"),
        ({"threads": 0}, SettingError, "threads=0"),
        ({"threads": "2"}, SettingError, "threads='2': give at least 1"),
        ({"device": "tpu"}, SettingError, "device 'tpu' is unknown"),
        ({"device": ["cpu", "cuda:0"]}, SettingError, "only CUDA devices can be combined"),
        ({"precision": "fp8"}, PrecisionError, "precision 'fp8' is unknown: choose one of auto, fp32"),
        ({"precision": "fp16", "device": "cpu"}, PrecisionError, "'fp16' is for GPUs"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_settings_outside_their_range_say_what_fits(
    tiny_folder: Path, settings: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        MedEmbed(tiny_folder, **settings)  # type: ignore[arg-type]


def test_repr_tells_what_runs(mini: MedEmbed) -> None:
    for part in ("'mini'", "dimension=384", "device='cpu'", f"precision='{mini.precision}'", "engine='openvino'"):
        assert part in repr(mini)


def test_a_closed_model_says_so(tiny_folder: Path) -> None:
    with MedEmbed(tiny_folder, threads=2) as embedder:
        embedder.encode(TEXTS * 30)
    with pytest.raises(ClosedModelError, match="was closed"):
        embedder.encode("pain")
    embedder.close()
    assert "closed" in repr(embedder)


def test_one_log_line_at_load_and_no_text_in_any(tiny_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        MedEmbed(tiny_folder, threads=1).encode(["Secretus Patientus", LONG])
    lines = [record for record in caplog.records if record.name.startswith("medembed")]
    assert len(lines) == 1
    for part in ("engine openvino", "device cpu", "precision", "no accelerator found"):
        assert part in lines[0].getMessage()
    assert "Secretus" not in caplog.text
    assert "patient" not in caplog.text


def test_quantized_vectors_use_the_models_own_ranges(mini: MedEmbed) -> None:
    alone = mini.quantize(mini.encode("chest pain"), "int8")
    among = mini.quantize(mini.encode(["chest pain", "fracture", "asthma"]), "int8")[0]
    assert np.abs(alone.astype(int) - among).max() <= 1
    assert len(np.unique(alone)) > 50


@pytest.mark.parametrize("dimension", [384, 256, 128, 64])
def test_the_bundled_model_has_ranges_for_its_cuts(dimension: int) -> None:
    embedder = MedEmbed(threads=1, truncate_dim=dimension)
    assert embedder.vector_ranges.shape == (2, dimension)


def test_a_model_without_ranges_says_how_to_make_them(tiny: MedEmbed) -> None:
    with pytest.raises(VectorError, match=r"no quantization ranges for 64 dimensions: .*calibrate"):
        tiny.quantize(tiny.encode("pain"), "int8")
    ranges = tiny.calibrate([f"finding {i} of {i * 7 % 13}" for i in range(120)])
    assert ranges.shape == (2, 64)


def test_similarity_ranks_the_related_text_first(mini: MedEmbed) -> None:
    scores = mini.similarity(
        mini.encode_query("heart attack"), mini.encode_document(["myocardial infarction", "broken wrist"])
    )
    assert scores.shape == (1, 2)
    assert scores[0, 0] > scores[0, 1]


class NotFinite(FakeEngine):
    """An engine whose weights went bad: the second text comes out as NaN."""

    def pooled(self, ids: TokenIds, *, alone: bool = False) -> np.ndarray:
        rows = super().pooled(ids, alone=alone)
        rows[[len(row) == 4 for row in ids]] = np.nan
        return rows


def test_a_vector_that_is_not_finite_is_an_error_not_a_result() -> None:
    with pytest.raises(EngineError, match="not finite for text 1"):
        MedEmbed(engine=NotFinite()).encode(["pain", "chest pain", "pain"])


def test_progress_is_shown_only_when_wanted(tiny: MedEmbed, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.encode(TEXTS)
    assert capsys.readouterr().err == ""
    tiny.encode(TEXTS * 20, show_progress_bar=True)
    assert "100/100" in capsys.readouterr().err


def test_warm_up_and_revision(tiny: MedEmbed) -> None:
    tiny.warm_up()
    assert tiny.revision.startswith("sha256-")
    assert tiny.name == tiny.spec.name
