"""Every command that an error about a model folder prints, run as it is printed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from medembed import MedEmbed
from medembed.checkpoints import hub, remedies
from medembed.checkpoints.checkpoint import BUNDLED_FOLDER
from medembed.errors import CheckpointError, MissingFileError, UnsafeWeightsError
from tests import tiny_bert
from tests.sentence_folders import edit

torch = pytest.importorskip("torch")
# each command starts a Python of its own that imports torch
slow = pytest.mark.slow


def printed(folder: Path, error: type[CheckpointError]) -> str:
    """The command at the end of the error that loading a folder gives."""
    with pytest.raises(error) as caught:
        MedEmbed(folder, threads=1)
    found = re.search(r": (python -c .*)$", str(caught.value))
    assert found
    return found[1]


def run(command: str) -> None:
    place = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    subprocess.run(["/bin/sh", "-c", command], check=True, env=environment, timeout=300)


def pickled(folder: Path) -> None:
    """Weights as torch wrote them before safetensors, two of them sharing memory as tied ones do."""
    state = {name: torch.from_numpy(array) for name, array in load_file(folder / "model.safetensors").items()}
    state["tied"] = state["embeddings.LayerNorm.bias"]
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("name", [pytest.param("model", marks=slow), "it's a model"])
def test_converted_pickles_keep_pooling_and_prompts(tmp_path: Path, name: str) -> None:
    folder = tiny_bert.make(tmp_path / name, pooling="cls_token", prompts={"query": "query: ", "document": ""})
    edit(folder / "1_Pooling" / "config.json", include_prompt=False)
    before = MedEmbed(folder, threads=1).encode_query("chest pain")
    pickled(folder)
    run(printed(folder, UnsafeWeightsError))
    np.testing.assert_array_equal(MedEmbed(folder, threads=1).encode_query("chest pain"), before)


@slow
def test_pickled_shards_are_converted_together(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "m")
    before = MedEmbed(folder, threads=1).encode("chest pain")
    state = {name: torch.from_numpy(array) for name, array in load_file(folder / "model.safetensors").items()}
    names = sorted(state)
    for number, part in enumerate((names[:9], names[9:]), 1):
        torch.save({name: state[name] for name in part}, folder / f"pytorch_model-0000{number}-of-00002.bin")
    edit(folder / "pytorch_model.bin.index.json", weight_map={})
    (folder / "model.safetensors").unlink()
    run(printed(folder, UnsafeWeightsError))
    np.testing.assert_array_equal(MedEmbed(folder, threads=1).encode("chest pain"), before)


@slow
def test_the_command_refuses_a_pickle_that_runs_code(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "ran").encode())
    command = printed(folder, UnsafeWeightsError)
    with pytest.raises(subprocess.CalledProcessError):
        run(command)
    assert not (tmp_path / "ran").exists()


@slow
def test_a_written_tokenizer_changes_nothing_else(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "m")
    expected = MedEmbed(folder, threads=1).encode("Chest pain, Ménière")
    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_file(str(BUNDLED_FOLDER / "tokenizer.json")).get_vocab()
    (folder / "vocab.txt").write_text(
        "\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n", encoding="utf-8"
    )
    (folder / "tokenizer.json").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run(printed(folder, MissingFileError))
    (folder / "tokenizer.json").rename(tmp_path / "written.json")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    shutil.copyfile(tmp_path / "written.json", folder / "tokenizer.json")
    np.testing.assert_array_equal(MedEmbed(folder, threads=1).encode("Chest pain, Ménière"), expected)


@slow
def test_a_hub_models_pickles_are_brought_and_converted(tmp_path: Path) -> None:
    """The download is the hub client's; here its folder is put where the command says."""
    with pytest.raises(UnsafeWeightsError) as caught:
        hub._refuse_pickles("clinic/tiny", ["config.json", "pytorch_model.bin"])
    assert str(caught.value).endswith(remedies.download_pickles("clinic/tiny"))
    download, _, convert = remedies.download_pickles("clinic/tiny").partition(" && ")
    assert download == "hf download clinic/tiny --local-dir tiny"
    folder = tiny_bert.make(tmp_path / "tiny")
    before = MedEmbed(folder, threads=1).encode("chest pain")
    pickled(folder)
    run(f"cd {tmp_path} && {convert}")
    np.testing.assert_array_equal(MedEmbed(folder, threads=1).encode("chest pain"), before)
