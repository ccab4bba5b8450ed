"""Every key that sentence-transformers reads from a model folder, and what is done with it here. Data and one check; no I/O.

A key is *applied*; or it is *without effect* here, for a reason; or it is *refused* by name unless its value is one that changes
nothing. A key that stands in no table is refused too where sentence-transformers would act on it, which is everywhere but in
``config.json``, ``tokenizer_config.json`` and ``config_sentence_transformers.json``: there, unknown keys are notes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from medembed.errors import UnsupportedModelError


@dataclass(frozen=True)
class Key:
    """The treatment of one key.

    Attributes:
        use: ``"applied"``, ``"without effect"`` or ``"refused"``.
        why: The reason, or what it sets.
        harmless: For refused keys: values that change nothing and are let pass.
    """

    use: Literal["applied", "without effect", "refused"]
    why: str
    harmless: tuple[object, ...] = ()


def _applied(why: str) -> Key:
    return Key("applied", why)


def _inert(why: str) -> Key:
    return Key("without effect", why)


def _refused(why: str, *harmless: object) -> Key:
    return Key("refused", why, (None, *harmless))


POOLING_FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens": "weightedmean",
        "pooling_mode_lasttoken": "lasttoken",
    }
)
# what sentence-transformers tries in turn beside a Transformer module
SENTENCE_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
TEXT_ONLY = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
_NO_OUTPUT_KEYS = "written to the features of one text or token, which other modules read by these names"
_COMPUTING = "how transformers computes, not what"

SENTENCE_CONFIG = "config_sentence_transformers.json"
SENTENCE_BERT = "sentence_*_config.json"
TOKENIZER = "tokenizer_config.json"
MODULES = "modules.json"

KEYS: Mapping[str, Mapping[str, Key]] = MappingProxyType(
    {
        SENTENCE_CONFIG: {
            "__version__": _inert("the versions it was saved with"),
            "model_type": _applied("a dense or a late-interaction model; sparse models and rerankers are refused"),
            "prompts": _applied("put before queries and documents; null is no prompt"),
            "default_prompt_name": _applied("put before texts that are neither called queries nor documents"),
            "similarity_fn_name": _applied(
                "how similarity() compares vectors; those for dot, euclidean and manhattan are not normalized"
            ),
            "truncate_dim": _applied("components kept of each vector"),
            "requirements": _inert("versions of the packages that train it"),
        },
        SENTENCE_BERT: {
            "max_seq_length": _applied("tokens read of each text"),
            "do_lower_case": _applied("lower-cases texts before the tokenizer does anything"),
            "transformer_task": _refused("another head than the bare encoder", "feature-extraction"),
            "modality_config": _refused("inputs other than text, or another output of the encoder", TEXT_ONLY),
            "module_output_name": _refused("another output of the encoder", "token_embeddings"),
            "processing_kwargs": _refused("settings of each tokenizer call", {}),
            "unpad_inputs": _inert("padding never changes a vector here"),
            "query_length": _refused("a limit of its own for queries of a dense model"),
            "document_length": _refused("a limit of its own for documents of a dense model"),
            "query_expansion": _refused("tokens added to queries of a dense model"),
            "tokenizer_name_or_path": _refused("a tokenizer from elsewhere"),
            "processor_kwargs": _applied("settings that win over tokenizer_config.json"),
            "tokenizer_args": _applied("the older name of processor_kwargs"),
            "model_kwargs": _applied("each key by the table 'model_kwargs'"),
            "model_args": _applied("the older name of model_kwargs"),
            "config_kwargs": _applied("each key by the table 'config_kwargs'"),
            "config_args": _applied("the older name of config_kwargs"),
        },
        "model_kwargs": {
            "attn_implementation": _inert(_COMPUTING),
            "dtype": _inert("precision= chooses the number format"),
            "torch_dtype": _inert("precision= chooses the number format"),
            "low_cpu_mem_usage": _inert(_COMPUTING),
            "use_safetensors": _inert("safetensors are all that is read"),
            "add_pooling_layer": _inert("the encoder's own pooler is never used"),
            "trust_remote_code": _inert("code from a model folder is never run"),
        },
        "config_kwargs": {
            "use_cache": _inert("encoders keep nothing between texts"),
            "trust_remote_code": _inert("code from a model folder is never run"),
        },
        MODULES: {
            "idx": _inert("the order of the list counts"),
            "name": _inert("a label"),
            "path": _applied("the module's folder, inside the model's"),
            "type": _applied("one of sentence-transformers' own modules"),
            "kwargs": _refused("arguments passed to the module at each call", [], {}),
        },
        "Pooling": {
            "embedding_dimension": _applied("checked against the encoder"),
            "word_embedding_dimension": _applied("the older name of embedding_dimension"),
            "pooling_mode": _applied("one mode, or several side by side"),
            **{flag: _applied(f"the older way to say {mode}") for flag, mode in POOLING_FLAGS.items()},
            "include_prompt": _applied("whether the prompt's tokens are pooled too"),
        },
        "Dense": {
            "in_features": _applied("checked against the weights"),
            "out_features": _applied("checked against the weights"),
            "bias": _applied("whether there is one"),
            "activation_function": _applied("one of those that medembed knows; others are refused"),
            "module_input_name": _applied(_NO_OUTPUT_KEYS),
            "module_output_name": _applied(_NO_OUTPUT_KEYS),
            "use_residual": _applied("adds the input, projected where the widths differ"),
            "init_weight": _refused("weights in a settings file"),
            "init_bias": _refused("weights in a settings file"),
        },
        "LayerNorm": {"dimension": _applied("checked against the weights")},
        "Dropout": {"dropout": _inert("only in training")},
        "Normalize": {
            "module_input_name": _applied(_NO_OUTPUT_KEYS),
            "module_output_name": _applied(_NO_OUTPUT_KEYS),
        },
        TOKENIZER: {
            "tokenizer_class": _applied(
                "decides whether transformers builds the tokenizer anew or takes tokenizer.json as it is"
            ),
            "do_lower_case": _applied("of BERT's tokenizer; of others it must agree with tokenizer.json"),
            "strip_accents": _applied("of BERT's tokenizer; of others it must agree with tokenizer.json"),
            "tokenize_chinese_chars": _applied("of BERT's tokenizer; of others it must agree with tokenizer.json"),
            "truncation_side": _applied("the side on which texts above the limit are cut"),
            "model_max_length": _applied("tokens read of each text, where no other file names a limit"),
            "split_special_tokens": _applied("whether special tokens written in a text are cut into pieces"),
            "unk_token": _applied("must be the tokenizer's"),
            "cls_token": _applied("of BERT's tokenizer: must be the first one put before a text"),
            "sep_token": _applied("of BERT's tokenizer: must be the one put after a text"),
            "pad_token": _applied("recognised in texts; must be in the vocabulary"),
            "mask_token": _applied("recognised in texts; must be in the vocabulary"),
            "bos_token": _applied("recognised in texts; must be in the vocabulary"),
            "eos_token": _applied("recognised in texts; must be in the vocabulary"),
            "additional_special_tokens": _applied("recognised in texts; must be in the vocabulary"),
            "extra_special_tokens": _applied("recognised in texts; must be in the vocabulary"),
            "added_tokens_decoder": _applied("recognised in texts; must be in the vocabulary"),
            "init_inputs": _refused("positional arguments of the tokenizer's class", [], ()),
            "auto_map": _inert("code from a model folder is never run"),
            "padding_side": _inert("padding never changes a vector here"),
            "pad_token_id": _inert("padding never changes a vector here"),
            "pad_token_type_id": _inert("padding never changes a vector here"),
            "pad_to_multiple_of": _inert("padding never changes a vector here"),
            "max_length": _inert("a default of calls that name none; sentence-transformers names model_max_length"),
            "stride": _inert("windows are cut by overlong='chunk'"),
            "truncation_strategy": _inert("of pairs of texts"),
            "model_input_names": _inert("a text alone has one segment and no padding"),
            "add_bos_token": _inert("transformers reads it only without a tokenizer.json"),
            "add_eos_token": _inert("transformers reads it only without a tokenizer.json"),
            "clean_up_tokenization_spaces": _inert("of decoding"),
            "chat_template": _inert("of conversations"),
            "trim_offsets": _inert("of places in the text, which are not used"),
            "errors": _inert("of decoding"),
            "do_basic_tokenize": _inert("of the tokenizer in Python"),
            "never_split": _inert("of the tokenizer in Python"),
        },
    }
)
# files whose unknown keys are notes that nobody reads; tokenizer classes of their own are held against transformers instead
LENIENT = (SENTENCE_CONFIG, TOKENIZER)


def check(table: str, content: Mapping[str, Any], path: Path) -> None:
    """Refuse what would change vectors and is not applied.

    Args:
        table: A name in :data:`KEYS`.
        content: What the file holds.
        path: The file, for errors.

    Raises:
        UnsupportedModelError: A key that is refused, or one that nothing is known of.
    """
    known = KEYS[table]
    for key, value in content.items():
        entry = known.get(key)
        if entry is None and table not in LENIENT:
            raise UnsupportedModelError(
                f"{path} sets {key!r}, which medembed does not know: remove it where it means nothing, or use sentence-transformers"
            )
        if entry is not None and entry.use == "refused" and not any(_same(value, fine) for fine in entry.harmless):
            raise UnsupportedModelError(
                f"{path} sets {key!r} ({entry.why}), which medembed does not apply: use sentence-transformers for this model"
            )


def _same(value: object, fine: object) -> bool:
    return type(value) is type(fine) and value == fine
