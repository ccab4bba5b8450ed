"""A model folder's own files → what it says of itself: architecture, pooling, prompts, length, normalization."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from medembed import border
from medembed.checkpoints import keys
from medembed.checkpoints.files import ModelFiles
from medembed.checkpoints.keys import SENTENCE_CONFIG
from medembed.checkpoints.registry import ModelSpec
from medembed.checkpoints.steps import KINDS, Cut, Pool, Step, Unit, read_steps, width_after
from medembed.checkpoints.tokenizer_settings import TokenizerSettings, read_settings
from medembed.comparing import Similarity
from medembed.errors import CorruptFileError, MissingFileError, UnsupportedModelError

# tokenizers write 10^30 where they know no limit
NO_LIMIT = 1_000_000
# BERT and most others have this many positions where config.json names none
USUAL_POSITIONS = 512
# the widest encoder that transformers ships has states of 18,432
MOST_WIDTH = 65_536

# what architectures call the length of a token's state
WIDTHS = ("hidden_size", "dim", "d_model", "emb_dim", "n_embd", "embed_dim")
# what they call the number of positions
POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")
# their positions are counted from pad_token_id + 1
OFFSET_POSITIONS = (
    "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "ibert", "data2vec-text", "longformer", "mra", "nystromformer",
    "roberta-prelayernorm", "xmod", "yoso", "lilt", "esm", "luke",
)  # fmt: skip

# sentence-transformers modules, by the last part of their dotted type
TRANSFORMER, POOLING, NORMALIZE = "Transformer", "Pooling", "Normalize"
DENSE, MASK, TOKEN_POOLING = "Dense", "MultiVectorMask", "HierarchicalTokenPooling"
ONE_VECTOR = (TRANSFORMER, *KINDS)
TOKEN_VECTORS = (TRANSFORMER, DENSE, MASK, NORMALIZE, TOKEN_POOLING)
# what a folder may say that it is; older ones say nothing
MODEL_TYPES = (None, "SentenceTransformer", "MultiVectorEncoder", "ColBERT")
# whose modules these are: a module of another package is code from outside, whatever its name
PACKAGES = ("sentence_transformers.", "pylate.")


@dataclass(frozen=True)
class Description:
    """All that a folder says of the model in it.

    Attributes:
        spec: What is known of the model, completed from its files.
        config: Its ``config.json``.
        late_interaction: Whether it gives one vector per token.
        steps: What is done to the encoder's states; empty for a late-interaction model.
        width: Length of a token's state.
        tokenizer: What is done to its ``tokenizer.json``.
    """

    spec: ModelSpec
    config: dict[str, Any]
    late_interaction: bool
    steps: tuple[Step, ...]
    width: int
    tokenizer: TokenizerSettings


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a model folder.

    Args:
        path: The file.

    Returns:
        The object; empty where the file does not exist.

    Raises:
        CorruptFileError: The file is there but is not a JSON object.
    """
    return dict(ModelFiles(path.parent).json(path))


def read_config(files: ModelFiles) -> dict[str, Any]:
    """Read ``config.json``, which every model must have.

    Args:
        files: The model's files.

    Returns:
        The configuration.

    Raises:
        MissingFileError: There is none.
        CorruptFileError: It is not a JSON object.
    """
    path = files.encoder / "config.json"
    if files.parsed(path) is None and files.read(path) is None:
        raise MissingFileError(
            f"{files.folder} has no config.json: it is not a model folder (expected config.json, tokenizer.json, model.safetensors)"
        )
    return files.json(path)


def is_late_interaction(files: ModelFiles, folder: Path, config: Mapping[str, Any]) -> bool:
    """Tell whether a folder holds a ColBERT-style model.

    It may be written as Stanford's ColBERT, PyLate or sentence-transformers write such models.

    Args:
        files: The model's files.
        folder: The folder, or the one in it that makes it a late-interaction model too.
        config: Its ``config.json``.

    Returns:
        True for a model that gives one vector per token.
    """
    saved = files.json(folder / SENTENCE_CONFIG)
    architectures = config.get("architectures")
    return (
        (isinstance(architectures, list) and "HF_ColBERT" in architectures)
        or saved.get("model_type") in ("MultiVectorEncoder", "ColBERT")
        or "query_prefix" in saved
    )


def describe(
    files: ModelFiles, folder: Path, known: ModelSpec, *, late_interaction: bool | None = False
) -> Description:
    """Complete a spec with what the folder says of itself. The folder wins over the registry.

    Args:
        files: The model's files; ``files.encoder`` is set to where the encoder's are.
        folder: The folder, or the one in it that makes it a late-interaction model too.
        known: What is known already; its name, repository, license and notes are kept.
        late_interaction: Whether a model with one vector per token is wanted, or one with one vector per text; None for
            either.

    Returns:
        The description of the model as it will run.

    Raises:
        CheckpointError: A file is missing or corrupt, or the folder asks for what is not done here.
    """
    modules = read_modules(folder, files)
    if folder == files.folder:
        files.encoder = next((path for kind, path in modules if kind == TRANSFORMER), folder)
    config = read_config(files)
    if not isinstance(config.get("model_type", ""), str):
        raise CorruptFileError(f"{files.encoder / 'config.json'}: model_type is not a name: download the model again")
    is_late = is_late_interaction(files, folder, config)
    _check_kind(folder, modules, is_late=is_late, wanted=late_interaction)
    saved = files.json(folder / SENTENCE_CONFIG)
    keys.check(SENTENCE_CONFIG, saved, folder / SENTENCE_CONFIG)
    if saved.get("model_type") not in MODEL_TYPES:
        raise UnsupportedModelError(
            f"{folder} holds a {str(saved['model_type'])[:40]}; medembed runs {', '.join(MODEL_TYPES[1:])}: use sentence-transformers"
        )
    sentence = _sentence_settings(files, modules, dense=not is_late)
    width = _width(config, files.encoder)
    steps = () if is_late else _steps(files, modules, width, known.pooling, saved)
    prompts, default_prompt = _prompts(saved, known, folder / SENTENCE_CONFIG)
    overrides = _overrides(sentence, files.encoder)
    lowercase = sentence.get("do_lower_case") is True
    # sentence-transformers passes over other names, such as those of late interaction
    names: tuple[Similarity, ...] = get_args(Similarity)
    similarity = next((name for name in names if name == saved.get("similarity_fn_name")), names[0])
    spec = dataclasses.replace(
        known,
        dimension=width_after(steps, width),
        pooling=next(("+".join(step.modes) for step in steps if isinstance(step, Pool)), known.pooling),
        prompts=prompts,
        default_prompt=default_prompt,
        normalized=NORMALIZE in [kind for kind, _ in modules] or similarity == "cosine",
        similarity=similarity,
        max_seq_length=_max_seq_length(files, {**sentence, **overrides}, config),
    )
    tokenizer = read_settings(files, config, overrides, lowercase=lowercase)
    return Description(spec, config, is_late, steps, width, tokenizer)


def _check_kind(folder: Path, modules: list[tuple[str, Path]], *, is_late: bool, wanted: bool | None) -> None:
    """Refuse a model of the other kind, and modules that do not run here."""
    if wanted not in (None, is_late):
        raise UnsupportedModelError(
            f"{folder} is a dense model, with a vector a text: load it with MedEmbed(...), or tune a late-interaction model from it with "
            "`medembed recipes run colbert`, or mini/colbert for its projection alone"
            if wanted
            else f"{folder} is a late-interaction model, with one vector per token: load it with MedColBERT(...)"
        )
    runs = TOKEN_VECTORS if is_late else ONE_VECTOR
    unknown = [kind for kind, _ in modules if kind not in runs]
    if unknown:
        raise UnsupportedModelError(
            f"{folder} has a {unknown[0]!r} module; medembed runs {', '.join(runs[:-1])} and {runs[-1]}. "
            "Use sentence-transformers for it, or export it without that module."
        )


def read_modules(folder: Path, files: ModelFiles | None = None) -> list[tuple[str, Path]]:
    """Read ``modules.json``.

    Args:
        folder: A model folder.
        files: Its files; None reads them from the disk.

    Returns:
        Each module's kind, the last part of its dotted type, and its folder, in order; a folder without the file is a
        bare transformer.

    Raises:
        CorruptFileError: The file is not a list of modules.
        UnsupportedModelError: A module lies outside the folder, or is code from outside.
    """
    path = folder / keys.MODULES
    files = files or ModelFiles(folder)
    listed = files.parsed(path)
    if listed is None and files.read(path) is None:
        return [(TRANSFORMER, folder)]
    if not isinstance(listed, list) or not listed:
        raise CorruptFileError(f"{path} is not a list of modules: download the model again")
    return [_module(entry, folder, path) for entry in listed]


def _module(entry: object, folder: Path, path: Path) -> tuple[str, Path]:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("type", "path")):
        raise CorruptFileError(f"{path} is not a list of modules, each with type and path: download the model again")
    keys.check(keys.MODULES, entry, path)
    kind, place = entry["type"].rpartition(".")[2], folder / entry["path"]
    if not entry["type"].startswith(PACKAGES):
        raise UnsupportedModelError(
            f"{path} names a module that is not one of sentence-transformers': it is code, which is never run"
        )
    if "\0" in entry["path"] or not place.resolve().is_relative_to(folder.resolve()):
        raise UnsupportedModelError(f"modules.json of {folder} points module {kind!r} outside its own folder: refused")
    return kind, place


def _sentence_settings(files: ModelFiles, modules: list[tuple[str, Path]], *, dense: bool) -> dict[str, Any]:
    """Settings beside the Transformer module: the first file that holds any, as sentence-transformers looks for them."""
    if files.parsed(files.folder / keys.MODULES) is None and files.encoder == files.folder and len(modules) == 1:
        # sentence-transformers makes a new model of a bare transformer and does not look for settings
        return {}
    place = next((path for kind, path in modules if kind == TRANSFORMER), files.folder)
    for name in keys.SENTENCE_CONFIGS:
        if content := files.json(place / name):
            if dense:
                keys.check(keys.SENTENCE_BERT, content, place / name)
            return content
    return {}


def _overrides(sentence: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """``processor_kwargs``, and the other nested settings checked."""
    found: dict[str, Any] = {}
    for new, old in (
        ("processor_kwargs", "tokenizer_args"),
        ("model_kwargs", "model_args"),
        ("config_kwargs", "config_args"),
    ):
        content = sentence.get(old, sentence.get(new))
        if content is None:
            continue
        if not isinstance(content, dict):
            raise CorruptFileError(
                f"{folder}: {new} of sentence-transformers' settings is not an object: download the model again"
            )
        if new == "processor_kwargs":
            found = {key: value for key, value in content.items() if key != "trust_remote_code"}
        else:
            keys.check(new, content, folder / "sentence_bert_config.json")
    return found


def _steps(
    files: ModelFiles, modules: list[tuple[str, Path]], width: int, default: str, saved: Mapping[str, Any]
) -> tuple[Step, ...]:
    steps = read_steps(files, modules, width, default)
    cut = saved.get("truncate_dim")
    if cut is not None:
        most = width_after(steps, width)
        named = f"{files.folder / SENTENCE_CONFIG}: truncate_dim"
        steps += (Cut(border.whole_number(cut, named=named, least=1, most=most, error=CorruptFileError)),)
    # vectors are scaled to unit length at the very end anyway
    return steps[:-1] if isinstance(steps[-1], Unit) else steps


def _prompts(saved: Mapping[str, Any], known: ModelSpec, path: Path) -> tuple[Mapping[str, str], str]:
    """Prompts by name, those for queries and documents among them, and the one for texts that are called neither.

    "passage" and "corpus" are what some models call documents. A default prompt is for plain ``encode`` alone: queries and
    documents have prompts of their own, which are empty where none is named.
    """
    given = saved.get("prompts")
    default = saved.get("default_prompt_name")
    if given is None and default is None:
        return known.prompts, known.default_prompt
    if not isinstance(given, dict) or not all(text is None or isinstance(text, str) for text in given.values()):
        raise CorruptFileError(f"{path}: prompts is not an object of texts: download the model again")
    prompts = {name: text or "" for name, text in given.items()}
    if default is not None and (not isinstance(default, str) or default not in {"query", "document", *prompts}):
        raise CorruptFileError(f"{path}: default_prompt_name is none of its prompts: download the model again")
    document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), "")
    prompts = {**prompts, "query": prompts.get("query", ""), "document": document}
    return prompts, prompts[default] if default is not None else ""


def _max_seq_length(files: ModelFiles, settings: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """Smallest limit that the folder names: sentence-transformers' own, else the tokenizer's, within the positions."""
    path = files.encoder / keys.TOKENIZER
    places = (
        (settings.get("model_max_length"), "processor_kwargs.model_max_length of sentence-transformers' settings"),
        (settings.get("max_seq_length"), "max_seq_length of sentence-transformers' settings"),
        (files.json(path).get("model_max_length"), "model_max_length of its tokenizer_config.json"),
    )
    positions = position_limit(config)
    for value, named in places:
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 1 or value != int(value):
            raise CorruptFileError(f"{files.folder}: {named} is not a whole number from 1: download the model again")
        if value < NO_LIMIT:
            return min(int(value), positions)
    return positions if positions < NO_LIMIT else USUAL_POSITIONS


def position_limit(config: Mapping[str, Any]) -> int:
    """Tokens that a model's position embeddings reach.

    RoBERTa's descendants number positions from ``pad_token_id + 1``, so some rows of their table are never used.

    Args:
        config: A model's ``config.json``.

    Returns:
        The limit, special tokens included; :data:`NO_LIMIT` where positions are relative to one another.

    Raises:
        CorruptFileError: A number that is none, or none that is left.
    """
    named = next((key for key in POSITIONS if config.get(key) is not None), None)
    if named is None:
        return NO_LIMIT if config.get("relative_attention_num_buckets") is not None else USUAL_POSITIONS
    if config[named] == -1:  # XLNet
        return NO_LIMIT
    positions = border.whole_number(
        config[named], named=f"{named} of config.json", least=1, most=1 << 24, error=CorruptFileError
    )
    offset = 0
    if config.get("model_type") in OFFSET_POSITIONS:
        pad = config.get("pad_token_id")
        pad = 1 if pad is None else pad
        offset = (
            border.whole_number(pad, named="pad_token_id of config.json", least=0, most=1 << 24, error=CorruptFileError)
            + 1
        )
    if positions <= offset:
        raise CorruptFileError(
            f"config.json leaves no position for a token ({named} {positions}): download the model again"
        )
    return positions - offset


def _width(config: Mapping[str, Any], folder: Path) -> int:
    key = next((key for key in WIDTHS if key in config), WIDTHS[0])
    return border.whole_number(
        config.get(key), named=f"{key} of {folder / 'config.json'}", least=1, most=MOST_WIDTH, error=CorruptFileError
    )
