"""Model folders: what is read from them, and one clear error for each way they can be wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from medembed import MedEmbed
from medembed.checkpoints import checkpoint, tensors
from medembed.errors import (
    BadWeightsError,
    CheckpointError,
    CorruptFileError,
    MissingFileError,
    SettingError,
    UnknownModelError,
    UnsafeWeightsError,
    UnsupportedModelError,
)
from medembed.runtime.engines.bert_shape import WORDS
from tests import tiny_bert


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bert.make(tmp_path / "model")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_folder_says_what_it_is(tmp_path: Path) -> None:
    made = tiny_bert.make(tmp_path / "m", pooling="cls_token", prompts={"query": "q: ", "passage": "d: "})
    spec = checkpoint.fetch(str(made)).spec
    assert (spec.dimension, spec.max_seq_length, spec.pooling) == (64, 64, "cls")
    assert (spec.prompts["query"], spec.prompts["document"]) == ("q: ", "d: ")


def test_pooling_as_sentence_transformers_6_writes_it(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": 64, "pooling_mode": "cls"}))
    assert checkpoint.fetch(str(folder)).spec.pooling == "cls"


def test_a_bare_transformer_folder_loads_with_mean_pooling(folder: Path) -> None:
    for name in (
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ):
        (folder / name).unlink()
    assert checkpoint.fetch(str(folder)).spec.pooling == "mean"
    assert MedEmbed(folder, threads=1).encode("pain").shape == (64,)


def test_a_dot_product_model_is_not_normalized(tmp_path: Path) -> None:
    made = tiny_bert.make(tmp_path / "m", similarity="dot", normalize=False)
    assert abs(np.linalg.norm(MedEmbed(made, threads=1).encode("pain")) - 1) > 0.1


def test_a_task_heads_prefix_is_understood(tmp_path: Path) -> None:
    plain = MedEmbed(tiny_bert.make(tmp_path / "a"), threads=1).encode("pain")
    led = MedEmbed(tiny_bert.make(tmp_path / "b", lead="bert."), threads=1).encode("pain")
    np.testing.assert_array_equal(plain, led)


def test_shards_read_as_one_file_does(folder: Path, tmp_path: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    before = MedEmbed(folder, threads=1).encode("pain")
    names = sorted(whole)
    parts = {"model-00001-of-00002.safetensors": names[:10], "model-00002-of-00002.safetensors": names[10:]}
    for name, keys in parts.items():
        save_file({key: whole[key] for key in keys}, folder / name)
    index = {key: name for name, keys in parts.items() for key in keys}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "model.safetensors").unlink()
    np.testing.assert_array_equal(MedEmbed(folder, threads=1).encode("pain"), before)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MissingFileError, match="lacks 1 of 2 weight shards"):
        MedEmbed(folder, threads=1)


def test_bfloat16_weights_are_read(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    state = {name: tensor.to(torch.bfloat16) for name, tensor in load_torch(folder / "model.safetensors").items()}
    save_torch(state, folder / "model.safetensors")
    read = tensors.read_tensors(folder)
    for name, tensor in state.items():
        np.testing.assert_array_equal(read[name], tensor.float().numpy())


def test_compact_weights_come_back_close_and_small() -> None:
    rng = np.random.default_rng(0)
    table = {
        "embeddings.word_embeddings.weight": rng.normal(size=(50, 64)).astype(np.float32),
        "encoder.bias": np.ones(3, np.float32),
    }
    stored = tensors.compact(table)
    assert stored["embeddings.word_embeddings.weight"].dtype == np.int8
    restored = tensors._restored("embeddings.word_embeddings.weight", stored)
    assert np.abs(restored - table["embeddings.word_embeddings.weight"]).max() < 0.02


def test_a_compact_table_can_be_read_as_it_is_stored(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "m", lead="bert.")
    stored = tensors.compact(load_file(folder / "model.safetensors"))
    save_file(stored, folder / "model.safetensors")
    read = tensors.Weights(folder).read(as_stored=(WORDS,))
    assert read[f"bert.{WORDS}"].dtype == np.int8
    assert read[f"bert.{WORDS}.scale"].dtype == np.float16
    assert {array.dtype for name, array in read.items() if WORDS not in name} == {np.dtype(np.float32)}
    stored[f"bert.{WORDS}.scale"][3, 0] = np.nan
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(BadWeightsError, match="not finite"):
        MedEmbed(folder, threads=1)


def test_fingerprint_changes_with_the_weights_and_only_with_meaning(folder: Path) -> None:
    before = checkpoint.fingerprint(folder)
    (folder / "README.md").write_text("new words")
    assert checkpoint.fingerprint(folder) == before
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.bias"][0] += 1
    save_file(weights, folder / "model.safetensors")
    assert checkpoint.fingerprint(folder) != before


def test_export_writes_a_folder_that_gives_the_same_vectors(tmp_path: Path) -> None:
    checkpoint.export(checkpoint.fetch("mini"), tmp_path / "out")
    exported = MedEmbed(tmp_path / "out", threads=1, precision="fp32").encode("chest pain")
    np.testing.assert_allclose(exported, MedEmbed(threads=1, precision="fp32").encode("chest pain"), atol=1e-6)
    with pytest.raises(SettingError, match="exists already"):
        checkpoint.export(checkpoint.fetch("mini"), tmp_path / "out")


def nan(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    weights["encoder.layer.1.output.dense.weight"][3, 3] = np.nan
    save_file(weights, path / "model.safetensors")


def drop_weight(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, path / "model.safetensors")


def pickle_only(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def truncate(path: Path) -> None:
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def add_module(path: Path) -> None:
    modules = json.loads((path / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_CNN", "type": "sentence_transformers.models.CNN"})
    (path / "modules.json").write_text(json.dumps(modules))


def escape(path: Path) -> None:
    modules = json.loads((path / "modules.json").read_text())
    modules[1]["path"] = "../../etc"
    (path / "modules.json").write_text(json.dumps(modules))


def without_heads(path: Path) -> None:
    config = {key: value for key, value in tiny_bert.CONFIG.items() if key != "num_attention_heads"}
    (path / "config.json").write_text(json.dumps(config))


def pool_by_median(path: Path) -> None:
    (path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "median"}')


WRONGS: dict[str, tuple[Callable[[Path], object], type[CheckpointError], str]] = {
    "no weights": (lambda p: (p / "model.safetensors").unlink(), MissingFileError, "has no weights: expected model.safetensors"),
    "pickle": (pickle_only, UnsafeWeightsError, "only as a pickle .*safetensors only"),
    "truncated": (truncate, CorruptFileError, "not a whole safetensors file"),
    "empty weights": (lambda p: (p / "model.safetensors").write_bytes(b""), CorruptFileError, "not a whole safetensors file"),
    "nan": (nan, BadWeightsError, r"'encoder.layer.1.output.dense.weight' holds values that are not finite"),
    "missing weight": (drop_weight, BadWeightsError, "lacks weight 'encoder.layer.1.output.dense.weight'"),
    "other shape": (lambda p: edit(p / "config.json", intermediate_size=256), BadWeightsError, r"has shape \(128, 64\), but .* \(256, 64\)"),
    "more layers": (lambda p: edit(p / "config.json", num_hidden_layers=3), BadWeightsError, "lacks weight 'encoder.layer.2"),
    "no config": (lambda p: (p / "config.json").unlink(), MissingFileError, "has no config.json"),
    "config is a list": (lambda p: (p / "config.json").write_text("[]"), CorruptFileError, "holds a JSON list"),
    "config is cut": (lambda p: (p / "config.json").write_text('{"a":'), CorruptFileError, "not valid JSON"),
    "no hidden size": (lambda p: edit(p / "config.json", hidden_size="big"), CorruptFileError, "hidden_size of .* is a string; a whole number"),
    "no tokenizer": (lambda p: (p / "tokenizer.json").unlink(), MissingFileError, "has no tokenizer.json. Write it once with: python -c"),
    "broken tokenizer": (lambda p: (p / "tokenizer.json").write_text("{}"), CorruptFileError, "cannot be read as a tokenizer"),
    "unknown pooling": (pool_by_median, UnsupportedModelError, "pools by"),
    "another module": (add_module, UnsupportedModelError, "has a 'CNN' module"),
    "module outside": (escape, UnsupportedModelError, "outside its own folder"),
    "unknown architecture": (lambda p: edit(p / "config.json", model_type="zebra"), UnsupportedModelError, "'zebra' model"),
    "small vocabulary": (lambda p: edit(p / "config.json", vocab_size=100), BadWeightsError, "30522 tokens, but config.json only 100"),
    "heads do not divide": (lambda p: edit(p / "config.json", num_attention_heads=7), BadWeightsError, "7 heads"),
    "missing number": (without_heads, CorruptFileError, "num_attention_heads"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "error", "says"), WRONGS.values(), ids=WRONGS.keys())
def test_each_wrong_folder_gives_one_clear_error(
    folder: Path, spoil: Callable[[Path], object], error: type[CheckpointError], says: str
) -> None:
    spoil(folder)
    with pytest.raises(error, match=says):
        MedEmbed(folder, threads=1)


def test_unknown_names_bring_the_nearest() -> None:
    with pytest.raises(UnknownModelError, match="no model 'smal': did you mean 'small'"):
        MedEmbed("smal")


def test_a_missing_folder_is_said_to_be_missing() -> None:
    with pytest.raises(MissingFileError, match="there is no folder"):
        MedEmbed("./nowhere")


def test_a_revision_of_a_folder_is_refused(folder: Path) -> None:
    with pytest.raises(SettingError, match="revision='abc' was given"):
        MedEmbed(folder, revision="abc")
