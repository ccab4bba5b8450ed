"""The options of sentence-transformers' encode: meant alike here, or refused with the line that works."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from medembed.errors import SettingError
from medembed.runtime.tokenizer import Overlong

TENSOR = "vectors come as numpy arrays: torch.from_numpy(model.encode(...)) makes a tensor of them"
WORKERS = "MedEmbed(device=['cuda:0', 'cuda:1']) uses several devices, EmbeddedCorpus several processes"

# option → the values that mean the same here, and the way to what any other value asks for
_HERE: Mapping[str, tuple[Sequence[object], str]] = {
    "output_value": (("sentence_embedding",), "MedColBERT(...).encode_document(...) gives one vector per token"),
    "precision": (("float32", None), "model.quantize(model.encode(...), 'int8') stores vectors in another kind"),
    "convert_to_numpy": ((True,), TENSOR),
    "convert_to_tensor": ((False,), TENSOR),
    "device": ((None,), "choose it once: MedEmbed(..., device='cuda')"),
    "pool": ((None,), WORKERS),
    "chunk_size": ((None,), WORKERS),
}  # fmt: skip

# attribute that sentence-transformers lets a caller set on a model → where it is chosen here
_SET_ONCE: Mapping[str, str] = {
    "prompts": "give each call its own, encode(..., prompt='query: '), or write them into the folder's config_sentence_transformers.json",
    "default_prompt_name": "give each call its own, encode(..., prompt='query: ')",
    "truncate_dim": "choose it once, MedEmbed(..., truncate_dim=128), or by the call, encode(..., truncate_dim=128)",
    "similarity_fn_name": "the folder's config_sentence_transformers.json names it",
    "max_seq_length": "choose it once: MedEmbed(..., max_seq_length=128)",
    "tokenizer": "it is the folder's own",
}  # fmt: skip


@dataclass(frozen=True)
class How:
    """The options of one call to encode.

    Attributes:
        prompt: Text put before each input.
        dimension: Components of a vector; None for the model's own.
        batch_size: Most texts of a batch; None for as many as fit the engine's budget of tokens.
        unit: Whether vectors are scaled to unit length, also where the model leaves theirs as they are.
        overlong: Treatment of texts above the limit; None for the model's own.
    """

    prompt: str = ""
    dimension: int | None = None
    batch_size: int | None = None
    unit: bool = False
    overlong: Overlong | None = None


def check_elsewhere(given: Mapping[str, object]) -> None:
    """Refuse what would change the return type or is chosen elsewhere.

    Args:
        given: Options of sentence-transformers' ``encode`` that have one value here, by name.

    Raises:
        SettingError: Another value; the message says how to get what it asks for.
    """
    for name, value in given.items():
        alike, way = _HERE[name]
        if not any(value is one or (isinstance(value, str) and value == one) for one in alike):
            shown = repr(value) if isinstance(value, str | bool | int | None) else f"<{type(value).__name__}>"
            raise SettingError(f"encode(..., {name}={shown}) is not available here: {way}")


def check_attribute(name: str) -> None:
    """Refuse to set what a model of sentence-transformers has and this one would not read.

    Args:
        name: The attribute.

    Raises:
        SettingError: One of those; the message says where it is chosen.
    """
    if name in _SET_ONCE:
        raise SettingError(f"model.{name} cannot be set on a loaded model: {_SET_ONCE[name]}")


def checked_batch_size(batch_size: int | None) -> int | None:
    """The same batch size.

    Raises:
        SettingError: Not a whole number from 1, or None.
    """
    if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
        raise SettingError(f"batch_size={batch_size!r}: give a whole number from 1, or None for the engine's own")
    return batch_size


def checked_overlong(overlong: Overlong | None) -> Overlong | None:
    """The same treatment of texts above the limit.

    Raises:
        SettingError: None of those there are.
    """
    if overlong is not None and overlong not in get_args(Overlong):
        raise SettingError(f"overlong={overlong!r}: choose one of {', '.join(get_args(Overlong))}")
    return overlong


def prompt_of(prompts: Mapping[str, str], prompt_name: str | None, prompt: str | None, default: str = "") -> str:
    """The text put before each input: the caller's own, else the model's of that name.

    Args:
        prompts: The model's own, by name.
        prompt_name: One of them.
        prompt: The caller's own; it wins over ``prompt_name``, as in sentence-transformers.
        default: What holds where both are None.

    Raises:
        SettingError: An unknown name, or a prompt that is not a ``str``.
    """
    if prompt is not None:
        if not isinstance(prompt, str):
            raise SettingError(
                f"prompt is a {type(prompt).__name__}, not a str: give the text to put before each input"
            )
        return prompt
    if prompt_name is None:
        return default
    if prompt_name not in prompts:
        raise SettingError(f"prompt_name={prompt_name!r}: this model has {', '.join(map(repr, prompts))}")
    return prompts[prompt_name]
