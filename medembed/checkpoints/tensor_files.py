"""One safetensors file ↔ arrays: read whole into memory, so that nothing on disk can change under a running model.

The library maps files into memory. A mapped file that another process overwrites gives other weights than were hashed, and one
that shrinks ends the process (SIGBUS). Here the bytes are read once, and the arrays are views of them.
"""

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed import border
from medembed.errors import CorruptFileError

Tensors = dict[str, NDArray[Any]]

# the format's own limit for its header is 100 MB; 100,000 tensors need 15 MB
MOST_HEADER_BYTES = 32 << 20
DTYPES: Mapping[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
}  # fmt: skip


def read(path: Path) -> tuple[Tensors, str]:
    """Read the tensors of a safetensors file as they are stored, bfloat16 as float32.

    Args:
        path: The file.

    Returns:
        Name → array, and the SHA-256 of the bytes that the arrays were made from.

    Raises:
        FileNotFoundError: There is no such file.
        CorruptFileError: Not a whole safetensors file, or larger than this machine's memory.
    """
    content = border.read_buffer(path, most=_memory(), error=CorruptFileError)
    digest = hashlib.sha256(content).hexdigest()
    return _parsed(content, path), digest


def write(stored: Tensors, path: Path) -> None:
    """Write a safetensors file.

    The library gives it the mode 0600. ``write_folder`` of ``storage.durable`` then sets what the umask says.

    Args:
        stored: Name → array.
        path: The file.
    """
    from safetensors import numpy as safetensors_numpy

    safetensors_numpy.save_file(stored, path)


def _memory() -> int:
    """Bytes of this machine's memory: a larger file cannot be read, whatever it holds."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 1 << 40


def _parsed(content: bytearray, path: Path) -> Tensors:
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(MOST_HEADER_BYTES, len(content) - 8):
        raise _not_whole(path, "its header is cut off")
    header = border.parse_json(bytes(content[8 : 8 + size]), source=f"the header of {path}", error=CorruptFileError)
    if not isinstance(header, dict):
        raise _not_whole(path, "its header holds no object")
    body = memoryview(content)[8 + size :]
    entries = {name: _entry(told, path) for name, told in header.items() if name != "__metadata__"}
    end = 0
    for _, _, start, stop in sorted(entries.values(), key=lambda entry: entry[2:]):
        if start != end:
            raise _not_whole(path, "its tensors overlap or leave gaps")
        end = stop
    if end != len(body):
        raise _not_whole(path, f"its tensors take {end:,} bytes and it holds {len(body):,}")
    return {name: _array(body[start:stop], kind, shape) for name, (kind, shape, start, stop) in entries.items()}


def _entry(told: object, path: Path) -> tuple[str, tuple[int, ...], int, int]:
    """A tensor's dtype, shape and place, checked against one another."""
    if not isinstance(told, dict) or not {"dtype", "shape", "data_offsets"} <= told.keys():
        raise _not_whole(path, "an entry of its header lacks dtype, shape or data_offsets")
    kind, shape, offsets = told["dtype"], told["shape"], told["data_offsets"]
    if not isinstance(kind, str) or kind not in DTYPES:
        raise CorruptFileError(
            f"{path} holds numbers of a kind that medembed does not read (it reads {', '.join(DTYPES)}): save the model as float32"
        )
    if not _whole_numbers(shape) or not _whole_numbers(offsets) or len(offsets) != 2:
        raise _not_whole(path, "a shape or an offset is not a whole number")
    start, stop = offsets
    if stop - start != math.prod(shape) * np.dtype(DTYPES[kind]).itemsize:
        raise _not_whole(path, "the size of a tensor does not fit its shape")
    return kind, tuple(shape), start, stop


def _whole_numbers(value: object) -> bool:
    return isinstance(value, list) and len(value) <= 8 and all(type(item) is int and item >= 0 for item in value)


def _array(data: memoryview, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.frombuffer(data, dtype=DTYPES[kind])
    if kind == "BF16":  # numpy has no bfloat16: it is the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)


def _not_whole(path: Path, why: str) -> CorruptFileError:
    return CorruptFileError(f"{path} is not a whole safetensors file ({why}): download the model again")
