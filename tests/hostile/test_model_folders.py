"""Broken and hostile model folders: one error of ours for each, in seconds and in bounded memory."""

import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from medembed import MedEmbed
from medembed.checkpoints import checkpoint
from medembed.errors import (
    BadWeightsError,
    CheckpointError,
    CorruptFileError,
    InputTypeError,
    MissingFileError,
    UnsupportedModelError,
)
from tests.hostile import model_folders
from tests.sentence_folders import edit

CHANGES = model_folders.changes()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folders.make(tmp_path_factory.mktemp("hostile") / "good")


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "m")
    return tmp_path / "m"


def test_the_good_folder_loads(folder: Path) -> None:
    assert model_folders.attempt(folder) == "right"


# one of each kind by default: none of these needs torch, which imports for seconds
SAMPLE = [
    name
    for name in random.Random(1).sample(sorted(CHANGES), 120)
    if "model_type" not in name and "hidden_act" not in name
]


@pytest.mark.parametrize("name", SAMPLE)
def test_each_change_is_refused_or_does_no_harm(folder: Path, name: str) -> None:
    CHANGES[name](folder, random.Random(0))
    assert loaded(folder) in ("refused", "right")


def loaded(folder: Path) -> str:
    """Load without encoding: what ``model_folders.attempt`` does in seconds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MedEmbed(folder, threads=1).close()
    except CheckpointError:
        return "refused"
    return "right"


def bert_of(**changes: object) -> Callable[[Path], object]:
    return lambda folder: edit(folder / "config.json", **changes)


def tokens(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Change tokenizer.json."""

    def apply(folder: Path) -> None:
        document = json.loads((folder / "tokenizer.json").read_text())
        change(document)
        (folder / "tokenizer.json").write_text(json.dumps(document))

    return apply


def zeros(name: str) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")

    return apply


def alien(folder: Path) -> None:
    listed = json.loads((folder / "modules.json").read_text())
    listed[1]["type"] = "custom_code.Pooling"
    (folder / "modules.json").write_text(json.dumps(listed))


NO_LENGTH = (("sentence_bert_config.json", "max_seq_length", None), ("tokenizer_config.json", "model_max_length", -1))
TABLE: dict[str, tuple[Callable[[Path], object], type[CheckpointError], str]] = {
    "100 million layers": (bert_of(num_hidden_layers=10**8), CorruptFileError, "num_hidden_layers of config.json is 100,000,000"),
    "1,000 layers": (bert_of(num_hidden_layers=1000), BadWeightsError, "lacks weight 'encoder.layer.1."),
    "a billion wide": (bert_of(hidden_size=10**9), CorruptFileError, "hidden_size of .* is 1,000,000,000"),
    "twice as wide": (bert_of(hidden_size=64), BadWeightsError, "embedding_dimension|states of another length|has shape"),
    "a billion words": (bert_of(vocab_size=10**9), CorruptFileError, "vocab_size of .* is 1,000,000,000"),
    "a million words": (bert_of(vocab_size=10**6), BadWeightsError, "word_embeddings.* has shape"),
    "10^30 positions": (bert_of(max_position_embeddings=10**30), CorruptFileError, "max_position_embeddings of config.json is a number"),
    "an epsilon of text": (bert_of(layer_norm_eps="1"), CorruptFileError, "layer_norm_eps is not a number from 0 to 1"),
    "a type of a list": (bert_of(model_type=[]), CorruptFileError, "model_type is not a name"),
    "zeros for modules.json": (zeros("modules.json"), CorruptFileError, "modules.json is not a regular file"),
    "zeros for config.json": (zeros("config.json"), CorruptFileError, "config.json is not a regular file"),
    "zeros for tokenizer.json": (zeros("tokenizer.json"), CorruptFileError, "tokenizer.json is not a regular file"),
    "zeros for weights": (zeros("model.safetensors"), MissingFileError, "has no weights"),
    "a deep tokenizer": (
        lambda p: (p / "tokenizer.json").write_text('{"a":' * 500 + "1" + "}" * 500),
        CorruptFileError,
        "nested more than 64",
    ),
    "an id of 4 billion": (tokens(lambda t: t["model"]["vocab"].update(heart=2**32 - 1)), CorruptFileError, "token ids that are not"),
    "an id beyond the table": (tokens(lambda t: t["model"]["vocab"].update(heart=99)), BadWeightsError, "knows 100 tokens, but config.json only 14"),
    "an added id beyond the table": (
        tokens(lambda t: t["added_tokens"].append({**t["added_tokens"][0], "id": 50, "content": "[NEW]"})),
        CheckpointError,
        "tokenizer|tokens",
    ),
    "a random tokenizer": (tokens(lambda t: t["model"].update(dropout=0.5)), UnsupportedModelError, "at random"),
    "a character of a megabyte": (
        tokens(lambda t: t.update(normalizer={"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 10**6})),
        CorruptFileError,
        "replaces characters",
    ),
    "max_seq_length 0": (lambda p: edit(p / "sentence_bert_config.json", max_seq_length=0), CorruptFileError, "max_seq_length .* from 1"),
    "max_seq_length 2": (lambda p: edit(p / "sentence_bert_config.json", max_seq_length=2), CorruptFileError, "leaves no room"),
    "max_seq_length of text": (lambda p: edit(p / "sentence_bert_config.json", max_seq_length="64"), CorruptFileError, "max_seq_length .* from 1"),
    "model_max_length minus one": (
        lambda p: [edit(p / name, **{key: value}) for name, key, value in NO_LENGTH],
        CorruptFileError,
        "model_max_length .* from 1",
    ),
    "prompts of a list": (lambda p: edit(p / "config_sentence_transformers.json", prompts=["a"]), CorruptFileError, "prompts is not an object"),
    "a prompt of numbers": (lambda p: edit(p / "config_sentence_transformers.json", prompts={"query": 1}), CorruptFileError, "prompts is not"),
    "no such default prompt": (
        lambda p: edit(p / "config_sentence_transformers.json", default_prompt_name="x"),
        CorruptFileError,
        "default_prompt_name",
    ),
    "truncate_dim 0": (lambda p: edit(p / "config_sentence_transformers.json", truncate_dim=0), CorruptFileError, "truncate_dim is 0"),
    "truncate_dim beyond": (lambda p: edit(p / "config_sentence_transformers.json", truncate_dim=33), CorruptFileError, "truncate_dim is 33"),
    "pooling of no modes": (lambda p: edit(p / "1_Pooling/config.json", pooling_mode=[]), CorruptFileError, "pooling_mode"),
    "pooling of a number": (lambda p: edit(p / "1_Pooling/config.json", pooling_mode=3), CorruptFileError, "pooling_mode"),
    "pooling of a mode twice": (lambda p: edit(p / "1_Pooling/config.json", pooling_mode=["max", "max"]), CorruptFileError, "different modes"),
    "pooling of another width": (lambda p: edit(p / "1_Pooling/config.json", word_embedding_dimension=7), BadWeightsError, "another length"),
    "a module of code": (alien, UnsupportedModelError, "it is code, which is never run"),
    "no modules": (lambda p: (p / "modules.json").write_text("[]"), CorruptFileError, "not a list of modules"),
    "modules of an object": (lambda p: (p / "modules.json").write_text("{}"), CorruptFileError, "not a list of modules"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "error", "says"), TABLE.values(), ids=TABLE.keys())
def test_each_broken_folder_has_its_error(
    folder: Path, spoil: Callable[[Path], object], error: type[CheckpointError], says: str
) -> None:
    spoil(folder)
    with pytest.raises(error, match=says):
        MedEmbed(folder, threads=1)


@pytest.mark.parametrize("label", ["num_hidden_layers", "hidden_size", "vocab_size", "intermediate_size"])
def test_a_bomb_for_torch_is_refused_before_it_is_built(folder: Path, label: str) -> None:
    pytest.importorskip("torch")
    edit(
        folder / "config.json",
        model_type="electra",
        embedding_size=32,
        **{label: 65_000 if label == "hidden_size" else 10**9},
    )
    edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    edit(folder / "1_Pooling" / "config.json", word_embedding_dimension=None)
    with pytest.raises(CheckpointError):
        MedEmbed(folder, threads=1)


def test_blank_texts_without_special_tokens_are_refused(folder: Path) -> None:
    tokens(lambda t: t.update(post_processor=None))(folder)
    edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with MedEmbed(folder, threads=1) as model:
        assert np.isfinite(model.encode("pain")).all()
        for blank in ("", " \n"):
            with pytest.raises(InputTypeError, match="text 1 has no tokens"):
                model.encode(["pain", blank])


def test_weights_overwritten_in_place_leave_a_running_model_as_it_was(folder: Path) -> None:
    """The wide and the streamed way are compiled at different times: both must hold the weights that were hashed."""
    texts = ["chest pain", "heart"] * 40
    with MedEmbed(folder, threads=2, precision="fp32") as model:
        alone = model.encode("chest pain")
        other = {name: array[::-1].copy() for name, array in load_file(folder / "model.safetensors").items()}
        save_file(other, folder / "model.safetensors")
        np.testing.assert_allclose(model.encode(texts)[0], alone, atol=1e-5)
        assert checkpoint.fetch(str(folder)).revision != model.revision


def test_large_weights_that_change_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medembed.checkpoints import tensors

    monkeypatch.setattr(tensors, "KEPT_BYTES", 0)
    weights = checkpoint.fetch(str(folder)).files.weights()
    weights.read()
    save_file(
        {name: array * 2 for name, array in load_file(folder / "model.safetensors").items()},
        folder / "model.safetensors",
    )
    with pytest.raises(CorruptFileError, match="have changed since this model was loaded"):
        weights.read()


def test_a_file_that_shrinks_after_loading_is_no_signal(folder: Path) -> None:
    with MedEmbed(folder, threads=2) as model:
        (folder / "model.safetensors").write_bytes(b"")
        assert np.isfinite(model.encode(["chest pain"] * 50)).all()


@pytest.mark.slow
def test_five_hundred_hostile_folders_are_refused_or_right() -> None:
    counts = model_folders.run(500)
    assert counts["faults"] == {}
    assert counts["memory"] <= 2
    assert counts["right"] + counts["refused"] == 500
