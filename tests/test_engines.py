"""Which engine runs, and the engines that parity tests do not reach."""

import logging
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from medembed import Engine, FakeEngine, MedEmbed, demo
from medembed.checkpoints import checkpoint, tensors
from medembed.errors import (
    BadWeightsError,
    DeviceError,
    EngineError,
    MissingExtraError,
    PrecisionError,
    UnsupportedModelError,
)
from medembed.extras import install_command
from medembed.runtime import hardware
from medembed.runtime.engines import PrecisionSetting, load_engine, openvino_engine
from medembed.runtime.engines.interface import TokenIds
from medembed.runtime.engines.padding import pad
from tests import tiny_bert

TEXTS = [passage.text for passage in demo.passages()[:6]] + ["", "pain"]


def test_rows_of_a_compact_table_are_restored_as_the_whole_table_is(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "whole")
    compact = tensors.compact(tensors.read_tensors(folder))
    shutil.copytree(folder, tmp_path / "compact")
    save_file(compact, tmp_path / "compact" / "model.safetensors")
    save_file(tensors.read_tensors(tmp_path / "compact"), folder / "model.safetensors")
    texts = ["pain", "", "fever and a cough at night"]
    whole, compact_too = (
        MedEmbed(place, threads=1, precision="fp32").encode(texts) for place in (folder, tmp_path / "compact")
    )
    np.testing.assert_array_equal(whole, compact_too)


def test_both_ways_to_run_share_one_copy_of_the_weights() -> None:
    tracemalloc.start()
    try:
        engine = openvino_engine.OpenVinoEngine(checkpoint.fetch("mini"), "fp32", 2)
        held = []
        for alone in (True, False):
            engine.pooled([[101, 7, 102]], alone=alone)
            held.append(_bytes_of_arrays())
    finally:
        tracemalloc.stop()
    matrices = 4 * engine._shape.layers * (4 * engine._shape.hidden**2 + 2 * engine._shape.hidden * engine._shape.inner)
    # neither the table of words nor the matrices as they were before the queries were scaled
    assert held[0] < 1.1 * matrices
    assert held[1] < 1.1 * matrices


def _bytes_of_arrays() -> int:
    ours = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([ours]).traces)


SHAPES = """
import sys, psutil
from medembed.checkpoints import checkpoint
from medembed.runtime.engines import openvino_engine
openvino_engine.PARTS_KEPT = {"CPU_RUNTIME_CACHE_CAPACITY": int(sys.argv[1])}
engine = openvino_engine.OpenVinoEngine(checkpoint.fetch("mini"), "fp32", 2)
for _ in range(2):
    engine.pooled([[2000] * 256] * 2)  # the largest batch, in both streams
before = psutil.Process().memory_info().rss
for width in range(8, 132, 4):
    for rows in (1, 1, 2, 2):
        engine.pooled([[2000] * width] * rows)
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.thorough
def test_a_stream_keeps_as_many_parts_as_it_is_told() -> None:
    all_kept, few_kept = (
        int(subprocess.run([sys.executable, "-c", SHAPES, kept], capture_output=True, text=True, check=True).stdout)
        for kept in ("5000", "16")
    )
    assert few_kept < all_kept / 2  # 0.5 MiB and 5.4


def test_an_openvino_that_does_not_know_the_bound_runs_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "PARTS_KEPT", {"NO_SUCH_SETTING": 1})
    engine = openvino_engine.OpenVinoEngine(checkpoint.fetch("mini"), "fp32", 2)
    assert engine.pooled([[101, 7, 102]]).shape == (1, engine.dimension)


def test_padding_fills_to_a_multiple_and_keeps_lengths() -> None:
    padded, lengths = pad([[5, 6, 7], [8]], pad_id=9, multiple=4)
    np.testing.assert_array_equal(padded, [[5, 6, 7, 9], [8, 9, 9, 9]])
    np.testing.assert_array_equal(lengths, [3, 1])


@pytest.mark.parametrize("kind", ["openvino", "torch", "ragged"])
def test_tokens_beyond_the_attended_get_a_state_that_no_other_sees(tiny_folder: Path, kind: str) -> None:
    found = checkpoint.fetch(str(tiny_folder))
    ids, longer = [[101, 7, 8, 102], [101, 9, 102]], [[101, 7, 8, 102, 103, 103], [101, 9, 102, 103]]
    run = _token_runner(found, kind)
    plain, filled, seen = run(ids, None), run(longer, [4, 3]), run(longer, None)
    for row, (alone, with_more, attended) in enumerate(zip(plain, filled, seen, strict=True)):
        assert with_more.shape == (len(longer[row]), 64)
        np.testing.assert_allclose(with_more[: len(alone)], alone, atol=1e-4)
        assert np.abs(attended[: len(alone)] - alone).max() > 1e-3
        assert np.abs(with_more[len(alone) :]).max() > 1e-3


def _token_runner(found: checkpoint.Checkpoint, kind: str) -> Callable[[TokenIds, list[int] | None], list[np.ndarray]]:
    if kind == "openvino":
        engine = openvino_engine.OpenVinoEngine(found, "fp32", 1)
        return lambda ids, attended: engine.tokens(ids, attended=attended)
    torch = pytest.importorskip("torch")
    from medembed.runtime.engines import torch_engine
    from medembed.runtime.engines.ragged_bert import row_by_row_attention
    from medembed.runtime.engines.slots import Slots

    other = torch_engine.TorchEngine(found, ["cpu"], "fp32", 1)
    if kind == "ragged":
        other._replicas = Slots([torch_engine._Ragged(found, "cpu", torch.float32, row_by_row_attention)])
    return lambda ids, attended: other.tokens(ids, attended=attended)


def test_fake_vectors_depend_on_tokens_alone() -> None:
    engine = FakeEngine(dimension=16)
    assert isinstance(engine, Engine)
    np.testing.assert_array_equal(engine.pooled([[1, 2], [3]])[1], FakeEngine(dimension=16).pooled([[3]])[0])
    wide = FakeEngine(dimension=256)
    rows = np.stack([states[0] for states in wide.tokens([[i] for i in range(50)])])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    others = (rows @ rows.T)[~np.eye(50, dtype=bool)]
    assert np.abs(others).max() < 0.35


def test_fake_search_finds_shared_words() -> None:
    model = MedEmbed(engine=FakeEngine())
    scores = model.similarity(model.encode("kidney stone"), model.encode(["a kidney stone hurts", "broken wrist"]))
    assert scores[0, 0] > scores[0, 1]


@pytest.mark.parametrize(
    ("asked", "has_bf16", "loses", "expected"),
    [
        ("auto", True, False, "bf16"),
        ("auto", True, True, "fp32"),
        ("auto", False, False, "fp32"),
        ("fp32", True, False, "fp32"),
        ("int8", False, False, "int8"),
        ("bf16", True, True, "bf16"),
    ],
)
def test_the_cpus_precision(
    monkeypatch: pytest.MonkeyPatch,
    tiny_folder: Path,
    asked: PrecisionSetting,
    has_bf16: bool,
    loses: bool,
    expected: str,
) -> None:
    monkeypatch.setattr(openvino_engine, "cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr(hardware, "cpu_loses_by_bf16", lambda: loses)
    engine = load_engine(checkpoint.fetch(str(tiny_folder)), device="cpu", precision=asked, threads=1)
    assert engine.precision == expected


def test_bf16_is_refused_where_it_would_crawl(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    monkeypatch.setattr(openvino_engine, "cpu_has_bf16", lambda: False)
    with pytest.raises(PrecisionError, match="no bf16 units"):
        MedEmbed(tiny_folder, precision="bf16")


def test_int8_needs_layers_it_can_cut(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "m", config={"hidden_size": 48})
    with pytest.raises(PrecisionError, match=r"multiples of 64, but .* has \(48, 128\)"):
        MedEmbed(folder, precision="int8")


@pytest.mark.skipif(hardware.accelerator() is not None, reason="this machine has an accelerator")
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
def test_an_absent_device_is_an_error(tiny_folder: Path, device: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(DeviceError, match=f"device '{device}': torch .* here; use 'auto' or 'cpu'"):
        MedEmbed(tiny_folder, device=device)


def hide_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    monkeypatch.setitem(sys.modules, "torch", None)


def test_a_gpu_without_torch_says_so_and_runs_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hide_torch(monkeypatch)
    monkeypatch.setattr(hardware, "accelerator", lambda: "cuda")
    with caplog.at_level(logging.WARNING):
        assert MedEmbed(tiny_folder, threads=1).device == "cpu"
    assert install_command("torch") in caplog.text
    with pytest.raises(MissingExtraError, match=re.escape(install_command("torch"))):
        MedEmbed(tiny_folder, device="cuda")


def test_another_architecture_without_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "m", config={"model_type": "xlm-roberta"})
    hide_torch(monkeypatch)
    with pytest.raises(UnsupportedModelError, match="'xlm-roberta' model; .*" + re.escape(install_command("torch"))):
        MedEmbed(folder)


class TestTorch:
    """The torch engine on the CPU, where its arithmetic can be checked without a GPU."""

    @pytest.fixture(autouse=True)
    def _needs_torch(self) -> None:
        pytest.importorskip("torch")

    @pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
    @pytest.mark.filterwarnings("ignore::medembed.runtime.tokenizer.TruncationWarning")
    def test_padded_and_ragged_agree_with_openvino(self, tmp_path: Path, pooling: str) -> None:
        import torch

        from medembed.runtime.engines import torch_engine
        from medembed.runtime.engines.ragged_bert import row_by_row_attention

        folder = tiny_bert.make(tmp_path / "m", pooling=pooling)
        found = checkpoint.fetch(str(folder))
        expected = MedEmbed(folder, threads=1, precision="fp32").encode(TEXTS)
        padded = torch_engine.TorchEngine(found, ["cpu"], "fp32", 2)
        assert (MedEmbed(folder, engine=padded).encode(TEXTS) * expected).sum(axis=1).min() > 0.99999
        ragged = torch_engine._Ragged(found, "cpu", torch.float32, row_by_row_attention)
        ids = MedEmbed(folder, engine=padded)._encoder().tokenizer(TEXTS).ids
        rows = ragged.pooled(ids, found.spec.pooling, 0, 1).numpy()
        np.testing.assert_allclose(rows, padded.pooled(ids), atol=1e-4)
        for one, other in zip(ragged.states(ids, 0, 1), padded.tokens(ids), strict=True):
            np.testing.assert_allclose(one.numpy(), other, atol=1e-4)

    def test_another_architecture_runs_through_transformers(self, tmp_path: Path) -> None:
        import sentence_transformers
        import transformers

        folder = tiny_bert.make(tmp_path / "m")
        config = transformers.DistilBertConfig(
            vocab_size=30522, dim=64, n_heads=4, n_layers=2, hidden_dim=128, max_position_embeddings=64
        )
        transformers.DistilBertModel(config).save_pretrained(folder)
        embedder = MedEmbed(folder, threads=1)
        assert "engine='torch'" in repr(embedder)
        reference = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
        texts = ["pain", "shortness of breath on exertion"]
        assert (embedder.encode(texts) * reference.encode(texts)).sum(axis=1).min() > 0.99999

    def test_out_of_memory_halves_the_batch_and_goes_on(
        self, tiny_folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        import torch

        from medembed.runtime.engines.torch_engine import TorchEngine

        class Small(TorchEngine):
            """Has memory for two rows at a time."""

            seen: list[int] = []  # noqa: RUF012 - one test

            def _shaped(self, ids: TokenIds) -> TokenIds:
                self.seen.append(len(ids))
                if len(ids) > 2:
                    raise torch.OutOfMemoryError
                return ids

        found = checkpoint.fetch(str(tiny_folder))
        engine = Small(found, ["cpu"], "fp32", 1)
        ids = [[101, 2000 + i, 102] for i in range(9)]
        with caplog.at_level(logging.WARNING):
            rows = engine.pooled(ids)
        np.testing.assert_allclose(rows, TorchEngine(found, ["cpu"], "fp32", 1).pooled(ids), atol=1e-5)
        assert "going on with batches of" in caplog.text
        assert engine.max_batch_tokens < 4096

    def test_out_of_memory_for_one_text_is_an_error(self, tiny_folder: Path) -> None:
        import torch

        from medembed.runtime.engines.torch_engine import TorchEngine

        class NoMemory(TorchEngine):
            def _shaped(self, ids: TokenIds) -> TokenIds:
                raise torch.OutOfMemoryError

        with pytest.raises(EngineError, match="out of memory on cpu for a single text of 3 tokens"):
            NoMemory(checkpoint.fetch(str(tiny_folder)), ["cpu"], "fp32", 1).pooled([[101, 5, 102]])

    def test_users_torch_threads_are_left_alone(self, tiny_folder: Path) -> None:
        import torch

        from medembed.runtime.engines.torch_engine import TorchEngine

        before = torch.get_num_threads()
        TorchEngine(checkpoint.fetch(str(tiny_folder)), ["cpu"], "fp32", 2).pooled([[101, 5, 102]], alone=True)
        assert torch.get_num_threads() == before

    def test_code_in_a_repository_is_never_run(self, tmp_path: Path) -> None:
        folder = tiny_bert.make(
            tmp_path / "m", config={"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
        )
        (folder / "evil.py").write_text("raise SystemExit('ran')")
        with pytest.raises(UnsupportedModelError, match="never runs such code"):
            MedEmbed(folder)

    def test_half_precision_on_the_cpu_is_refused(self, tiny_folder: Path) -> None:
        from medembed.runtime.engines.torch_engine import TorchEngine

        with pytest.raises(PrecisionError, match="does not run 'bf16' on cpu"):
            TorchEngine(checkpoint.fetch(str(tiny_folder)), ["cpu"], "bf16", 1)

    def test_weights_that_do_not_fit(self, tmp_path: Path) -> None:
        from medembed.runtime.engines.torch_engine import TorchEngine

        folder = tiny_bert.make(tmp_path / "m")
        (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"intermediate_size": 128', '"intermediate_size": 256')
        )
        with pytest.raises(BadWeightsError, match="do not belong together"):
            TorchEngine(checkpoint.fetch(str(folder)), ["cpu"], "fp32", 1)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_gpu_vectors_agree_with_the_cpu(precision: str) -> None:
    kind = hardware.accelerator()
    assert kind is not None
    expected = MedEmbed(precision="fp32", device="cpu").encode(TEXTS)
    with MedEmbed(device=kind, precision=precision) as embedder:  # type: ignore[arg-type]
        cosines = (embedder.encode(TEXTS * 50) * np.tile(expected, (50, 1))).sum(axis=1)
    assert cosines.mean() > 0.9999
    assert cosines.min() > 0.9995


@pytest.mark.gpu
def test_several_gpus_share_the_work() -> None:
    torch = pytest.importorskip("torch")
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    expected = MedEmbed(precision="fp32", device="cpu").encode(TEXTS)
    with MedEmbed(device=devices) as embedder:
        assert (embedder.encode(TEXTS * 50) * np.tile(expected, (50, 1))).sum(axis=1).min() > 0.9995
