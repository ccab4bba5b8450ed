"""A transformers encoder with a checkpoint's weights, held against their shapes before anything of its size is made."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from medembed.checkpoints.checkpoint import Checkpoint
from medembed.errors import BadWeightsError, CorruptFileError, UnsupportedModelError
from medembed.extras import require

# where sentence-transformers takes the encoder alone of a model that also decodes: model type → module, class
ENCODERS: Mapping[str, tuple[str, str]] = {
    "t5": ("transformers", "T5EncoderModel"),
    "mt5": ("transformers", "MT5EncoderModel"),
    "umt5": ("transformers", "UMT5EncoderModel"),
    "longt5": ("transformers", "LongT5EncoderModel"),
    "switch_transformers": ("transformers", "SwitchTransformersEncoderModel"),
    "prophetnet": ("transformers", "ProphetNetEncoder"),
    "blenderbot": ("transformers.models.blenderbot.modeling_blenderbot", "BlenderbotEncoder"),
    "blenderbot-small": ("transformers.models.blenderbot_small.modeling_blenderbot_small", "BlenderbotSmallEncoder"),
    "m2m_100": ("transformers.models.m2m_100.modeling_m2m_100", "M2M100Encoder"),
    "pegasus": ("transformers.models.pegasus.modeling_pegasus", "PegasusEncoder"),
    "pegasus_x": ("transformers.models.pegasus_x.modeling_pegasus_x", "PegasusXEncoder"),
    "marian": ("transformers.models.marian.modeling_marian", "MarianEncoder"),
}
# Parts of a model that no state of a token passes through, and tables that are computed and not learnt.
UNUSED = ("pooler", "position_ids", "token_type_ids", "classifier", "lm_head", "cls.", "rotary")
# Numbers in config.json above this must be sizes of a weight: the largest that transformers' encoders compute with is 1e6.
FREE_NUMBER = 1_000_000
MOST_LAYERS = 1024
# A model may have parts that the checkpoint lacks, a pooler for instance; never more than the checkpoint holds and this.
SPARE_PARAMETERS = 50_000_000


def load(checkpoint: Checkpoint) -> Any:
    """Make the encoder. Code from the model's repository is never run.

    Args:
        checkpoint: The model.

    Returns:
        A transformers model on the CPU, in float32.

    Raises:
        UnsupportedModelError: An architecture that transformers does not ship.
        CorruptFileError: Numbers in ``config.json`` that no weight bears out.
        BadWeightsError: Weights that do not fit ``config.json``.
    """
    torch = require("torch")
    weights = checkpoint.files.weights().read()
    _check_numbers(checkpoint, weights)
    config, kind = _config(checkpoint)
    _check_size(checkpoint, torch, config, kind, sum(array.size for array in weights.values()))
    state = {name: torch.from_numpy(array) for name, array in weights.items()}
    del weights
    try:
        with quiet():
            model, report = kind.from_pretrained(
                None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
            )
    except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BadWeightsError(
            f"{checkpoint.folder}: weights and config.json do not belong together ({type(error).__name__}): download the model again"
        ) from error
    _check_report(checkpoint, report)
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing a progress bar and a table of the weights that no vector needs."""
    log = require("transformers").utils.logging
    level, shows = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if shows:
            log.enable_progress_bar()


def _config(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """The configuration as transformers reads it, and the class that makes the encoder."""
    transformers = require("transformers")
    named = str(checkpoint.config.get("model_type"))
    kinds = transformers.CONFIG_MAPPING
    try:
        config = kinds[named].from_dict(dict(checkpoint.config))
        if named in ENCODERS:
            module, name = ENCODERS[named]
            return config, getattr(importlib.import_module(module), name)
        return config, transformers.MODEL_MAPPING[type(config)]
    except (KeyError, ValueError, ImportError) as error:
        if named in kinds.keys():  # noqa: SIM118 - the mapping's own list of names
            raise _refused(checkpoint, error) from error
        raise UnsupportedModelError(
            f"{checkpoint.spec.name} is a {named[:40]!r} model, which transformers {transformers.__version__} does not run without code "
            "from the model's repository; medembed never runs such code"
        ) from error
    except Exception as error:  # a configuration's own checks raise what they like
        raise _refused(checkpoint, error) from error


def _refused(checkpoint: Checkpoint, error: Exception) -> CorruptFileError:
    return CorruptFileError(
        f"transformers {require('transformers').__version__} refuses config.json of {checkpoint.spec.name} ({type(error).__name__}): "
        "download the model again"
    )


def _check_numbers(checkpoint: Checkpoint, weights: Mapping[str, Any]) -> None:
    """Refuse layers and sizes that no weight bears out: building them would take all memory."""
    sizes = {size for array in weights.values() for size in array.shape}
    for key, value in _numbers(checkpoint.config):
        is_count = "layers" in key or key in ("n_layer", "depth")
        most = MOST_LAYERS if is_count else max(FREE_NUMBER, *sizes, 0)
        if abs(value) > most:
            raise CorruptFileError(
                f"config.json of {checkpoint.spec.name} says {key} = {value:.4g}, and its weights bear out {most:,} at most: "
                "download the model again"
            )


def _numbers(value: object, key: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, str(name)[:60])
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key)
    elif type(value) is int:
        yield key, float(value) if abs(value) < 10**300 else float("inf")


def _check_size(checkpoint: Checkpoint, torch: Any, config: Any, kind: Any, parameters: int) -> None:
    """Build the model without memory first, and refuse one that is far larger than the weights."""
    try:
        with torch.device("meta"):
            empty = kind(config)
    except Exception as error:  # whatever a model's constructor raises over numbers that do not fit
        raise CorruptFileError(
            f"transformers cannot build {checkpoint.spec.name} from its config.json ({type(error).__name__}): download the model again"
        ) from error
    needed = sum(parameter.numel() for parameter in empty.parameters())
    if needed > 2 * parameters + SPARE_PARAMETERS:
        raise BadWeightsError(
            f"{checkpoint.folder}: config.json calls for {needed:,} weights, and {parameters:,} are there: they do not belong together"
        )


def _check_report(checkpoint: Checkpoint, report: Mapping[str, Any]) -> None:
    missing = sorted(name for name in report["missing_keys"] if not any(part in name for part in UNUSED))
    if missing:
        raise BadWeightsError(
            f"{checkpoint.folder} lacks {len(missing)} weights that its config.json calls for, first {missing[0]!r}"
        )
    if mismatched := report.get("mismatched_keys"):
        raise BadWeightsError(
            f"{checkpoint.folder}: weights and config.json do not belong together (shapes differ, {len(mismatched)} of them)"
        )
