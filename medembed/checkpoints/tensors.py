"""Weights on disk ↔ arrays in memory: safetensors whole, in shards, or in medembed's compact form.

The compact form stores embedding tables as int8 with one float16 scale per 32 columns (``name`` and ``name.scale``) and
everything else as float16. Measured on MiniLM and medical passages against float32: groups of 32 keep a mean cosine of
0.99998, one scale per row 0.9998, and int8 for the layers too 0.9998. It saves disk, not compute: arrays are restored to
float32 on reading, but for tables that an engine looks up as they are.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed import border
from medembed.checkpoints import remedies, tensor_files
from medembed.checkpoints.tensor_files import Tensors
from medembed.errors import BadWeightsError, CorruptFileError, MissingFileError, UnsafeWeightsError

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.ckpt")
SCALE = ".scale"
LEAD = "bert."
INT8_PEAK = 127.0
GROUP = 32
# Kept in memory for later compilations and forked children; 256 MB holds the encoders up to BERT-base in half precision.
KEPT_BYTES = 256 << 20


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
            f"Convert it once: {remedies.convert_pickles(folder, pickles[0])}"
        )
    raise MissingFileError(f"{folder} has no weights: expected {WHOLE} (or {INDEX} with its shards)")


def _shards(folder: Path) -> list[Path]:
    index = border.read_json_object(folder / INDEX, error=CorruptFileError)
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CorruptFileError(f"{folder / INDEX} has no weight_map of names to files: download the model again")
    names = sorted(set(places.values()))
    # a name with a folder in it could reach outside the model
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing or not names:
        first = f", first {missing[0]!r}" if missing else ""
        raise MissingFileError(
            f"{folder} lacks {len(missing)} of {len(names)} weight shards{first}: download the model again"
        )
    return [folder / name for name in names]


class Weights:
    """A model's weights, read once, and the same ones whenever they are asked for.

    Engines compile a second way of running long after the first, and forked children start anew. Small weights are kept in the
    form they are stored in; larger ones are read again, and refused where they are not those that were read first.

    Args:
        folder: A model folder.

    Raises:
        CheckpointError: Weights that are missing or pickled; they are not opened yet.
    """

    def __init__(self, folder: Path) -> None:
        """Find the files."""
        self.files = weight_files(folder)
        self._digests: list[str] | None = None
        self._kept: Tensors | None = None

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each file, as it was read."""
        if self._digests is None:
            self._stored()
        return list(self._digests or ())

    def read(self, *, as_stored: Collection[str] = ()) -> Tensors:
        """Read the weights as float32 arrays.

        Args:
            as_stored: Compact tables to leave as they are, by plain name: int8 under their name, and their scale.

        Returns:
            Name → array. Floating tensors come as float32; the compact form is restored; integer buffers are left out.

        Raises:
            CheckpointError: Weights that are truncated, not finite, or not those that were read first.
        """
        stored = self._stored()
        found: Tensors = {}
        for name in (name for name in stored if _is_weight(name, stored)):
            if name + SCALE in stored and name.removeprefix(LEAD) in as_stored:
                _checked_scale(name, stored)
                found |= {name: stored[name], name + SCALE: stored[name + SCALE]}
            else:
                found[name] = _restored(name, stored)
        return found

    @property
    def compact(self) -> bool:
        """Tell whether they are in the compact form, which medembed alone reads."""
        stored = self._stored()
        return any(name + SCALE in stored for name in stored)

    def _stored(self) -> Tensors:
        if self._kept is not None:
            return self._kept
        stored: Tensors = {}
        digests = []
        for path in self.files:
            tensors, digest = _read_file(path)
            stored |= tensors
            digests.append(digest)
        if self._digests not in (None, digests):
            raise CorruptFileError(
                f"the weights in {self.files[0].parent} have changed since this model was loaded from them: load it again"
            )
        self._digests = digests
        if sum(array.nbytes for array in stored.values()) <= KEPT_BYTES:
            self._kept = stored
        return stored


def read_tensors(folder: Path) -> Tensors:
    """Read the weights of a folder as float32 arrays. See :meth:`Weights.read`.

    Args:
        folder: A model folder, or a module's.

    Returns:
        Name → array.

    Raises:
        CheckpointError: Weights that are missing, pickled, truncated or not finite.
    """
    return Weights(folder).read()


def read_file(path: Path) -> Tensors:
    """Read the tensors of a file as they are stored, bfloat16 as float32.

    Args:
        path: A safetensors file.

    Raises:
        MissingFileError: There is no such file.
        CorruptFileError: It is not a whole safetensors file.
    """
    return _read_file(path)[0]


def _read_file(path: Path) -> tuple[Tensors, str]:
    try:
        return tensor_files.read(path)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} is missing: download the model again") from error


def _is_weight(name: str, stored: Tensors) -> bool:
    if name.endswith(SCALE) and name.removesuffix(SCALE) in stored:
        return False
    return stored[name].dtype.kind == "f" or name + SCALE in stored


def _restored(name: str, stored: Tensors) -> NDArray[np.float32]:
    array = stored[name]
    if name + SCALE in stored:
        scale = _checked_scale(name, stored).astype(np.float32)
        array = (array.reshape(*scale.shape, -1) * scale[:, :, None]).reshape(array.shape)
    return _finite(name, np.ascontiguousarray(array, dtype=np.float32))


def _checked_scale(name: str, stored: Tensors) -> NDArray[Any]:
    array, scale = stored[name], stored[name + SCALE]
    if array.ndim != 2 or scale.ndim != 2 or scale.shape[0] != array.shape[0] or not _divides(scale, array):
        raise BadWeightsError(f"weight {name!r} and its scale do not fit: the checkpoint is damaged")
    return _finite(name, scale)


def _finite(name: str, array: NDArray[Any]) -> NDArray[Any]:
    # a sum is NaN or infinite when any term is, and needs no mask of the array's size
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(array.sum(dtype=np.float64))
    if not finite:
        raise BadWeightsError(
            f"weight {name!r} holds values that are not finite (NaN or infinity): the checkpoint is damaged"
        )
    return array


def _divides(scale: NDArray[Any], array: NDArray[Any]) -> bool:
    groups = int(scale.shape[1])
    return groups > 0 and int(array.shape[1]) % groups == 0


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
    return {name.removeprefix(LEAD): array for name, array in weights.items()}
