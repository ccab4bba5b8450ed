"""Token vectors in few bytes.

They hold the nearest centroid's number, and what is left in 2, 4 or 8 bits per dimension.

ColBERTv2's compression (Santhanam et al. 2022, https://arxiv.org/abs/2112.01488, section 3.3) with another code for what is left:
not bits for each dimension apart but a byte for four, two or one of them. 128 dimensions take 34, 66 or 130 bytes instead of 512.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.colbert import codebooks
from medembed.colbert.centroids import find_centroids, nearest
from medembed.errors import CorruptFileError, SettingError, VectorError

Floats = NDArray[np.float32]
Bits = Literal[2, 4, 8]

# a centroid's number; more than 65,536 centroids pay from about 100 million tokens on
CODE_BYTES, MOST_CENTROIDS = 2, 1 << 16
# tokens compressed at a time: what is left of them stays within 8 MB at 128 dimensions
CHUNK = 16_384
# tokens that the points of the bytes are found from: 128 for each point
SAMPLE = 32_768


@dataclass(frozen=True)
class Packed:
    """Compressed token vectors.

    Attributes:
        codes: Number of each token's centroid. uint16, *Shape:* ``(tokens,)``.
        remainders: What is left of each, a byte for every ``8 / bits`` coordinates. uint8, *Shape:* ``(tokens, dim · bits / 8)``.
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
    """A codec for the token vectors of one model.

    It computes in coordinates of its own, in which what is left is easier to encode. Turning keeps dot products, so a query turned by
    :meth:`turned` is compared with :meth:`coordinates`, and tokens need never be turned back.

    Attributes:
        basis: Its directions, orthonormal, one per column. float32, *Shape:* ``(dim, dim)``.
        centroids: Unit vectors, in its coordinates. float32, *Shape:* ``(count, dim)``.
        points: What each byte stands for, in its coordinates. float32, *Shape:* ``(dim · bits / 8, 256, 8 / bits)``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> tokens = vectors.normalize(rng.normal(size=(500, 16)).astype(np.float32))
        >>> codec = train_codec(tokens, bits=4, n_centroids=16)
        >>> packed = codec.compress(tokens)
        >>> packed.nbytes / len(packed), bool((codec.restore(packed) * tokens).sum(axis=1).mean() > 0.98)
        (10.0, True)
    """

    basis: Floats
    centroids: Floats
    points: Floats

    @property
    def bits(self) -> int:
        """Bits a dimension's remainder takes."""
        return 8 // int(self.points.shape[2])

    @property
    def bytes_a_token(self) -> int:
        """Bytes a compressed token takes, its centroid's number included."""
        return CODE_BYTES + len(self.points)

    def turned(self, tokens: Floats) -> Floats:
        """Vectors in the codec's coordinates.

        Args:
            tokens: *Shape:* ``(tokens, dim)``.

        Raises:
            VectorError: Another dimension than the codec's.
        """
        if tokens.ndim != 2 or tokens.shape[1] != len(self.basis):
            raise VectorError(
                f"token vectors have shape {tokens.shape}, but this codec was made for (tokens, {len(self.basis)}): use one model"
            )
        return tokens @ self.basis

    def compress(self, tokens: Floats) -> Packed:
        """Compress token vectors.

        Args:
            tokens: Vectors of unit length. *Shape:* ``(tokens, dim)``.

        Returns:
            The same in few bytes.

        Raises:
            VectorError: Another dimension than the codec's.
        """
        packed = Packed(np.empty(len(tokens), np.uint16), np.empty((len(tokens), len(self.points)), np.uint8))
        for start in range(0, max(1, len(tokens)), CHUNK):
            part = slice(start, start + CHUNK)
            rest = self.turned(tokens[part])
            codes = nearest(rest, self.centroids)
            rest -= self.centroids[codes]
            packed.codes[part], packed.remainders[part] = codes, codebooks.encode(rest, self.points)
        return packed

    def coordinates(self, packed: Packed) -> Floats:
        """Token vectors again, of unit length, in the codec's coordinates. float32, *Shape:* ``(tokens, dim)``."""
        found = codebooks.decode(packed.remainders, self.points)
        found += self.centroids[packed.codes]
        return vectors.normalize(found)

    def restore(self, packed: Packed) -> Floats:
        """Token vectors again, of unit length, as they were. float32, *Shape:* ``(tokens, dim)``."""
        return self.coordinates(packed) @ self.basis.T

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        from safetensors.numpy import save_file

        save_file({"basis": self.basis, "centroids": self.centroids, "points": self.points}, path)

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
            return cls(stored["basis"], stored["centroids"], stored["points"])
        except (SafetensorError, KeyError, OSError) as error:
            raise CorruptFileError(
                f"{path} is not a codec of token vectors ({error}): build the index again"
            ) from error


def train_codec(tokens: Floats, *, bits: Bits = 2, n_centroids: int, seed: int = 0) -> ResidualCodec:
    """Make a codec from a sample of the vectors it will compress.

    Args:
        tokens: Document tokens of unit length, at least ten per centroid. *Shape:* ``(tokens, dim)``.
        bits: Bits per dimension: 2, 4 or 8.
        n_centroids: Centroids; more of them leave smaller remainders and cost time to find.
        seed: Chooses the first centroids, and the tokens that the points are found from.

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
    width = 8 // bits
    centroids = find_centroids(tokens, n_centroids, seed=seed)
    some = tokens[np.random.default_rng(seed).permutation(len(tokens))[:SAMPLE]]
    rest: Floats = some - centroids[nearest(some, centroids)]
    basis = codebooks.learn_basis(rest, width)
    return ResidualCodec(basis, centroids @ basis, codebooks.learn_points(rest @ basis, width))
