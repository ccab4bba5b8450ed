"""``tokenizer.json`` and its settings → a tokenizer as transformers makes it of the same folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medembed.checkpoints.files import ModelFiles
from medembed.checkpoints.tokenizer_settings import TokenizerSettings
from medembed.errors import CorruptFileError, UnsupportedModelError

# a normalizer may replace one character by a text: legitimate ones replace it by a few characters
MOST_REPLACEMENT = 100
# T5's highest id is 250,111 and that of the largest multilingual vocabularies 262,145
MOST_ID = 4_000_000


def load_tokenizer_json(files: ModelFiles, settings: TokenizerSettings) -> Any:
    """Make a folder's tokenizer, without truncation or padding.

    Args:
        files: The model's files.
        settings: What is done to ``tokenizer.json``.

    Returns:
        A ``tokenizers.Tokenizer``.

    Raises:
        CorruptFileError: ``tokenizer.json`` cannot be read.
        UnsupportedModelError: It cuts texts at random, or its settings name tokens that it lacks.
    """
    path = files.encoder / "tokenizer.json"
    _check(files.json(path), path)
    fast = _read(files, path)
    fast.no_truncation()
    fast.no_padding()
    fast.encode_special_tokens = settings.split_special
    if settings.build == "as BERT's":
        _as_berts(fast, settings, path)
    _add_tokens(fast, settings, path)
    if settings.lowercase:
        _lowercase_first(fast)
    return fast


def _read(files: ModelFiles, path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_buffer(files.read(path) or b"")
    except BaseException as error:
        # the library raises bare Exception for anything wrong with the file, and PanicException, which is not one
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CorruptFileError(f"{path} cannot be read as a tokenizer: download the model again") from error


def _check(content: Mapping[str, Any], path: Path) -> None:
    """Refuse what makes tokens random, texts huge, or ids that no table has."""
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(content.get("added_tokens", []), list):
        raise CorruptFileError(f"{path} cannot be read as a tokenizer: download the model again")
    if model.get("dropout"):
        raise UnsupportedModelError(
            f"{path} drops merges at random (dropout), so that a text has no fixed tokens: remove it"
        )
    vocabulary = model.get("vocab")
    ids = vocabulary.values() if isinstance(vocabulary, dict) else ()
    if ids and (set(map(type, ids)) != {int} or min(ids) < 0 or max(ids) > MOST_ID):
        raise CorruptFileError(
            f"{path} has token ids that are not whole numbers from 0 to {MOST_ID:,}: download the model again"
        )
    for part in _parts(content.get("normalizer")):
        if any(isinstance(part.get(key), str) and len(part[key]) > MOST_REPLACEMENT for key in ("content", "prepend")):
            raise CorruptFileError(
                f"{path} replaces characters by more than {MOST_REPLACEMENT} others: download the model again"
            )


def _parts(component: object) -> list[dict[str, Any]]:
    """A component and all that are in its sequences. The depth was bounded when the file was read."""
    if not isinstance(component, dict):
        return []
    inner = component.get("normalizers")
    return [component, *(part for item in (inner if isinstance(inner, list) else ()) for part in _parts(item))]


def _as_berts(fast: Any, settings: TokenizerSettings, path: Path) -> None:
    """BERT's normalizer, words and special tokens around the vocabulary of the file."""
    from tokenizers import models, normalizers, pre_tokenizers, processors

    tokens = dict(settings.tokens)
    if not isinstance(fast.model, models.WordPiece) or fast.model.continuing_subword_prefix != "##":
        raise UnsupportedModelError(
            f'{path} is not of BERT\'s kind (WordPiece with ##), but its tokenizer_config.json says that it is: write "tokenizer_class": '
            '"PreTrainedTokenizerFast" there if tokenizer.json is to be used as it is'
        )
    if fast.model.unk_token != tokens["unk_token"]:
        raise UnsupportedModelError(
            f"{path} and unk_token of its tokenizer_config.json are not the same: they do not belong together"
        )
    fast.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.bert_chinese,
        strip_accents=settings.bert_strip_accents,
        lowercase=settings.bert_lowercase,
    )
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    before, after = tokens["cls_token"], tokens["sep_token"]
    pairs = [(token, _id(fast, token, path)) for token in (before, after)]
    fast.post_processor = processors.TemplateProcessing(single=f"{before} $A {after}", special_tokens=pairs)


def _add_tokens(fast: Any, settings: TokenizerSettings, path: Path) -> None:
    """Have the settings' tokens recognised in texts.

    Each must have an id already. A token without one would have no embedding.
    """
    from tokenizers import AddedToken

    known = {token.content for token in fast.get_added_tokens_decoder().values()}
    wanted = dict.fromkeys((*(token for _, token in settings.tokens), *settings.extra_tokens))
    missing = [token for token in wanted if token not in known]
    for token in missing:
        _id(fast, token, path)
    fast.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in missing])


def _id(fast: Any, token: str, path: Path) -> int:
    found: int | None = fast.token_to_id(token)
    if found is None:
        raise UnsupportedModelError(
            f"{path} lacks the token {token[:40]!r}, which its settings name; a token made for it would have no embedding: "
            "remove it from tokenizer_config.json (and special_tokens_map.json, added_tokens.json)"
        )
    return found


def _lowercase_first(fast: Any) -> None:
    """As sentence-transformers applies ``do_lower_case``: before the tokenizer's own normalizer, unless that does it."""
    from tokenizers import normalizers

    own: Any = fast.normalizer
    parts: list[Any] = [] if own is None else [own]
    if isinstance(own, normalizers.Sequence):
        parts = [own[place] for place in range(len(own))]
    if not any(isinstance(part, normalizers.Lowercase) for part in parts):
        fast.normalizer = normalizers.Sequence([normalizers.Lowercase(), *parts])
