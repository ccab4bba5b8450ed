"""Token vectors in few bytes: the nearest centroid's number, and what is left of each dimension in 2, 4 or 8 bits.

ColBERTv2's compression (Santhanam et al. 2022, https://arxiv.org/abs/2112.01488, section 3.3), with steps chosen for the
smallest error instead of at quantiles. 128 dimensions take 34, 66 or 130 bytes instead of 512.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.colbert.centroids import find_centroids, nearest
from medembed.errors import CorruptFileError, SettingError, VectorError

Floats = NDArray[np.float32]
Bits = Literal[2, 4, 8]

# a centroid's number; more than 65,536 centroids pay from about 100 million tokens on
CODE_BYTES, MOST_CENTROIDS = 2, 1 << 16
# tokens quantised at a time: their float remainder stays within 8 MB at 128 dimensions
CHUNK = 16_384
LLOYD_PASSES = 20


@dataclass(frozen=True)
class Packed:
    """Compressed token vectors.

    Attributes:
        codes: Number of each token's centroid. uint16, *Shape:* ``(tokens,)``.
        remainders: Steps of each dimension, the first in the highest bits. uint8, *Shape:* ``(tokens, dim · bits / 8)``.
    """

    codes: NDArray[np.uint16]
    remainders: NDArray[np.uint8]

    def __len__(self) -> int:
        """Tokens."""
        return len(self.codes)

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return self.codes.nbytes + self.remainders.nbytes


@dataclass(frozen=True)
class ResidualCodec:
    """Compresses the token vectors of one model.

    Attributes:
        centroids: Unit vectors. float32, *Shape:* ``(count, dim)``.
        cutoffs: Where the steps of a remainder end, ascending. float32, *Shape:* ``(2 ** bits - 1,)``.
        values: What each step stands for. float32, *Shape:* ``(2 ** bits,)``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> tokens = vectors.normalise(rng.normal(size=(500, 16)).astype(np.float32))
        >>> codec = train_codec(tokens, bits=4, n_centroids=16)
        >>> packed = codec.compress(tokens)
        >>> packed.nbytes / len(packed), bool((codec.restore(packed) * tokens).sum(axis=1).mean() > 0.98)
        (10.0, True)
    """

    centroids: Floats
    cutoffs: Floats
    values: Floats

    @property
    def bits(self) -> int:
        """Bits a dimension's remainder takes."""
        return len(self.values).bit_length() - 1

    @property
    def bytes_a_token(self) -> int:
        """Bytes a compressed token takes, its centroid's number included."""
        return CODE_BYTES + int(self.centroids.shape[1]) * self.bits // 8

    def compress(self, tokens: Floats) -> Packed:
        """Compress token vectors.

        Args:
            tokens: Vectors of unit length. *Shape:* ``(tokens, dim)``.

        Returns:
            The same in few bytes.

        Raises:
            VectorError: Another dimension than the codec's.
        """
        if tokens.ndim != 2 or tokens.shape[1] != self.centroids.shape[1]:
            raise VectorError(
                f"token vectors have shape {tokens.shape}, but this codec was made for (tokens, {self.centroids.shape[1]}): use one model"
            )
        codes = nearest(tokens, self.centroids)
        out = np.empty((len(tokens), self.bytes_a_token - CODE_BYTES), dtype=np.uint8)
        for start in range(0, len(tokens), CHUNK):
            part = slice(start, start + CHUNK)
            rest = tokens[part] - self.centroids[codes[part]]
            # a comparison a cutoff beats a search where there are three of them
            steps = (
                sum((rest > cutoff).view(np.uint8) for cutoff in self.cutoffs)
                if self.bits == 2
                else np.searchsorted(self.cutoffs, rest).astype(np.uint8)
            )
            out[part] = _pack(steps, self.bits)
        return Packed(codes.astype(np.uint16), out)

    def restore(self, packed: Packed) -> Floats:
        """Token vectors again, of unit length. float32, *Shape:* ``(tokens, dim)``."""
        table = self.values[_unpack(np.arange(256, dtype=np.uint8)[:, None], self.bits)]  # (256, dimensions a byte)
        rest = table[packed.remainders].reshape(len(packed), self.centroids.shape[1])
        rest += self.centroids[packed.codes]
        return vectors.normalise(rest)

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        from safetensors.numpy import save_file

        save_file({"centroids": self.centroids, "cutoffs": self.cutoffs, "values": self.values}, path)

    @classmethod
    def load(cls, path: Path) -> "ResidualCodec":
        """Read what :meth:`save` wrote.

        Raises:
            CorruptFileError: Not such a file.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            stored = load_file(path)
            return cls(stored["centroids"], stored["cutoffs"], stored["values"])
        except (SafetensorError, KeyError, OSError) as error:
            raise CorruptFileError(
                f"{path} is not a codec of token vectors ({error}): build the index again"
            ) from error


def train_codec(tokens: Floats, *, bits: Bits = 2, n_centroids: int, seed: int = 0) -> ResidualCodec:
    """Make a codec from a sample of the vectors it will compress.

    Args:
        tokens: Document tokens of unit length, at least ten a centroid. *Shape:* ``(tokens, dim)``.
        bits: Bits a dimension: 2, 4 or 8.
        n_centroids: Centroids; more of them leave smaller remainders and cost time to find.
        seed: Chooses the first centroids.

    Returns:
        The codec.

    Raises:
        SettingError: Other bits, a dimension that does not fill bytes, or more than 65,536 centroids.
        VectorError: Fewer tokens than centroids.
    """
    if bits not in get_args(Bits):
        raise SettingError(f"bits={bits!r}: choose 2, 4 or 8")
    if tokens.shape[1] * bits % 8:
        raise SettingError(f"{tokens.shape[1]} dimensions of {bits} bits do not fill whole bytes: use bits=8")
    if n_centroids > MOST_CENTROIDS:
        raise SettingError(f"n_centroids={n_centroids}: at most {MOST_CENTROIDS} fit two bytes")
    centroids = find_centroids(tokens, n_centroids, seed=seed)
    some = tokens[np.random.default_rng(seed).permutation(len(tokens))[:CHUNK]]
    rest = (some - centroids[nearest(some, centroids)]).ravel()
    return ResidualCodec(centroids, *_steps(rest, 2**bits))


def _steps(rest: Floats, count: int) -> tuple[Floats, Floats]:
    """Cutoffs and values of the steps that leave the smallest squared error (Lloyd 1982, Max 1960), begun at quantiles."""
    values = np.quantile(rest, (np.arange(count) + 0.5) / count)
    for _ in range(LLOYD_PASSES):
        cutoffs = (values[1:] + values[:-1]) / 2
        owners = np.searchsorted(cutoffs, rest)
        counts, sums = np.bincount(owners, minlength=count), np.bincount(owners, rest, minlength=count)
        values = np.where(counts > 0, sums / np.maximum(counts, 1), values)
    return ((values[1:] + values[:-1]) / 2).astype(np.float32), values.astype(np.float32)


def _pack(steps: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Steps → bytes: (tokens, dim) → (tokens, dim · bits / 8)."""
    grouped = steps.reshape(len(steps), -1, 8 // bits)
    out = np.zeros(grouped.shape[:2], dtype=np.uint8)
    for place in range(8 // bits):
        out |= grouped[:, :, place] << np.uint8(8 - bits * (place + 1))
    return out


def _unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Bytes → steps: (tokens, bytes) → (tokens, bytes · 8 / bits)."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    steps = (packed[:, :, None] >> shifts) & np.uint8(2**bits - 1)
    return steps.reshape(len(packed), -1)
