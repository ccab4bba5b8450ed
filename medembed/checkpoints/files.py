"""The files of a model folder, each read once: what a model is described by, runs on and is named after are the same bytes."""

import hashlib
from pathlib import Path
from typing import Any

from medembed import border
from medembed.checkpoints.tensors import Weights
from medembed.errors import CorruptFileError

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


class ModelFiles:
    """Files of one model folder, kept as they were first read.

    Args:
        folder: A model folder.

    Attributes:
        folder: The same.
        encoder: Where the encoder's own files are: ``folder``, or a folder in it that ``modules.json`` names.
    """

    def __init__(self, folder: Path) -> None:
        """Read nothing yet."""
        self.folder = self.encoder = folder
        self._contents: dict[Path, bytes | None] = {}
        self._parsed: dict[Path, object] = {}
        self._weights: dict[Path, Weights] = {}

    def read(self, path: Path) -> bytes | None:
        """The bytes of a small file. None where there is no such file.

        Raises:
            CorruptFileError: Not a regular file, or larger than any settings are.
        """
        if path not in self._contents:
            try:
                self._contents[path] = border.read_bytes(path, most=border.MOST_JSON_BYTES, error=_again)
            except FileNotFoundError:
                self._contents[path] = None
        return self._contents[path]

    def parsed(self, path: Path) -> object:
        """The value in a JSON file. None where there is no such file. Read only: it is kept.

        Raises:
            CorruptFileError: Not a regular file, or not JSON within the bounds.
        """
        if path not in self._parsed:
            content = self.read(path)
            self._parsed[path] = None if content is None else border.parse_json(content, source=str(path), error=_again)
        return self._parsed[path]

    def json(self, path: Path) -> dict[str, Any]:
        """The object in a JSON file. Empty where there is no such file. Read only: it is kept.

        Raises:
            CorruptFileError: As for :meth:`parsed`, or another kind of value.
        """
        value = self.parsed(path)
        if value is None and self.read(path) is None:
            return {}
        if not isinstance(value, dict):
            kind = "null" if value is None else type(value).__name__
            raise _again(f"{path} holds a JSON {kind}; an object was expected")
        return value

    def weights(self, folder: Path | None = None) -> Weights:
        """The weights of the model, or of a module's folder in it.

        Raises:
            CheckpointError: They are missing or pickled.
        """
        place = self.encoder if folder is None else folder
        if place not in self._weights:
            self._weights[place] = Weights(place)
        return self._weights[place]

    def fingerprint(self, head: Path | None = None, extra: tuple[Path, ...] = (), remark: str = "") -> str:
        """SHA-256 over a model's weights, tokenizer and configuration: the revision of a model that has no commit.

        Args:
            head: A folder in it with the late interaction that it brings along, if that is meant.
            extra: Files beyond the usual ones that change what a vector is.
            remark: What else does, in words.

        Returns:
            ``"sha256-"`` and the first twelve hexadecimal digits.

        Raises:
            CheckpointError: Weights that are missing, pickled or truncated.
        """
        digest = hashlib.sha256()
        weights = self.weights()
        for path, found in zip(weights.files, weights.digests, strict=True):
            digest.update(path.name.encode())
            digest.update(bytes.fromhex(found))
        meaning: list[Path] = []
        for place in dict.fromkeys((self.folder, self.encoder, head or self.folder)):
            meaning += [place / name for name in MEANING]
            meaning += sorted(path for pattern in MEANING_PATTERNS for path in place.glob(pattern))
        for path in dict.fromkeys((*meaning, *extra)):
            content = self._digest(path)
            if content is not None:
                digest.update(path.name.encode())
                digest.update(content)
        digest.update(remark.encode())
        return f"sha256-{digest.hexdigest()[:12]}"

    def _digest(self, path: Path) -> bytes | None:
        if path.suffix == ".safetensors" and path.is_file():
            if path.parent != self.folder:
                return bytes.fromhex(self.weights(path.parent).digests[0])
            return hashlib.sha256(border.read_buffer(path, most=border.MOST_JSON_BYTES, error=_again)).digest()
        content = None if path.is_dir() else self.read(path)
        return None if content is None else hashlib.sha256(content).digest()


def _again(words: str) -> CorruptFileError:
    return CorruptFileError(f"{words}: download the model again")
