"""Weights on disk ↔ arrays in memory: safetensors whole, in shards, or in medembed's compact form.

The compact form stores embedding tables as int8 with one float16 scale per 32 columns (``name`` and ``name.scale``) and
everything else as float16. Measured on MiniLM and medical passages against float32: groups of 32 keep a mean cosine of
0.99998, one scale per row 0.9998, and int8 for the layers too 0.9998. It saves disk, not compute: arrays are restored to
float32 on reading.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.errors import BadWeightsError, CorruptFileError, MissingFileError, UnsafeWeightsError

# directions for vectors of fewer dimensions: medembed.checkpoints.shortening
SHORT_VECTORS = "short_vectors.safetensors"
# beside the weights, the files that change what a vector is
MEANING = (
    "config.json",
    "tokenizer.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    SHORT_VECTORS,
)
# the same of late-interaction models: projections, skip lists and token pooling in folders of their own
MEANING_PATTERNS = (
    "artifact.metadata",
    "*_Dense/*",
    "*_MultiVectorMask/config.json",
    "*_HierarchicalTokenPooling/config.json",
)
Tensors = dict[str, NDArray[Any]]

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.ckpt")
SCALE = ".scale"
INT8_PEAK = 127.0
GROUP = 32


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a model's weights, in reading order.

    Args:
        folder: A model folder.

    Returns:
        One file, or the shards that the index names.

    Raises:
        UnsafeWeightsError: Only pickled weights are there.
        MissingFileError: No weights, or a shard is absent.
        CorruptFileError: The index is not what it should be.
    """
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if (folder / INDEX).is_file():
        return _shards(folder)
    pickles = [name for name in PICKLES if (folder / name).exists()]
    if pickles:
        raise UnsafeWeightsError(
            f"{folder} has its weights only as a pickle ({pickles[0]}), which can run code when loaded; medembed reads safetensors only. "
            'Convert it once where you trust it: python -c "from transformers import AutoModel as M; '
            "M.from_pretrained('SOURCE').save_pretrained('TARGET')\""
        )
    raise MissingFileError(f"{folder} has no weights: expected {WHOLE} (or {INDEX} with its shards)")


def _shards(folder: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CorruptFileError(
            f"{folder / INDEX} is not a safetensors index ({error}): download the model again"
        ) from error
    # a name with a folder in it could reach outside the model
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise MissingFileError(
            f"{folder} lacks {len(missing)} of {len(names)} weight shards, first {missing[0]!r}: download the model again"
        )
    return [folder / name for name in names]


def read_tensors(folder: Path) -> Tensors:
    """Read a model's weights as float32 arrays.

    Args:
        folder: A model folder.

    Returns:
        Name → array. Floating tensors come as float32; the compact form is restored; integer buffers are left out.

    Raises:
        CheckpointError: Weights that are missing, pickled, truncated or not finite.
    """
    stored: Tensors = {}
    for path in weight_files(folder):
        stored |= read_file(path)
    return {name: _restored(name, stored) for name in stored if _is_weight(name, stored)}


def read_tensor(folder: Path, name: str) -> NDArray[np.float32]:
    """Read one weight as float32, without the others.

    Args:
        folder: A model folder.
        name: The weight's name.

    Returns:
        The array.

    Raises:
        CheckpointError: No such weight, or weights that are missing, pickled, truncated or not finite.
    """
    for path in weight_files(folder):
        stored = read_file(path, (name, name + SCALE))
        if name in stored:
            return _restored(name, stored)
    raise BadWeightsError(f"{folder} lacks weight {name!r}, which its configuration calls for")


def read_file(path: Path, names: Collection[str] = ()) -> Tensors:
    """Read the tensors of a file as they are stored, bfloat16 as float32.

    Args:
        path: A safetensors file.
        names: Which to read; all of them unless given.

    Raises:
        CorruptFileError: It is not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as opened:
            wanted = [name for name in opened.keys() if not names or name in names]  # noqa: SIM118 - not a dict
            return {name: _as_numpy(opened, name, path) for name in wanted}
    except SafetensorError as error:
        raise CorruptFileError(f"{path} is not a whole safetensors file ({error}): download the model again") from error


def save_file(stored: Tensors, path: Path) -> None:
    """Write a safetensors file; the library gives it 0600, and :func:`medembed.storage.durable.write_folder` what the umask says."""
    from safetensors import numpy as safetensors_numpy

    safetensors_numpy.save_file(stored, path)


def _as_numpy(opened: Any, name: str, path: Path) -> NDArray[Any]:
    if opened.get_slice(name).get_dtype() != "BF16":
        tensor: NDArray[Any] = opened.get_tensor(name)
        return tensor
    # numpy has no bfloat16: it is the upper half of a float32
    raw = _raw_bytes(path, name)
    halves = np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16
    return halves.view(np.float32).reshape(opened.get_slice(name).get_shape())


def _raw_bytes(path: Path, name: str) -> bytes:
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        start, end = json.loads(file.read(header_size))[name]["data_offsets"]
        file.seek(8 + header_size + start)
        return file.read(end - start)


def _is_weight(name: str, stored: Tensors) -> bool:
    if name.endswith(SCALE) and name.removesuffix(SCALE) in stored:
        return False
    return stored[name].dtype.kind == "f" or name + SCALE in stored


def _restored(name: str, stored: Tensors) -> NDArray[np.float32]:
    array = stored[name]
    if name + SCALE in stored:
        scale = stored[name + SCALE].astype(np.float32)
        array = (array.reshape(*scale.shape, -1) * scale[:, :, None]).reshape(array.shape)
    array = np.ascontiguousarray(array, dtype=np.float32)
    # a sum is NaN or infinite when any term is, and needs no mask of the array's size
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(array.sum(dtype=np.float64))
    if not finite:
        raise BadWeightsError(
            f"weight {name!r} holds values that are not finite (NaN or infinity): the checkpoint is damaged"
        )
    return array


def compact(tensors: Mapping[str, NDArray[np.float32]]) -> Tensors:
    """Store embedding tables as int8 in groups of 32 columns, everything else as float16.

    Args:
        tensors: Name → float32 array. Tables whose width is not a multiple of 32 stay float16.

    Returns:
        What ``read_tensors`` restores, ready for ``safetensors.numpy.save_file``.
    """
    out: Tensors = {}
    for name, array in tensors.items():
        if array.ndim != 2 or "embeddings." not in name or array.shape[1] % GROUP:
            out[name] = array.astype(np.float16)
            continue
        groups = array.reshape(len(array), -1, GROUP)
        # the scale is rounded to float16 first, so that the integers are chosen for the scale that will be read back
        scale = np.maximum(np.abs(groups).max(axis=2) / INT8_PEAK, np.finfo(np.float16).smallest_subnormal).astype(
            np.float16
        )
        levels = np.rint(groups / scale.astype(np.float32)[:, :, None])
        out[name] = np.clip(levels, -INT8_PEAK, INT8_PEAK).astype(np.int8).reshape(array.shape)
        out[name + SCALE] = scale
    return out


def plain(weights: Mapping[str, NDArray[Any]]) -> Tensors:
    """Tensors by name without the ``bert.`` that some checkpoints put before each."""
    return {name.removeprefix("bert."): array for name, array in weights.items()}


def fingerprint(folder: Path, head: Path | None = None) -> str:
    """SHA-256 over a model's weights, tokenizer and configuration: the revision of a model that has no commit.

    Args:
        folder: A model folder.
        head: A folder in it with the late interaction that it brings along, if that is meant.

    Returns:
        ``"sha256-"`` and the first twelve hexadecimal digits.
    """
    digest = hashlib.sha256()
    meaning: list[Path] = []
    for place in dict.fromkeys((folder, head or folder)):
        meaning += [place / name for name in MEANING]
        meaning += sorted(path for pattern in MEANING_PATTERNS for path in place.glob(pattern))
    for path in [*weight_files(folder), *meaning]:
        if path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256-{digest.hexdigest()[:12]}"
