"""BERT in bf16 on CPUs with AMX. medembed takes it by itself where it is installed and runs."""

import ctypes
import platform
import weakref
from collections.abc import Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# raised when a caller of the version before could no longer use what is here
INTERFACE = 1
# what the file of this instruction set was compiled for
INSTRUCTIONS = ("fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "amx_tile", "amx_bf16")
# a head is one or two panels of 32 columns
PANEL, HEAD_SIZES = 32, (32, 64)
POOLING = {None: 0, "mean": 1, "cls": 2}
STATUS = {
    1: "memory ran out",
    2: "a text without tokens, longer than the model reads, or with ids that it does not know",
}

_Floats, _Ints = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int32)


class KernelError(RuntimeError):
    """A call that the kernels could not carry out."""


def missing() -> str | None:
    """Tell why nothing here runs on this machine.

    Asking gives the process the registers of AMX.

    Returns:
        The reason, or None where the kernels run.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "they are for Linux on x86-64"
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    lacking = [name for name in INSTRUCTIONS if name not in flags]
    if lacking:
        return f"this CPU lacks {', '.join(lacking)}"
    if _library().medembed_permit() != 0:
        return "the system does not give this process the registers of AMX"
    return None


def fits(*, hidden: int, heads: int, inner: int) -> bool:
    """Tell whether matrices of these widths are whole panels.

    Args:
        hidden: Width of a token's state.
        heads: Heads of attention.
        inner: Width inside of a layer.
    """
    return hidden % heads == 0 and hidden // heads in HEAD_SIZES and hidden % PANEL == 0 and inner % PANEL == 0


class Workspace:
    """The memory that one call at a time works in. It grows with the largest batch."""

    def __init__(self) -> None:
        """Nothing is reserved yet."""
        library = _library()
        self.handle = library.medembed_work()
        if not self.handle:
            raise MemoryError("no memory for the kernels: use a machine with more")
        weakref.finalize(self, library.medembed_work_free, self.handle)


class Bert:
    """A BERT with absolute positions and GELU, its matrices packed as bf16.

    Args:
        weights: float32 by plain name, as ``encoder.layer.0.output.dense.weight``. Other arrays are left alone.
        hidden: Width of a token's state.
        heads: Heads of attention.
        layers: Layers.
        inner: Width inside of a layer.
        epsilon: Added to variances.

    Raises:
        ValueError: Widths that ``fits`` refuses.
        MemoryError: The packed matrices found no room.
    """

    def __init__(
        self, weights: Mapping[str, NDArray[Any]], *, hidden: int, heads: int, layers: int, inner: int, epsilon: float
    ) -> None:
        """Pack the matrices. The table of words is used where it lies."""
        if not fits(hidden=hidden, heads=heads, inner=inner):
            raise ValueError(f"hidden={hidden}, heads={heads}, inner={inner}: ask fits() first")
        library = _library()
        self.hidden = hidden
        words = _floats(weights["embeddings.word_embeddings.weight"])
        places = _floats(
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._kept = words, places
        arrays = [words, places, *_pair(weights, "embeddings.LayerNorm")]
        for layer in range(layers):
            arrays += _arrays(weights, f"encoder.layer.{layer}.")
        numbers = np.array([hidden, heads, layers, inner, len(words), len(places)], dtype=np.int32)
        pointers = (_Floats * len(arrays))(*[array.ctypes.data_as(_Floats) for array in arrays])
        self._handle = library.medembed_model(numbers.ctypes.data_as(_Ints), epsilon, pointers)
        if not self._handle:
            raise MemoryError("no memory for the packed matrices: use a smaller model or a machine with more")
        weakref.finalize(self, library.medembed_model_free, self._handle)

    def run(
        self,
        workspace: Workspace,
        ids: Sequence[Sequence[int]],
        *,
        pooling: Literal["mean", "cls"] | None,
        attended: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """Run a batch. The interpreter goes on with other threads meanwhile.

        Args:
            workspace: Used by no other thread until this returns.
            ids: Rows of token ids, of any lengths.
            pooling: ``"mean"``, ``"cls"``, or None for the states of all tokens.
            attended: How many of each row's first tokens are attended to; None for all.

        Returns:
            One vector a row, *Shape:* ``(len(ids), hidden)``, or the states of all rows one after another.

        Raises:
            KernelError: Memory ran out, or rows that the model cannot read.
        """
        lengths = [len(row) for row in ids]
        starts = np.zeros(len(ids) + 1, dtype=np.int32)
        np.cumsum(lengths, out=starts[1:])
        flat = np.fromiter((token for row in ids for token in row), dtype=np.int32, count=int(starts[-1]))
        seen = np.array(lengths if attended is None else attended, dtype=np.int32)
        out = np.empty((len(flat) if pooling is None else len(ids), self.hidden), dtype=np.float32)
        status = _library().medembed_run(
            self._handle,
            workspace.handle,
            *(array.ctypes.data_as(_Ints) for array in (flat, starts, seen)),
            len(ids),
            POOLING[pooling],
            out.ctypes.data_as(_Floats),
        )
        if status:
            raise KernelError(STATUS[status])
        return out


def _arrays(weights: Mapping[str, NDArray[Any]], lead: str) -> list[NDArray[np.float32]]:
    """Arrays of one layer in the order of the library."""
    attention = [_pair(weights, f"{lead}attention.self.{part}") for part in ("query", "key", "value")]
    return [
        *(np.concatenate(parts) for parts in zip(*attention, strict=True)),
        *_pair(weights, f"{lead}attention.output.dense"),
        *_pair(weights, f"{lead}attention.output.LayerNorm"),
        *_pair(weights, f"{lead}intermediate.dense"),
        *_pair(weights, f"{lead}output.dense"),
        *_pair(weights, f"{lead}output.LayerNorm"),
    ]


def _pair(weights: Mapping[str, NDArray[Any]], name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return _floats(weights[f"{name}.weight"]), _floats(weights[f"{name}.bias"])


def _floats(array: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)


_loaded: list[Any] = []


def _library() -> Any:
    """The library of AMX with bf16, loaded when first needed: its code must not run on another CPU."""
    if not _loaded:
        folder = Path(__file__).parent
        file = next(path for suffix in EXTENSION_SUFFIXES if (path := folder / f"amx_bf16{suffix}").exists())
        library = ctypes.CDLL(str(file))
        handle = ctypes.c_void_p
        library.medembed_model.restype, library.medembed_work.restype = handle, handle
        library.medembed_model.argtypes = [_Ints, ctypes.c_float, ctypes.POINTER(_Floats)]
        library.medembed_run.argtypes = [handle, handle, _Ints, _Ints, _Ints, ctypes.c_int32, ctypes.c_int32, _Floats]
        library.medembed_model_free.argtypes = library.medembed_work_free.argtypes = [handle]
        library.medembed_model_free.restype = library.medembed_work_free.restype = None
        _loaded.append(library)
    return _loaded[0]
