"""A model folder's own files → what it says of itself: architecture, pooling, prompts, length, normalisation."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medembed.checkpoints.registry import ModelSpec, Pooling
from medembed.errors import CorruptFileError, MissingFileError, UnsupportedModelError

# tokenizers write 10^30 where they know no limit
NO_LIMIT = 1_000_000

# what architectures call the length of a token's state
WIDTHS = ("hidden_size", "dim", "d_model")

# sentence-transformers modules, by the last part of their dotted type
TRANSFORMER, POOLING, NORMALIZE = "Transformer", "Pooling", "Normalize"
DENSE, MASK, TOKEN_POOLING = "Dense", "MultiVectorMask", "HierarchicalTokenPooling"
ONE_VECTOR = (TRANSFORMER, POOLING, NORMALIZE)
TOKEN_VECTORS = (TRANSFORMER, DENSE, MASK, NORMALIZE, TOKEN_POOLING)
SENTENCE_CONFIG = "config_sentence_transformers.json"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a model folder.

    Args:
        path: The file.

    Returns:
        The object; empty where the file does not exist.

    Raises:
        CorruptFileError: The file is there but is not a JSON object.
    """
    parsed = _read_any_json(path)
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise CorruptFileError(
            f"{path} holds a JSON {type(parsed).__name__}; an object was expected: download the model again"
        )
    return parsed


def _read_any_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise CorruptFileError(
            f"{path} is not valid JSON ({type(error).__name__}): download the model again"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json``, which every model must have.

    Args:
        folder: A model folder.

    Returns:
        The configuration.

    Raises:
        MissingFileError: There is none.
        CorruptFileError: It is not a JSON object.
    """
    if not (folder / "config.json").is_file():
        raise MissingFileError(
            f"{folder} has no config.json: it is not a model folder (expected config.json, tokenizer.json, model.safetensors)"
        )
    return read_json(folder / "config.json")


def is_late_interaction(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a folder holds a ColBERT-style model, as Stanford's ColBERT, PyLate or sentence-transformers write them.

    Args:
        folder: A model folder.
        config: Its ``config.json``.

    Returns:
        True for a model that gives a vector a token.
    """
    saved = read_json(folder / SENTENCE_CONFIG)
    return (
        "HF_ColBERT" in (config.get("architectures") or ())
        or saved.get("model_type") in ("MultiVectorEncoder", "ColBERT")
        or "query_prefix" in saved
    )


def describe(
    folder: Path, known: ModelSpec, config: Mapping[str, Any], *, late_interaction: bool | None = False
) -> ModelSpec:
    """Complete a spec with what the folder says of itself; the folder wins over the registry.

    Args:
        folder: A model folder.
        known: What is known already; its name, repository, licence and notes are kept.
        config: The folder's ``config.json``.
        late_interaction: Whether a model with a vector a token is wanted, or one with a vector a text; None for either.

    Returns:
        The spec of the model as it will run.

    Raises:
        CheckpointError: A file is missing or corrupt, or the folder asks for a module that is not supported here.
    """
    modules = dict(_modules(folder, config, late_interaction=late_interaction))
    sentence_config = read_json(folder / SENTENCE_CONFIG)
    width = next((key for key in WIDTHS if key in config), WIDTHS[0])
    dimension = _positive_int(config, width, folder)
    return replace(
        known,
        dimension=dimension,
        pooling=_pooling(folder, modules, known),
        prompts=_prompts(sentence_config, known),
        normalised=NORMALIZE in modules
        or sentence_config.get("similarity_fn_name") not in ("dot", "euclidean", "manhattan"),
        max_seq_length=_max_seq_length(folder, modules, config),
    )


def _modules(folder: Path, config: Mapping[str, Any], *, late_interaction: bool | None) -> list[tuple[str, Path]]:
    """The folder's modules, all of them of kinds that run here."""
    is_late = is_late_interaction(folder, config)
    if late_interaction not in (None, is_late):
        raise UnsupportedModelError(
            f"{folder} is a dense model, with a vector a text: load it with MedEmbed(...), or tune a late-interaction model from it with "
            "`medembed recipes run colbert`, or mini/colbert for its projection alone"
            if late_interaction
            else f"{folder} is a late-interaction model, with a vector a token: load it with MedColBERT(...)"
        )
    modules = read_modules(folder)
    runs = TOKEN_VECTORS if is_late else ONE_VECTOR
    unknown = [kind for kind, _ in modules if kind not in runs]
    if unknown:
        raise UnsupportedModelError(
            f"{folder} has a {unknown[0]!r} module; medembed runs {', '.join(runs[:-1])} and {runs[-1]}. "
            "Use sentence-transformers for it, or export it without that module."
        )
    return modules


def read_modules(folder: Path) -> list[tuple[str, Path]]:
    """Read ``modules.json``.

    Args:
        folder: A model folder.

    Returns:
        Each module's kind, the last part of its dotted type, and its folder, in order; a folder without the file is a
        bare transformer.

    Raises:
        CorruptFileError: The file is not a list of modules.
        UnsupportedModelError: A module lies outside the folder.
    """
    listed = _read_any_json(folder / "modules.json")
    if listed is None:
        return [(TRANSFORMER, folder)]
    try:
        modules = [(str(entry["type"]).rpartition(".")[2], folder / str(entry["path"])) for entry in listed]  # type: ignore[attr-defined]
    except (TypeError, KeyError) as error:
        raise CorruptFileError(
            f"{folder / 'modules.json'} is not a list of modules: download the model again"
        ) from error
    for kind, path in modules:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UnsupportedModelError(
                f"modules.json of {folder} points module {kind!r} outside its own folder: refused"
            )
    return modules


def _pooling(folder: Path, modules: Mapping[str, Path], known: ModelSpec) -> Pooling:
    config = read_json(modules.get(POOLING, folder / "1_Pooling") / "config.json")
    if not config:
        return known.pooling
    mode = config.get("pooling_mode")  # sentence-transformers 6 writes one name, older releases a flag per mode
    flags = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
    modes = (
        [mode]
        if isinstance(mode, str)
        else [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
    )
    for pooling, flag in flags.items():
        if modes in ([pooling], [flag]):
            return "mean" if pooling == "mean" else "cls"
    raise UnsupportedModelError(
        f"{folder} pools by {modes}; medembed pools by 'mean' or 'cls' alone. Use sentence-transformers for this model."
    )


def _prompts(sentence_config: Mapping[str, Any], known: ModelSpec) -> Mapping[str, str]:
    """Prompts for queries and documents; "passage" is what some models call documents."""
    given = sentence_config.get("prompts")
    if not isinstance(given, dict):
        return known.prompts
    default = given.get(sentence_config.get("default_prompt_name") or "", "")
    document = next((given[name] for name in ("document", "passage", "corpus") if name in given), default)
    prompts = {name: str(text) for name, text in given.items()}
    return {**prompts, "query": str(given.get("query", default)), "document": str(document)}


def _max_seq_length(folder: Path, modules: Mapping[str, Path], config: Mapping[str, Any]) -> int:
    """Smallest limit that the folder names: sentence-transformers' own, else the tokenizer's, within the positions."""
    positions = position_limit(config)
    own = read_json(modules.get(TRANSFORMER, folder) / "sentence_bert_config.json").get("max_seq_length")
    tokenizer = read_json(folder / "tokenizer_config.json").get("model_max_length")
    chosen = (
        own if isinstance(own, int) else tokenizer if isinstance(tokenizer, int) and tokenizer < NO_LIMIT else positions
    )
    return min(chosen, positions)


def position_limit(config: Mapping[str, Any]) -> int:
    """Tokens that a model's position embeddings reach.

    RoBERTa's descendants number positions from ``pad_token_id + 1``, so some rows of their table are never used.

    Args:
        config: A model's ``config.json``.

    Returns:
        The limit, special tokens included.
    """
    positions = int(config.get("max_position_embeddings") or 512)
    offset = (
        int(config.get("pad_token_id") or 0) + 1
        if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet")
        else 0
    )
    return positions - offset


def _positive_int(config: Mapping[str, Any], key: str, folder: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CorruptFileError(
            f"{folder / 'config.json'} says {key} = {value!r}; a positive integer was expected: download the model again"
        )
    return value


def lowercases(folder: Path) -> bool:
    """Whether the folder asks for lower-cased texts, beyond what its tokenizer does by itself."""
    return read_json(folder / "sentence_bert_config.json").get("do_lower_case") is True
