"""The changes that ``tokenizer_config.json`` makes to ``tokenizer.json``.

They are those that transformers applies when sentence-transformers loads a folder.

For some classes transformers takes ``tokenizer.json`` as it is. For others it keeps the vocabulary alone and builds the rest anew
from ``tokenizer_config.json``, so that a setting there wins. That is done here for BERT's class, by far the most frequent one; the
others are held against transformers' own tokenizer where it is needed anyway, see ``medembed.runtime.tokenizer_check``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from medembed.checkpoints import keys
from medembed.checkpoints.files import ModelFiles
from medembed.errors import CorruptFileError, UnsupportedModelError

Side = Literal["left", "right"]
Build = Literal["as it is", "as BERT's", "by transformers"]
"""Who makes a tokenizer of a folder: its tokenizer.json alone, BERT's rules around its vocabulary, or another class's."""

# names under which transformers 5 has BERT's class, without "Fast"
BERT_CLASSES = frozenset(
    ("BertTokenizer", "ElectraTokenizer", "SqueezeBertTokenizer", "LayoutLMTokenizer", "MobileBertTokenizer")
)
# model types whose tokenizer is BERT's where the folder names none
BERT_TYPES = frozenset(
    (
        "align", "bark", "bert", "blip", "bros", "chinese_clip", "convbert", "distilbert", "electra", "ernie", "flava", "git",
        "grounding-dino", "layoutlm", "megatron-bert", "mm-grounding-dino", "nezha", "nomic_bert", "qdqbert", "realm", "retribert",
        "squeezebert", "tvp", "vilt", "visual_bert",
    )
)  # fmt: skip
GENERIC = frozenset(("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend"))
NAMED_TOKENS = ("unk_token", "cls_token", "sep_token", "pad_token", "mask_token", "bos_token", "eos_token")
BERT_TOKENS: Mapping[str, str] = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}


@dataclass(frozen=True)
class TokenizerSettings:
    """The changes made to a ``tokenizer.json`` before it is used.

    Attributes:
        build: Who makes the tokenizer of the folder.
        bert_lowercase: For ``"as BERT's"``: whether texts are lower-cased.
        bert_strip_accents: The same for accents; None for as ``bert_lowercase``.
        bert_chinese: Whether each Chinese character is a word.
        tokens: Special tokens by their name in the settings.
        extra_tokens: Further tokens that are recognised in texts.
        lowercase: Lower-case texts before anything else.
        truncation_side: The side on which texts above the limit are cut.
        split_special: Whether special tokens written in a text are cut into pieces.
    """

    build: Build = "as it is"
    bert_lowercase: bool = True
    bert_strip_accents: bool | None = None
    bert_chinese: bool = True
    tokens: tuple[tuple[str, str], ...] = ()
    extra_tokens: tuple[str, ...] = ()
    lowercase: bool = False
    truncation_side: Side = "right"
    split_special: bool = False

    @property
    def remark(self) -> str:
        """The differences from BERT's usual settings, as text. They are part of a folder's fingerprint."""
        usual = asdict(TokenizerSettings(build="as BERT's", tokens=tuple(sorted(BERT_TOKENS.items()))))
        given = {key: value for key, value in asdict(self).items() if value != usual[key]}
        return json.dumps(given, sort_keys=True) if given else ""


def read_settings(
    files: ModelFiles, config: Mapping[str, Any], overrides: Mapping[str, Any], *, lowercase: bool
) -> TokenizerSettings:
    """Read what a folder's tokenizer settings ask for.

    Args:
        files: The model's files.
        config: Its ``config.json``.
        overrides: ``processor_kwargs`` of sentence-transformers' settings, which win.
        lowercase: ``do_lower_case`` of sentence-transformers' settings.

    Returns:
        The settings, checked.

    Raises:
        CorruptFileError: A value of another type than its key has.
        UnsupportedModelError: A key that is refused.
    """
    path = files.encoder / keys.TOKENIZER
    told = {**files.json(path), **overrides}
    keys.check(keys.TOKENIZER, told, path)
    tokens, extra = _tokens(files, told, path)
    build = _build(told.get("tokenizer_class") or config.get("tokenizer_class"), config.get("model_type"), path)
    if build == "as BERT's":
        tokens = {**BERT_TOKENS, **tokens}
    side = told.get("truncation_side", _json_side(files))
    if side not in ("left", "right"):
        raise CorruptFileError(f"{path}: truncation_side is neither 'left' nor 'right': download the model again")
    return TokenizerSettings(
        build=build,
        bert_lowercase=_flag(told, "do_lower_case", True, path),
        bert_strip_accents=_optional_flag(told, "strip_accents", path),
        bert_chinese=_flag(told, "tokenize_chinese_chars", True, path),
        tokens=tuple(sorted(tokens.items())),
        extra_tokens=tuple(extra),
        lowercase=lowercase,
        truncation_side=side,
        split_special=_flag(told, "split_special_tokens", False, path),
    )


def _build(named: object, model_type: object, path: Path) -> Build:
    """As transformers 5 chooses the class, for BERT and the models that share its tokenizer."""
    if named is not None and not isinstance(named, str):
        raise CorruptFileError(f"{path}: tokenizer_class is not a name: download the model again")
    name = (named or "").removesuffix("Fast")
    if name in BERT_CLASSES or (not name and model_type in BERT_TYPES):
        # another model's registered class decides there: transformers takes tokenizer.json as it is, or its own class
        return "as BERT's" if model_type in BERT_TYPES else "by transformers"
    if model_type == "bert":
        if name + "Fast" in GENERIC or name in GENERIC:
            return "as it is"
        raise UnsupportedModelError(
            f"{path} names the tokenizer_class {named!r}, which medembed does not know for BERT models: use sentence-transformers"
        )
    return "by transformers"


def _json_side(files: ModelFiles) -> object:
    told = files.json(files.encoder / "tokenizer.json").get("truncation")
    return str(told.get("direction", "right")).lower() if isinstance(told, dict) else "right"


def _tokens(files: ModelFiles, told: Mapping[str, Any], path: Path) -> tuple[dict[str, str], list[str]]:
    """Named special tokens, and all the others that are recognised in texts."""
    decoder = told.get("added_tokens_decoder")
    legacy: dict[str, Any] = {}
    added: list[Any] = []
    if decoder is None:  # transformers reads the older files only then
        legacy = files.json(files.encoder / "special_tokens_map.json")
        added = list(files.json(files.encoder / "added_tokens.json"))
    elif isinstance(decoder, dict):
        added = list(decoder.values())
    else:
        raise CorruptFileError(f"{path}: added_tokens_decoder is not an object: download the model again")
    merged = {**told, **legacy}
    named = {key: _token(merged[key], path) for key in NAMED_TOKENS if merged.get(key) is not None}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        value = merged.get(key) or []
        if not isinstance(value, list | dict):
            raise CorruptFileError(f"{path}: {key} is not a list of tokens: download the model again")
        added += value.values() if isinstance(value, dict) else value
    return named, list(dict.fromkeys(_token(token, path) for token in added))


def _token(value: object, path: Path) -> str:
    token = value.get("content") if isinstance(value, dict) else value
    if not isinstance(token, str) or not token:
        raise CorruptFileError(f"{path}: a special token is not text: download the model again")
    return token


def _flag(told: Mapping[str, Any], key: str, default: bool, path: Path) -> bool:
    value = told.get(key, default)
    if not isinstance(value, bool):
        raise CorruptFileError(f"{path}: {key} is neither true nor false: download the model again")
    return value


def _optional_flag(told: Mapping[str, Any], key: str, path: Path) -> bool | None:
    return None if told.get(key) is None else _flag(told, key, False, path)
