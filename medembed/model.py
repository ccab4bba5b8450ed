"""MedEmbed: the public class. Conveniences here; the work is in encoding.py and the engines."""

import asyncio
import os
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args, overload

import numpy as np
from numpy.typing import NDArray

from medembed import progress, vectors
from medembed.checkpoints import checkpoint as checkpoints
from medembed.checkpoints import model_files, shortening
from medembed.checkpoints.registry import BUNDLED, ModelSpec
from medembed.errors import SettingError, VectorError
from medembed.runtime import callers, inputs
from medembed.runtime.encoding import Cut, Encoder, load_tokenizer
from medembed.runtime.engines import Device, PrecisionSetting, load_engine
from medembed.runtime.engines.interface import Engine
from medembed.runtime.head import Head
from medembed.runtime.inputs import PromptKind
from medembed.runtime.lifecycle import ClosedByWith, Lifecycle
from medembed.runtime.microbatch import MicroBatcher
from medembed.runtime.tokenizer import Overlong, TruncationWarning

Floats = NDArray[np.float32]

# texts tokenized and computed at a time: memory stays flat, and sorting by length still finds alike texts
WINDOW = 10_000


class MedEmbed(ClosedByWith):
    """A medical embedding model, ready to encode.

    Args:
        model: ``"mini"`` (bundled, works offline), ``"small"``, ``"base"``, ``"large"``, a hub id, or a local folder.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or a list of CUDA devices.
        precision: Number format of the computation: ``"auto"`` (the fastest that keeps a cosine of 0.9999),
            ``"fp32"``, ``"bf16"``, ``"fp16"`` (GPUs) or ``"int8"`` (CPU; see the guide for its fidelity).
        max_seq_length: Tokens to read of each text; None for the model's own limit.
        truncate_dim: Give vectors of this many dimensions: in the directions the model brings for it, as ``"mini"`` does, or its
            first components, and renormalized; None for all.
        overlong: Texts above the limit: ``"truncate"`` cuts them with a warning, ``"error"`` refuses them, ``"chunk"``
            embeds overlapping windows and averages them into one vector.
        threads: CPU threads; None for one per usable physical core.
        revision: Commit, tag or branch of a hub model; None for the pinned one.
        cache_dir: Where downloads are kept; None for the Hugging Face cache.
        local_files_only: Never use the network.
        engine: An engine to use instead of choosing one, for instance ``FakeEngine()``.

    Raises:
        UnknownModelError: No such name or folder.
        ModelNotCachedError: It would have to be downloaded, which is forbidden or failed.
        CheckpointError: Files are missing, damaged or of a kind that no engine reads; weights that are pickles are refused.
        SettingError: A setting does not fit the model or this machine (``DeviceError``, ``PrecisionError``).
        MissingExtraError: The device or the architecture needs an extra that is not installed.

    Example:
        >>> with MedEmbed(threads=1) as model:
        ...     model.encode(["chest pain", "angina pectoris"]).shape
        (2, 384)
    """

    def __init__(  # noqa: PLR0913 - the class has these settings, all keyword-only
        self,
        model: str | os.PathLike[str] = BUNDLED,
        *,
        device: Device = "auto",
        precision: PrecisionSetting = "auto",
        max_seq_length: int | None = None,
        truncate_dim: int | None = None,
        overlong: Overlong = "truncate",
        threads: int | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        engine: Engine | None = None,
    ) -> None:
        """Find the model, start its engine."""
        if overlong not in get_args(Overlong):
            raise SettingError(f"overlong={overlong!r}: choose one of {', '.join(get_args(Overlong))}")
        self._settings: dict[str, Any] = {
            "model": os.fspath(model), "device": device, "precision": precision, "max_seq_length": max_seq_length,
            "truncate_dim": truncate_dim, "overlong": overlong, "threads": threads, "revision": revision,
            "cache_dir": None if cache_dir is None else os.fspath(cache_dir), "local_files_only": local_files_only, "engine": engine,
        }  # fmt: skip
        self._checkpoint = checkpoints.fetch(
            self._settings["model"],
            revision=revision,
            cache_dir=self._settings["cache_dir"],
            local_files_only=local_files_only,
        )
        self._max_seq_length = within(
            "max_seq_length", max_seq_length, self._checkpoint.spec.max_seq_length, self._positions()
        )
        self._cut = Cut()
        self._batchers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, MicroBatcher]] = (
            weakref.WeakKeyDictionary()
        )
        self._lifecycle = Lifecycle(self._start, name=self.name, kind="MedEmbed")
        full = self._encoder().head.dimension
        self._dimension = within("truncate_dim", truncate_dim, full, full)
        self._directions = shortening.read(self.folder, full) if self._dimension < full else None

    def _positions(self) -> int:
        return model_files.position_limit(self._checkpoint.config)

    def _encoder(self) -> Encoder:
        return self._lifecycle.get()

    def _start(self) -> Encoder:
        settings = self._settings
        tokenizer = load_tokenizer(self._checkpoint, self._max_seq_length)
        engine = settings["engine"] or load_engine(
            self._checkpoint,
            device=settings["device"],
            precision=settings["precision"],
            threads=settings["threads"],
        )
        head = Head(self._checkpoint.steps, self._checkpoint.width, engine)
        normalized = self._checkpoint.spec.normalized
        return Encoder(tokenizer, engine, head, overlong=settings["overlong"], normalized=normalized)

    @property
    def name(self) -> str:
        """The name, hub id or folder the model was asked for by."""
        return self._checkpoint.spec.name

    @property
    def spec(self) -> ModelSpec:
        """What is known of the model: repository, license, pooling, prompts ..."""
        return self._checkpoint.spec

    @property
    def revision(self) -> str:
        """The commit of a hub model, or ``"sha256-…"`` of a bundled or local model's files."""
        return self._checkpoint.revision

    @property
    def dimension(self) -> int:
        """Length of a vector, after ``truncate_dim``."""
        return self._dimension

    @property
    def max_seq_length(self) -> int:
        """Tokens read of each text, special tokens included."""
        return self._max_seq_length

    @property
    def device(self) -> str:
        """Where the engine computes."""
        return self._encoder().engine.device

    @property
    def precision(self) -> str:
        """Number format of the engine's matrix products."""
        return self._encoder().engine.precision

    @property
    def engine_name(self) -> str:
        """Which engine computes: ``"openvino"``, ``"torch"``, or the name of one that was passed in."""
        return self._encoder().engine.name

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments it was made with: ``MedEmbed(**model.settings)`` is the same model again."""
        return dict(self._settings)

    @property
    def folder(self) -> Path:
        """Where the model's files are."""
        return self._checkpoint.folder

    @property
    def truncated(self) -> Cut:
        """What ``overlong="truncate"`` has left out since the model was loaded: ``.texts`` and ``.tokens``."""
        return self._cut

    @property
    def vector_ranges(self) -> Floats:
        """Lowest and highest value per dimension, for int8 and uint8 vectors. *Shape:* ``(2, dimension)``.

        Raises:
            VectorError: The model's folder has none for this dimension; ``calibrate`` makes them.
        """
        stored = model_files.read_json(self._checkpoint.folder / "vector_ranges.json").get(str(self.dimension))
        if stored is None:
            raise VectorError(
                f"{self.name!r} has no quantization ranges for {self.dimension} dimensions: make them with ranges = model.calibrate(texts)"
            )
        return np.asarray(stored, dtype=np.float32)

    @overload
    def encode(self, texts: str, *, prompt: str | None = None, show_progress: bool | None = None) -> Floats: ...
    @overload
    def encode(
        self, texts: Sequence[str], *, prompt: str | None = None, show_progress: bool | None = None
    ) -> Floats: ...

    def encode(
        self, texts: str | Sequence[str], *, prompt: str | None = None, show_progress: bool | None = None
    ) -> Floats:
        """Encode texts as they are, or with a prompt of your own before each.

        Args:
            texts: One text, or a sequence of texts.
            prompt: Put before each text; None for the prompt that the model's folder names for all texts, mostly none.
            show_progress: True or False; None shows a bar at a terminal once a call takes longer than two seconds.

        Returns:
            float32. One ``str`` gives *Shape:* ``(dimension,)``, a sequence ``(len(texts), dimension)``, in input order.

        Raises:
            InputTypeError: An item is not a ``str``.
            OverlongTextError: ``overlong="error"`` and a text is too long.
            ClosedModelError: After ``close``.
        """
        if isinstance(texts, str):
            one: Floats = self._encode([texts], self._before(prompt), False)[0]
            return one
        return self._encode(inputs.checked_texts(texts), self._before(prompt), show_progress)

    def _before(self, prompt: str | None) -> str:
        """What is put before texts that are called neither queries nor documents."""
        return self.spec.default_prompt if prompt is None else prompt

    def encode_query(self, texts: str | Sequence[str], *, show_progress: bool | None = None) -> Floats:
        """Encode search queries: ``encode`` with the model's own query prompt."""
        return self.encode(texts, prompt=self.spec.prompts["query"], show_progress=show_progress)

    def encode_document(self, texts: str | Sequence[str], *, show_progress: bool | None = None) -> Floats:
        """Encode texts to be found: ``encode`` with the model's own document prompt."""
        return self.encode(texts, prompt=self.spec.prompts["document"], show_progress=show_progress)

    def encode_stream(
        self, texts: Iterable[str], *, kind: PromptKind | None = None, prompt: str | None = None, window: int = WINDOW
    ) -> Iterator[Floats]:
        """Encode any iterable of texts in bounded memory.

        Args:
            texts: Any iterable of ``str``, also one that never ends.
            kind: What they are: ``"query"`` or ``"document"`` puts the model's own prompt for these before each text.
            prompt: One of your own instead; neither leaves the texts as they are.
            window: Texts held and computed at a time.

        Yields:
            Matrices in input order, each *Shape:* ``(window, dimension)``; the last may be shorter.

        Raises:
            InputTypeError: An item is not a ``str``.
            SettingError: ``window`` below 1, an unknown ``kind``, or both ``kind`` and ``prompt``.
        """
        before = inputs.prompt_of(self.spec.prompts, kind, self._before(prompt) if kind is None else prompt)
        if window < 1:
            raise SettingError(f"window={window}: give at least 1 text")
        start = 0
        for group in inputs.windows(texts, window):
            yield self._encode(group, before, False, first_index=start)
            start += len(group)

    def _encode(self, texts: list[str], prompt: str, show_progress: bool | None, *, first_index: int = 0) -> Floats:
        encoder = self._encoder()
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        cut = Cut()
        with progress.bar(len(texts), show_progress) as advance:
            for start in range(0, len(texts), WINDOW):
                rows, more = encoder(texts[start : start + WINDOW], prompt, advance, first_index=first_index + start)
                out[start : start + WINDOW] = shortening.shorten(rows, self.dimension, self._directions)
                cut += more
        if cut.texts:
            with self._lifecycle.lock:
                self._cut += cut
            warnings.warn(TruncationWarning(cut.texts, cut.tokens, self.max_seq_length), stacklevel=callers.level())
        return out

    async def aencode(self, texts: str | Sequence[str], *, prompt: str | None = None) -> Floats:
        """``encode`` without blocking the event loop; single texts awaited at the same time share a batch."""
        if isinstance(texts, str):
            return await self._batcher(self._before(prompt))(texts)
        return await asyncio.to_thread(partial(self.encode, texts, prompt=prompt, show_progress=False))

    async def aencode_query(self, texts: str | Sequence[str]) -> Floats:
        """``encode_query`` without blocking the event loop; see ``aencode``."""
        return await self.aencode(texts, prompt=self.spec.prompts["query"])

    async def aencode_document(self, texts: str | Sequence[str]) -> Floats:
        """``encode_document`` without blocking the event loop; see ``aencode``."""
        return await self.aencode(texts, prompt=self.spec.prompts["document"])

    def _batcher(self, prompt: str) -> MicroBatcher:
        """One per event loop and prompt; the loop's own thread is the only one to touch it."""
        of_loop = self._batchers.setdefault(asyncio.get_running_loop(), {})
        if prompt not in of_loop:
            of_loop[prompt] = MicroBatcher(lambda texts: self._encode(texts, prompt, False))
        return of_loop[prompt]

    def similarity(self, a: Floats, b: Floats) -> Floats:
        """Compare every vector of ``a`` with every vector of ``b``: the cosine, or the dot product of a model made for it.

        Args:
            a: *Shape:* ``(n, dimension)`` or ``(dimension,)``.
            b: *Shape:* ``(m, dimension)`` or ``(dimension,)``.

        Returns:
            *Shape:* ``(n, m)``, float32. For quantized vectors see ``medembed.vectors.similarity``.

        Raises:
            VectorError: Vectors of different lengths.
        """
        return vectors.similarity(np.asarray(a, dtype=np.float32), np.asarray(b, dtype=np.float32))

    def quantize(self, stored: Floats, kind: vectors.VectorKind) -> NDArray[Any]:
        """Quantize vectors of this model with the model's own ranges; see ``medembed.vectors``.

        Args:
            stored: *Shape:* ``(n, dimension)`` or ``(dimension,)``.
            kind: ``"int8"``, ``"uint8"``, ``"binary"``, ``"ubinary"``, ``"float16"`` or ``"float32"``.

        Returns:
            Array of the kind's dtype; binary kinds have ``dimension / 8`` columns.

        Raises:
            VectorError: Unknown kind, or the model has no ranges for this dimension.
        """
        return vectors.quantize(stored, kind, self.vector_ranges if kind in ("int8", "uint8") else None)

    def calibrate(self, texts: Sequence[str]) -> Floats:
        """Quantization ranges from a sample of your own texts, to keep beside your vectors.

        Args:
            texts: At least 100, like those to be stored; a few thousand are better.

        Returns:
            *Shape:* ``(2, dimension)``, for ``medembed.vectors.quantize``.

        Raises:
            VectorError: Too few texts, or texts too much alike.
        """
        return vectors.calibrate(self.encode_document(texts))

    def count_tokens(self, texts: Sequence[str], *, prompt: str | None = None) -> list[int]:
        """Tokens of each text with prompt and special tokens, before anything is cut.

        Args:
            texts: A sequence of texts.
            prompt: Put before each text, as in ``encode``.

        Returns:
            One number a text, in input order.

        Raises:
            InputTypeError: An item is not a ``str``.
        """
        return self._encoder().tokenizer.count(inputs.checked_texts(texts), self._before(prompt))

    def warm_up(self) -> None:
        """Run one short and one full-length text, so that the first real call pays no start-up cost."""
        long = "pain " * self.max_seq_length
        ids = self._encoder().tokenizer(["pain", long]).ids
        encoder = self._encoder()
        for row in ids:
            encoder.head(encoder.engine, [row], alone=False, lead=0)

    def close(self) -> None:
        """Give back threads and memory. Encoding afterwards raises ``ClosedModelError``; closing again is fine."""
        self._lifecycle.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings, not the weights: the other side loads the model itself."""
        return partial(type(self), **self._settings), ()

    def __repr__(self) -> str:
        """Tell model, dimension, device, precision and engine."""
        if self._lifecycle.closed:
            return f"MedEmbed({self.name!r}, closed)"
        engine = self._encoder().engine
        return (
            f"MedEmbed({self.name!r}, dimension={self.dimension}, max_seq_length={self.max_seq_length}, "
            f"device={engine.device!r}, precision={engine.precision!r}, engine={engine.name!r})"
        )


def within(name: str, asked: int | None, default: int, most: int) -> int:
    """A setting checked against its largest value.

    Args:
        name: The setting.
        asked: What the caller gave; None for the default.
        default: What holds otherwise.
        most: The largest allowed.

    Raises:
        SettingError: Not a whole number in the range.
    """
    if asked is None:
        return default
    least = 3 if name.endswith("_length") else 1  # a tokenizer needs room for a token between its special ones
    if type(asked) is not int or not least <= asked <= most:
        raise SettingError(f"{name}={asked!r}: this model takes a whole number from {least} to {most}")
    return asked
