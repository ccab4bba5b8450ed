"""Model folders read as sentence-transformers itself reads them: every setting, every layout, every architecture."""

import inspect
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import MedEmbed
from medembed.checkpoints import checkpoint, keys, tokenizer_settings
from medembed.errors import UnsupportedModelError
from tests import sentence_folders, tiny_bert
from tests.sentence_folders import changed, edit, layout

st = pytest.importorskip("sentence_transformers")
transformers = pytest.importorskip("transformers")

LONG = "Angina pectoris with ST depression; " * 30
TEXTS = ["Chest pain", "The Patient's HbA1c was 7.5% — Ménière?", "[MASK] of the [SEP] nerve", "患者さん", "", LONG]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Both libraries warn of what these folders do on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def assert_alike(folder: Path, atol: float = 2e-4) -> None:
    """Compare queries, documents and plain texts, one text at a time: only padding could change them."""
    reference = st.SentenceTransformer(str(folder), device="cpu")
    with MedEmbed(folder, threads=1, precision="fp32") as ours:
        for name in ("encode", "encode_query", "encode_document"):
            for text in TEXTS:
                expected = getattr(reference, name)(text)
                if ours.spec.normalized:
                    expected = expected / max(float(np.linalg.norm(expected)), 1e-12)
                np.testing.assert_allclose(
                    getattr(ours, name)(text), expected, atol=atol, rtol=1e-3, err_msg=f"{name} {text[:12]!r}"
                )


TOKENIZER, SENTENCE, POOLING, PROMPTS = (
    "tokenizer_config.json", "sentence_bert_config.json", "1_Pooling/config.json", "config_sentence_transformers.json",
)  # fmt: skip
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": (TOKENIZER, {}),
    "include_prompt false": (POOLING, {"include_prompt": False}),
    **{f"pooling {mode}": (POOLING, {"pooling_mode": mode}) for mode in keys.POOLING_FLAGS.values()},
    "pooling of three": (POOLING, {"pooling_mode": ["cls", "max", "mean"]}),
    **{
        f"pooling {mode} without the prompt": (POOLING, {"pooling_mode": mode, "include_prompt": False})
        for mode in ("cls", "max", "weightedmean", "lasttoken", "mean_sqrt_len_tokens")
    },
    "older pooling flags": (POOLING, {"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True, "pooling_mode_cls_token": True}),
    "do_lower_case false": (TOKENIZER, {"do_lower_case": False}),
    "strip_accents false": (TOKENIZER, {"strip_accents": False}),
    "strip_accents true, cased": (TOKENIZER, {"strip_accents": True, "do_lower_case": False}),
    "tokenize_chinese_chars false": (TOKENIZER, {"tokenize_chinese_chars": False}),
    "truncation_side left": (TOKENIZER, {"truncation_side": "left"}),
    "padding_side left": (TOKENIZER, {"padding_side": "left"}),
    "split_special_tokens": (TOKENIZER, {"split_special_tokens": True}),
    "tokenizer as it is": (TOKENIZER, {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}),
    "model_input_names": (TOKENIZER, {"model_input_names": ["input_ids", "attention_mask"]}),
    "sentence do_lower_case": (SENTENCE, {"do_lower_case": True}),
    "max_seq_length": (SENTENCE, {"max_seq_length": 8}),
    "processor_kwargs": (SENTENCE, {"processor_kwargs": {"do_lower_case": False, "truncation_side": "left"}}),
    "processor_kwargs model_max_length": (SENTENCE, {"processor_kwargs": {"model_max_length": 9}}),
    "tokenizer_args": (SENTENCE, {"tokenizer_args": {"model_max_length": 12}}),
    "model_args": (SENTENCE, {"model_args": {"attn_implementation": "eager", "trust_remote_code": True}}),
    "config_args": (SENTENCE, {"config_args": {"use_cache": False}}),
    "transformer_task": (SENTENCE, {"transformer_task": "feature-extraction"}),
    "default prompt": (PROMPTS, {"prompts": {"x": "x: "}, "default_prompt_name": "x"}),
    "default prompt query": (PROMPTS, {"default_prompt_name": "query"}),
    "null prompts": (PROMPTS, {"prompts": {"query": None, "document": None}}),
    "null prompt beside another": (PROMPTS, {"prompts": {"query": "q: ", "document": None}}),
    "only a query prompt": (PROMPTS, {"prompts": {"query": "q: "}}),
    "truncate_dim": (PROMPTS, {"truncate_dim": 24}),
    "similarity dot": (PROMPTS, {"similarity_fn_name": "dot"}),
}  # fmt: skip


# two or three seconds each: these stand for their kinds by default, the others are slow
QUICK = (
    "include_prompt false", "pooling of three", "pooling weightedmean without the prompt", "do_lower_case false", "truncation_side left",
    "processor_kwargs", "default prompt", "null prompt beside another", "two dense", "dense with projected residual",
)  # fmt: skip


def rows(table: dict[str, tuple[Any, Any]]) -> list[Any]:
    """A table's rows, named; all but the quick ones marked slow."""
    return [
        pytest.param(*row, id=name, marks=[] if name in QUICK else [pytest.mark.slow]) for name, row in table.items()
    ]


@pytest.mark.parametrize(("name", "changes"), rows(SETTINGS))
def test_each_setting_gives_the_vectors_of_sentence_transformers(
    tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    without = "pooling_mode_mean_tokens" if name == POOLING and "pooling_mode" in changes else ""
    assert_alike(changed(tmp_path / "m", name, without=without, **changes))


@pytest.mark.slow
@pytest.mark.parametrize("name", keys.SENTENCE_CONFIGS)
def test_each_name_of_the_sentence_settings_is_read(tmp_path: Path, name: str) -> None:
    folder = tiny_bert.make(tmp_path / "m")
    (folder / SENTENCE).unlink()
    edit(folder / name, max_seq_length=7)
    edit(folder / "sentence_xlnet_config.json", max_seq_length=7)  # the last in turn: found where the others are not
    assert_alike(folder)
    assert checkpoint.fetch(str(folder)).spec.max_seq_length == 7


def test_empty_sentence_settings_leave_the_turn_to_the_next_name(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "m")
    (folder / SENTENCE).write_text("{}")
    edit(folder / "sentence_roberta_config.json", max_seq_length=7)
    assert_alike(folder)


def test_a_bare_transformer_is_read_without_settings_of_sentence_transformers(tmp_path: Path) -> None:
    folder = changed(tmp_path / "m", SENTENCE, max_seq_length=7)
    (folder / "modules.json").unlink()
    (folder / PROMPTS).unlink()
    assert_alike(folder)


def modules() -> Any:
    """Module classes, imported when a test runs."""
    from sentence_transformers.sentence_transformer import modules as found

    return found


def dense(width: int, out: int, activation: str = "Tanh", **settings: Any) -> Any:
    import torch

    return modules().Dense(width, out, activation_function=getattr(torch.nn, activation)(), **settings)


def pooled_dense(activation: str, width: int) -> list[Any]:
    return [modules().Pooling(width), dense(width, 48, activation)]


LAYOUTS: dict[str, tuple[Callable[[int], list[Any]], dict[str, Any]]] = {
    "pooling alone": (lambda w: [modules().Pooling(w)], {"similarity_fn_name": "dot"}),
    "normalized": (lambda w: [modules().Pooling(w), modules().Normalize()], {}),
    "dense": (lambda w: [modules().Pooling(w), dense(w, 48)], {}),
    "dense, not normalized": (lambda w: [modules().Pooling(w), dense(w, 48)], {"similarity_fn_name": "dot"}),
    "dense, normalized": (lambda w: [modules().Pooling(w), dense(w, 48), modules().Normalize()], {}),
    "normalized, then dense": (lambda w: [modules().Pooling(w), modules().Normalize(), dense(w, 48)], {"similarity_fn_name": "dot"}),
    "two dense": (lambda w: [modules().Pooling(w), dense(w, 96), dense(96, 16)], {}),
    "dense without bias": (lambda w: [modules().Pooling(w), dense(w, 48, bias=False)], {}),
    "dense with residual": (lambda w: [modules().Pooling(w), dense(w, w, use_residual=True)], {}),
    "dense with projected residual": (lambda w: [modules().Pooling(w), dense(w, 48, use_residual=True)], {}),
    "dense on tokens": (
        lambda w: [dense(w, 48, "Identity", module_input_name="token_embeddings"), modules().Pooling(48, "max")],
        {},
    ),
    **{
        f"dense {name}": (partial(pooled_dense, name), {"similarity_fn_name": "dot"})
        for name in ("Identity", "ReLU", "GELU", "Sigmoid", "SiLU", "LeakyReLU", "ELU", "Softplus", "Hardtanh")
    },
    "layer norm": (lambda w: [modules().Pooling(w), modules().LayerNorm(w)], {"similarity_fn_name": "dot"}),
    "dropout": (lambda w: [modules().Pooling(w), modules().Dropout(0.9)], {}),
    "three modes, dense, norm, cut": (
        lambda w: [modules().Pooling(w, ["cls", "mean", "weightedmean"]), dense(3 * w, 48), modules().LayerNorm(48), modules().Normalize()],
        {"truncate_dim": 20, "prompts": {"query": "Represent: "}},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "settings"), rows(LAYOUTS))
def test_each_layout_gives_the_vectors_of_sentence_transformers(
    tmp_path: Path, make: Callable[[int], list[Any]], settings: dict[str, Any]
) -> None:
    assert_alike(layout(tmp_path / "m", make, **settings))


def test_a_transformer_in_a_folder_of_its_own_is_found(tmp_path: Path) -> None:
    folder = tiny_bert.make(tmp_path / "m")
    own = folder / "0_Transformer"
    own.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", TOKENIZER, SENTENCE):
        (folder / name).rename(own / name)
    listed = json.loads((folder / "modules.json").read_text())
    listed[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(listed))
    assert_alike(folder)
    checkpoint.export(checkpoint.fetch(str(folder)), tmp_path / "out")
    assert_alike(tmp_path / "out")


def test_an_export_keeps_modules_and_settings(tmp_path: Path) -> None:
    make, settings = LAYOUTS["three modes, dense, norm, cut"]
    folder = layout(tmp_path / "m", make, **settings)
    checkpoint.export(checkpoint.fetch(str(folder)), tmp_path / "out")
    text = "Chest pain"
    expected = st.SentenceTransformer(str(folder), device="cpu").encode_query(text)
    np.testing.assert_allclose(
        st.SentenceTransformer(str(tmp_path / "out"), device="cpu").encode_query(text), expected, atol=1e-5
    )


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "transformer_task": (SENTENCE, {"transformer_task": "fill-mask"}, "transformer_task"),
    "modality_config": (SENTENCE, {"modality_config": {"message": {}}, "module_output_name": "token_embeddings"}, "modality_config"),
    "module_output_name": (SENTENCE, {"module_output_name": "sentence_embedding"}, "module_output_name"),
    "processing_kwargs": (SENTENCE, {"processing_kwargs": {"text": {"max_length": 3}}}, "processing_kwargs"),
    "query_length": (SENTENCE, {"query_length": 4}, "query_length"),
    "query_expansion": (SENTENCE, {"query_expansion": {"strategy": "fixed"}}, "query_expansion"),
    "tokenizer_name_or_path": (SENTENCE, {"tokenizer_name_or_path": "elsewhere"}, "tokenizer_name_or_path"),
    "an unknown setting": (SENTENCE, {"surprise": 1}, "surprise"),
    "model_args": (SENTENCE, {"model_args": {"adapter": "x"}}, "adapter"),
    "config_args": (SENTENCE, {"config_args": {"num_hidden_layers": 1}}, "num_hidden_layers"),
    "init_inputs": (TOKENIZER, {"init_inputs": ["x"]}, "init_inputs"),
    "another class": (TOKENIZER, {"tokenizer_class": "BertJapaneseTokenizer"}, "BertJapaneseTokenizer"),
    "another unk_token": (TOKENIZER, {"unk_token": "[MASK]"}, "unk_token"),
    "a token without embedding": (TOKENIZER, {"additional_special_tokens": ["<new>"]}, "lacks the token '<new>'"),
    "pooling surprise": (POOLING, {"surprise": True}, "surprise"),
    "sparse model": (PROMPTS, {"model_type": "SparseEncoder"}, "SparseEncoder"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_applied_is_refused_by_name(tmp_path: Path, name: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UnsupportedModelError, match=says):
        MedEmbed(changed(tmp_path / "m", name, **changes), threads=1)


def test_every_key_that_sentence_transformers_saves_stands_in_the_table() -> None:
    from sentence_transformers.base.modules import Transformer

    found = modules()
    for kind in ("Pooling", "Dense", "LayerNorm", "Dropout", "Normalize"):
        saved = set(getattr(found, kind).config_keys)
        assert saved <= keys.KEYS[kind].keys(), kind
    parameters = set(inspect.signature(inspect.unwrap(Transformer.__init__)).parameters)
    not_saved = {"self", "model_name_or_path", "backend"}
    assert parameters - not_saved <= keys.KEYS[keys.SENTENCE_BERT].keys()
    assert set(Transformer.config_keys) <= keys.KEYS[keys.SENTENCE_BERT].keys()


def test_every_name_of_sentence_settings_is_tried() -> None:
    from sentence_transformers.base.modules import Transformer

    source = inspect.getsource(Transformer.load_config)
    assert [name for name in keys.SENTENCE_CONFIGS if f'"{name}"' not in source] == []
    assert source.count("_config.json") == len(keys.SENTENCE_CONFIGS)


def test_every_argument_of_berts_tokenizer_stands_in_the_table() -> None:
    parameters = set(inspect.signature(transformers.BertTokenizer.__init__).parameters) - {"self", "vocab", "kwargs"}
    assert parameters <= keys.KEYS[keys.TOKENIZER].keys()


def test_the_types_with_berts_tokenizer_are_those_of_transformers() -> None:
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    theirs = {kind for kind, name in TOKENIZER_MAPPING_NAMES.items() if name == "BertTokenizer"}
    assert theirs == tokenizer_settings.BERT_TYPES


# every text encoder of transformers that runs without code from outside; mpnet, nomic_bert and roberta stand for them by default
ARCHITECTURES = (
    "albert", "bart", "bert", "bert-generation", "big_bird", "blenderbot", "bloom", "camembert", "convbert", "data2vec-text", "deberta",
    "deberta-v2", "distilbert", "electra", "ernie", "esm", "eurobert", "flaubert", "fnet", "gemma3_text", "gpt2", "gpt_neox", "gte",
    "ibert", "jina_embeddings_v3", "layoutlm", "lilt", "llama", "longformer", "longt5", "luke", "m2m_100", "marian", "megatron-bert",
    "mistral", "mobilebert", "modernbert", "modernbert-decoder", "mpnet", "mra", "mt5", "nomic_bert", "nystromformer", "opt", "pegasus",
    "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "splinter", "squeezebert", "switch_transformers", "t5", "umt5",
    "xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod", "yoso",
)  # fmt: skip


@pytest.mark.parametrize(
    "model_type",
    [
        pytest.param(name, marks=[] if name in ("mpnet", "nomic_bert", "roberta") else [pytest.mark.slow])
        for name in ARCHITECTURES
    ],
)
def test_each_architecture_gives_the_vectors_of_sentence_transformers(tmp_path: Path, model_type: str) -> None:
    assert_alike(sentence_folders.encoder(tmp_path / "m", model_type))


def test_the_page_shows_the_tables() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "model-folders.md").read_text(encoding="utf-8")
    rows = [f"| `{key}` | {entry.use} | {entry.why} |" for table in keys.KEYS.values() for key, entry in table.items()]
    assert [row for row in rows if row not in page] == []
    assert page.count("\n| `") == len(rows)
