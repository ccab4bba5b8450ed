"""A dense model that brings late interaction along: put beside its encoder, read over it, refused over any other."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from medembed import MedColBERT, MedEmbed
from medembed.checkpoints import checkpoint
from medembed.cli import app
from medembed.errors import BadWeightsError, SettingError, UnsupportedModelError
from medembed.evaluation.models import Setup, model_ref
from medembed.recipes import bundle
from tests import tiny_bert
from tests.colbert import folders

TEXTS = ["gout of the big toe, at night", "a stone"]
PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A late-interaction model over the encoder of every tiny BERT."""
    folder = tmp_path_factory.mktemp("head") / "late"
    return folders.sentence_transformers(folder, mask={"skiplist_words": [","]}, transformer={"document_length": 20})


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, late: Path) -> Path:
    folder = tiny_bert.make(tmp_path_factory.mktemp("head") / "both")
    bundle.bundle_head(late, folder)
    return folder


def vectors(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    with MedColBERT(folder, precision="fp32", threads=1) as model:
        return model.encode_query(TEXTS), model.encode_document(TEXTS)


def test_it_gives_what_the_late_interaction_model_gives(late: Path, both: Path) -> None:
    for found, expected in zip(vectors(both), vectors(late), strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-3)  # the projection is kept as float16


def test_the_dense_model_stays_what_it_is(both: Path, tmp_path: Path) -> None:
    plain = tiny_bert.make(tmp_path / "plain")
    with MedEmbed(both, threads=1) as dense, MedEmbed(plain, threads=1) as alone, MedColBERT(both, threads=1) as tokens:
        assert dense.revision == alone.revision
        assert tokens.revision != dense.revision
        assert (tokens.dimension, tokens.document_length) == (32, 20)
        np.testing.assert_array_equal(dense.encode(TEXTS), alone.encode(TEXTS))


def test_the_limit_of_a_tokenizer_goes_with_the_head(late: Path, tmp_path: Path) -> None:
    """sentence-transformers 6 saves it nowhere else."""
    limited, target = tmp_path / "limited", tiny_bert.make(tmp_path / "target")
    shutil.copytree(late, limited)
    (limited / "sentence_bert_config.json").write_text(json.dumps({"module_output_name": "token_embeddings"}))
    (limited / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 24}))
    bundle.bundle_head(limited, target)
    assert checkpoint.fetch(str(target), late_interaction=True).spec.max_seq_length == 24


def test_no_weight_is_there_twice(both: Path) -> None:
    head = sum(path.stat().st_size for path in (both / checkpoint.HEAD).rglob("*") if path.is_file())
    assert head < 8_000


def test_the_revision_changes_with_the_projection(late: Path, both: Path, tmp_path: Path) -> None:
    shutil.copytree(both, tmp_path / "other")
    path = tmp_path / "other" / checkpoint.HEAD / "1_Dense" / "model.safetensors"
    save_file({name: array * 2 for name, array in load_file(path).items()}, path)
    revisions = [checkpoint.fetch(str(folder), late_interaction=True).revision for folder in (both, tmp_path / "other")]
    assert revisions[0] != revisions[1]


def test_exported_it_is_a_model_that_sentence_transformers_loads(both: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["models", "export", str(both), str(tmp_path / "out"), "--late-interaction"])
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "out" / checkpoint.HEAD).exists()
    theirs = pytest.importorskip("sentence_transformers").MultiVectorEncoder(
        str(tmp_path / "out"), device="cpu", local_files_only=True
    )
    expected = theirs.encode_document(TEXTS, convert_to_numpy=True)
    for one, other in zip(vectors(both)[1], expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_another_encoder_is_refused_when_bundling(late: Path, tmp_path: Path) -> None:
    other = changed(tiny_bert.make(tmp_path / "other"))
    with pytest.raises(SettingError, match=r"is not that of .*: train the late-interaction model with base\.model="):
        bundle.bundle_head(late, other)
    assert not (other / checkpoint.HEAD).exists()


def test_an_encoder_that_changed_since_is_refused_when_loading(both: Path, tmp_path: Path) -> None:
    shutil.copytree(both, tmp_path / "later")
    changed(tmp_path / "later")
    with pytest.raises(BadWeightsError, match=r"was made for another encoder than .* holds \(sha256-\w+\): train it"):
        MedColBERT(tmp_path / "later", threads=1)
    MedEmbed(tmp_path / "later", threads=1).close()


def test_a_dense_model_without_one_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="mini/colbert for its projection alone"):
        MedColBERT(tiny_bert.make(tmp_path / "plain"))


def test_the_command_tells_a_head_from_a_model(late: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tiny_bert.make(tmp_path / "target")
    monkeypatch.setattr(sys, "argv", ["bundle", str(late), str(target)])
    bundle.main()
    assert (target / checkpoint.HEAD / checkpoint.MADE_FOR).is_file()
    assert (target / "model.safetensors").is_file()


def test_evaluation_names_it_beside_the_dense_model(both: Path) -> None:
    setup = Setup(threads=1)
    dense, tokens = (model_ref(f"{lead}{both}", setup) for lead in ("", "colbert:"))
    assert (dense.kind, tokens.kind) == ("medembed", "late-interaction")
    assert tokens.name == f"{dense.name}-colbert"
    assert tokens.revision != dense.revision


def changed(folder: Path) -> Path:
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.bias"][0] += 1
    save_file(weights, folder / "model.safetensors")
    return folder
