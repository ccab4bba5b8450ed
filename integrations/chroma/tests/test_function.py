"""Settings, prompts, types, configurations and bad input of MedEmbedEmbeddingFunction, without a database."""

import copy
import inspect
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromadb.api.types import Embeddings

import chroma_medembed
from chroma_medembed import MedEmbedEmbeddingFunction
from medembed import MedEmbed, errors

TEXT = "acute myocardial infarction"
WRONG_ITEMS = [None, 7, b"bytes", ["nested"]]
Way = Callable[[MedEmbedEmbeddingFunction, Any], Embeddings]
WAYS: dict[str, Way] = {
    "documents": lambda function, texts: function(texts),
    "queries": lambda function, texts: function.embed_query(texts),
}


@pytest.fixture(params=WAYS)
def embed(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


def test_public_names() -> None:
    assert sorted(chroma_medembed.__all__) == ["MedEmbedEmbeddingFunction", "__version__"]


def test_every_option_of_the_model_is_an_argument_with_its_default() -> None:
    """An engine of one's own is none: a collection that is opened again could not have it."""
    options = inspect.signature(MedEmbed).parameters
    arguments = inspect.signature(MedEmbedEmbeddingFunction).parameters
    assert set(options) - set(arguments) == {"engine"}
    assert {name: each.default for name, each in arguments.items()} == {
        name: options[name].default for name in arguments
    }


def test_vectors_are_rows_of_the_model(embed: Way, function: MedEmbedEmbeddingFunction) -> None:
    rows = embed(function, [TEXT, "itchy skin"])
    assert {(row.shape, str(row.dtype)) for row in rows} == {((384,), "float32")}
    np.testing.assert_allclose(rows, function.client.encode([TEXT, "itchy skin"]), atol=2e-3)


def test_prompts_are_applied_by_themselves(prompted: Path) -> None:
    function, plain = MedEmbedEmbeddingFunction(prompted, threads=1), MedEmbed(threads=1)
    query, passage = plain.encode(TEXT, prompt="query: "), plain.encode(TEXT, prompt="passage: ")
    assert not np.allclose(query, passage, atol=1e-2)
    np.testing.assert_allclose(function.embed_query([TEXT])[0], query, atol=2e-3)
    np.testing.assert_allclose(function([TEXT])[0], passage, atol=2e-3)


@pytest.mark.parametrize(
    "settings",
    [{}, {"truncate_dim": 100}, {"max_seq_length": 32, "overlong": "chunk"}, {"precision": "fp32"}],
    ids=["default", "shorter", "chunks", "fp32"],
)
def test_a_function_made_from_its_configuration_embeds_alike(settings: dict[str, Any]) -> None:
    function = MedEmbedEmbeddingFunction(threads=1, **settings)
    config = json.loads(json.dumps(function.get_config()))
    function.validate_config(config)
    again = MedEmbedEmbeddingFunction.build_from_config(config)
    np.testing.assert_allclose(again([TEXT * 20]), function([TEXT * 20]), atol=1e-3)
    assert again.client.fingerprint == function.client.fingerprint
    assert again.get_config() == config


def test_device_and_threads_are_not_kept() -> None:
    assert not {"device", "threads"} & set(MedEmbedEmbeddingFunction(device="cpu", threads=1).get_config())


def test_a_folder_is_found_again_from_elsewhere(prompted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prompted.parent)
    config = MedEmbedEmbeddingFunction(prompted.name, threads=1).get_config()
    monkeypatch.chdir("/")
    assert MedEmbedEmbeddingFunction.build_from_config(config).client.folder == prompted


def test_files_that_were_exchanged_are_refused(prompted: Path) -> None:
    config = MedEmbedEmbeddingFunction(prompted, threads=1).get_config()
    (prompted / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "ask: "}}))
    again = MedEmbedEmbeddingFunction.build_from_config(config)
    with pytest.raises(errors.ModelChangedError, match=config["revision"]):
        again([TEXT])


@pytest.mark.parametrize(
    "copier", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))], ids=["copy", "pickle"]
)
def test_copies_embed_alike(
    copier: Callable[[MedEmbedEmbeddingFunction], MedEmbedEmbeddingFunction], function: MedEmbedEmbeddingFunction
) -> None:
    np.testing.assert_allclose(copier(function)([TEXT]), function([TEXT]), atol=1e-3)


UPDATES: dict[str, tuple[dict[str, Any], str | None]] = {
    "elsewhere": ({"model": "/moved", "cache_dir": "/other", "precision": "fp32", "local_files_only": True}, None),
    "files": ({"revision": "sha256-000000000000"}, "revision 'sha256-.*', now 'sha256-000000000000'"),
    "dimension": ({"truncate_dim": 64}, "truncate_dim None, now 64"),
    "length": ({"max_seq_length": 64}, "max_seq_length None, now 64"),
    "overlong": ({"overlong": "truncate"}, "overlong 'chunk', now 'truncate'"),
}


@pytest.mark.parametrize(("update", "refused"), UPDATES.values(), ids=UPDATES)
def test_only_a_model_with_the_same_vectors_takes_the_place_of_another(
    update: dict[str, Any], refused: str | None, function: MedEmbedEmbeddingFunction
) -> None:
    config = function.get_config()
    if refused is None:
        function.validate_config_update(config, config | update)
    else:
        with pytest.raises(errors.StoreModelError, match=refused):
            function.validate_config_update(config, config | update)


# ------------------------------------------------------------------------------------------- bad input


def test_a_configuration_with_other_names_is_refused(function: MedEmbedEmbeddingFunction) -> None:
    config = function.get_config() | {"pooling": "cls"}
    for refuse in (function.validate_config, function.build_from_config):
        with pytest.raises(errors.SettingError, match="'pooling'"):
            refuse(config)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"model": "minni"}, errors.UnknownModelError, "mini"),
        ({"truncate_dim": 9999}, errors.SettingError, "truncate_dim=9999"),
        ({"device": "tpu"}, errors.DeviceError, "tpu"),
    ],
    ids=["model", "truncate_dim", "device"],
)
def test_what_does_not_fit_is_said_at_once(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        MedEmbedEmbeddingFunction(**settings)


@pytest.mark.parametrize("item", WRONG_ITEMS, ids=repr)
def test_a_text_that_is_none_is_named_by_its_index(embed: Way, function: MedEmbedEmbeddingFunction, item: Any) -> None:
    with pytest.raises(errors.InputTypeError, match="text 1 is a"):
        embed(function, ["fine", item])


def test_a_single_text_is_refused(embed: Way, function: MedEmbedEmbeddingFunction) -> None:
    with pytest.raises(errors.InputTypeError, match="wrap a single text in a list"):
        embed(function, TEXT)
