"""The steps that a folder applies to its encoder's states.

They are pooling, projections and norms, described as sentence-transformers' modules describe them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints import keys
from medembed.checkpoints.files import ModelFiles
from medembed.errors import BadWeightsError, CorruptFileError, UnsupportedModelError

Floats = NDArray[np.float32]
Feature = Literal["token_embeddings", "sentence_embedding"]
"""What a module reads and writes: the states of all tokens, or the vector of a text."""

TOKENS: Feature = "token_embeddings"
TEXT: Feature = "sentence_embedding"
MODES = tuple(keys.POOLING_FLAGS.values())
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU", "LeakyReLU", "ELU", "Softplus", "Hardtanh")


@dataclass(frozen=True)
class Pool:
    """Token states → one vector per text.

    Attributes:
        modes: Names of :data:`MODES`; several stand side by side in the vector.
        include_prompt: Whether the prompt's tokens are pooled too.
    """

    modes: tuple[str, ...]
    include_prompt: bool = True


@dataclass(frozen=True)
class Dense:
    """A projection.

    Attributes:
        weight: *Shape:* ``(out, in)``.
        bias: *Shape:* ``(out,)``; None for none.
        activation: A name of :data:`ACTIVATIONS`.
        residual: Whether the input is added; an array projects it first, *Shape:* ``(out, in)``.
        source: What it reads.
        target: What it writes.
    """

    weight: Floats
    bias: Floats | None
    activation: str
    residual: Floats | bool
    source: Feature = TEXT
    target: Feature = TEXT


@dataclass(frozen=True)
class LayerNorm:
    """A layer norm over each vector. Both arrays have *Shape:* ``(dim,)``."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True)
class Unit:
    """Unit length.

    Attributes:
        source: What it reads.
        target: What it writes.
    """

    source: Feature = TEXT
    target: Feature = TEXT


@dataclass(frozen=True)
class Cut:
    """The first components of each vector.

    Attributes:
        dimension: How many.
    """

    dimension: int


Step = Pool | Dense | LayerNorm | Unit | Cut


def read_steps(files: ModelFiles, modules: Sequence[tuple[str, Path]], width: int, default: str) -> tuple[Step, ...]:
    """Read what follows the encoder.

    Args:
        files: The model's files.
        modules: Kind and folder of each module, the transformer first.
        width: Length of a token's state.
        default: Pooling of a folder that is a bare transformer.

    Returns:
        The steps in order, their weights read and checked to fit one another.

    Raises:
        CheckpointError: A setting, a module or a weight that cannot be used.
    """
    kinds = [kind for kind, _ in modules]
    if kinds == ["Transformer"] and files.parsed(files.folder / keys.MODULES) is None:
        return (Pool((default,)),)
    if kinds.count("Transformer") != 1 or kinds[0] != "Transformer" or kinds.count("Pooling") != 1:
        raise UnsupportedModelError(
            f"{files.folder} has the modules {kinds}; medembed runs one Transformer, which comes first, and one Pooling"
        )
    steps: list[Step] = []
    widths: dict[Feature, int] = {TOKENS: width}
    for kind, folder in modules[1:]:
        if step := _READERS[kind](files, folder, widths):
            steps.append(step)
    return tuple(steps)


def _settings(files: ModelFiles, folder: Path, kind: str) -> dict[str, Any]:
    path = folder / "config.json"
    content = files.json(path)
    keys.check(kind, content, path)
    return content


def _pool(files: ModelFiles, folder: Path, widths: dict[Feature, int]) -> Step:
    path, config = folder / "config.json", _settings(files, folder, "Pooling")
    given = config.get("pooling_mode")
    if given is None:
        given = [mode for flag, mode in keys.POOLING_FLAGS.items() if config.get(flag)] or "mean"
    modes = [given] if isinstance(given, str) else given
    if not isinstance(modes, list) or not modes or len(set(map(str, modes))) != len(modes) or len(modes) > len(MODES):
        raise CorruptFileError(
            f"{path}: pooling_mode is not a list of different modes; medembed pools by {', '.join(MODES)}"
        )
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown:
        raise UnsupportedModelError(f"{path} pools by a mode that is unknown; medembed pools by {', '.join(MODES)}")
    include = config.get("include_prompt", True)
    if not isinstance(include, bool):
        raise CorruptFileError(f"{path}: include_prompt is neither true nor false: download the model again")
    told = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    if told is not None and told != widths[TOKENS]:
        raise BadWeightsError(
            f"{path} pools states of another length than the encoder's {widths[TOKENS]}: they do not belong together"
        )
    widths[TEXT] = len(modes) * widths[TOKENS]
    return Pool(tuple(modes), include)


def _features(config: dict[str, Any], path: Path, widths: dict[Feature, int]) -> tuple[Feature, Feature]:
    names: list[Feature] = []
    for key, default in (("module_input_name", TEXT), ("module_output_name", None)):
        name = config.get(key)
        name = (default or names[0]) if name is None else name
        if name not in (TOKENS, TEXT):
            raise UnsupportedModelError(
                f"{path} names another {key} than {TOKENS} or {TEXT}: use sentence-transformers"
            )
        names.append(name)
    source, target = names
    if source not in widths or (source, target) == (TOKENS, TEXT):
        raise UnsupportedModelError(
            f"{path} reads or writes {target} before texts are pooled: use sentence-transformers"
        )
    if source != target:
        raise UnsupportedModelError(f"{path} writes {target} from {source}: use sentence-transformers for this model")
    return source, target


def _dense(files: ModelFiles, folder: Path, widths: dict[Feature, int]) -> Step:
    path, config = folder / "config.json", _settings(files, folder, "Dense")
    source, target = _features(config, path, widths)
    named = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    activation = str(named).rpartition(".")[2]
    if not str(named).startswith("torch.nn.") or activation not in ACTIVATIONS:
        raise UnsupportedModelError(
            f"{path} asks for an activation_function that medembed does not know; it knows torch.nn's {', '.join(ACTIVATIONS)}"
        )
    weights = files.weights(folder).read()
    has_bias = config.get("bias", True) is not False
    residual: Floats | bool = config.get("use_residual") is True
    out = weights["linear.weight"].shape[0] if "linear.weight" in weights and weights["linear.weight"].ndim else 0
    shape = (out, widths[source])
    expected: dict[str, tuple[int, ...]] = {"linear.weight": shape}
    expected |= {"linear.bias": shape[:1]} if has_bias else {}
    expected |= {"residual.weight": shape} if residual and out != widths[source] else {}
    _fit(weights, expected, folder)
    for key, is_now in (("out_features", out), ("in_features", widths[source])):
        if config.get(key, is_now) != is_now:
            raise BadWeightsError(f"{path}: {key} is not the weights' {is_now}: they do not belong together")
    widths[target] = out
    bias = weights["linear.bias"] if has_bias else None
    return Dense(weights["linear.weight"], bias, activation, weights.get("residual.weight", residual), source, target)


def _layer_norm(files: ModelFiles, folder: Path, widths: dict[Feature, int]) -> Step:
    path, config = folder / "config.json", _settings(files, folder, "LayerNorm")
    if TEXT not in widths:
        raise UnsupportedModelError(f"{path} norms {TEXT} before texts are pooled: use sentence-transformers")
    weights = files.weights(folder).read()
    shape = (widths[TEXT],)
    _fit(weights, {"norm.weight": shape, "norm.bias": shape}, folder)
    if config.get("dimension", widths[TEXT]) != widths[TEXT]:
        raise BadWeightsError(f"{path}: dimension is not the weights' {widths[TEXT]}: they do not belong together")
    return LayerNorm(weights["norm.weight"], weights["norm.bias"])


def _unit(files: ModelFiles, folder: Path, widths: dict[Feature, int]) -> Step | None:
    config = _settings(files, folder, "Normalize")
    if config.get("module_input_name", TEXT) not in widths:
        return None  # sentence-transformers passes over what is not there yet
    return Unit(*_features(config, folder / "config.json", widths))


def _dropout(files: ModelFiles, folder: Path, widths: dict[Feature, int]) -> Step | None:
    del widths
    _settings(files, folder, "Dropout")
    return None


def _fit(weights: dict[str, NDArray[Any]], expected: dict[str, tuple[int, ...]], folder: Path) -> None:
    for name, shape in expected.items():
        if name not in weights:
            raise BadWeightsError(
                f"{folder} lacks weight {name!r}, which its config.json calls for: download the model again"
            )
        if weights[name].shape != shape or 0 in shape:
            raise BadWeightsError(
                f"{folder}: weight {name!r} has shape {weights[name].shape}, and {shape} was expected: they do not belong together"
            )


_READERS: dict[str, Any] = {
    "Pooling": _pool,
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Normalize": _unit,
    "Dropout": _dropout,
}
KINDS = tuple(_READERS)


def width_after(steps: Sequence[Step], width: int) -> int:
    """Length of a vector after the steps.

    Args:
        steps: From :func:`read_steps`.
        width: Length of a token's state.

    Returns:
        The length.
    """
    for step in steps:
        if isinstance(step, Pool):
            width *= len(step.modes)
        elif isinstance(step, Dense):
            width = step.weight.shape[0]
        elif isinstance(step, Cut):
            width = step.dimension
    return width
