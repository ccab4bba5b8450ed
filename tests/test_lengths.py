"""How far a model reads: the same in every file that somebody looks for it in."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medembed import MedEmbed
from medembed.checkpoints import checkpoint, lengths
from tests import tiny_bert


def read_by_fastembed(folder: Path) -> int:
    """As fastembed's ``load_tokenizer`` finds the length at which it cuts."""
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return min(settings[key] for key in ("model_max_length", "max_length") if key in settings)


def test_all_files_of_the_bundled_model_agree() -> None:
    found = lengths.declared(checkpoint.BUNDLED_FOLDER)
    assert len(found) == 4
    assert set(found.values()) == {checkpoint.fetch("mini").spec.max_seq_length}
    assert read_by_fastembed(checkpoint.BUNDLED_FOLDER) == 384


def test_a_declared_length_stands_in_every_file(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "m")
    before = MedEmbed(folder, threads=1).encode("pain")
    lengths.declare(folder, 17)
    assert set(lengths.declared(folder).values()) == {17}
    assert read_by_fastembed(folder) == 17
    with MedEmbed(folder, threads=1) as model:
        assert model.max_seq_length == 17
        np.testing.assert_array_equal(model.encode("pain"), before)


def test_a_length_is_declared_where_no_file_named_one(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "m")
    for name in ("sentence_bert_config.json", "tokenizer_config.json"):
        (folder / name).unlink()
    lengths.declare(folder, 21)
    assert set(lengths.declared(folder).values()) == {21}


@pytest.mark.slow
def test_the_cards_lines_give_our_vectors_in_fastembed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastembed")
    from medembed.recipes import cards, onnx_export

    folder = tmp_path / "model"
    checkpoint.export(checkpoint.fetch("mini"), folder)
    onnx_export.export(folder)
    recipe: Any = SimpleNamespace(publish=SimpleNamespace(name="mini-of-the-card"))
    lines = cards._onnx_section(recipe, folder).partition("```python\n")[2].partition("```")[0]
    place: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(lines.replace("path/to/this/folder", str(folder)), place)
    texts = ["Chest pain.", "Angina pectoris with ST depression. " * 40]
    theirs = np.stack(list(place["model"].embed(texts)))
    with MedEmbed(folder, threads=1, precision="fp32") as ours:
        assert ((theirs * ours.encode(texts)).sum(axis=1) > 0.9999).all()
