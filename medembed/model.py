"""MedEmbed: the public class of dense vectors. Conveniences here; the work is in runtime/ and its engines."""

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medembed import comparing, vectors
from medembed.checkpoints import model_files, shortening
from medembed.checkpoints.registry import BUNDLED
from medembed.errors import CheckpointError, SettingError, VectorError
from medembed.progress import Show
from medembed.runtime import identity, options
from medembed.runtime import inputs as texts_of
from medembed.runtime.encoding import Cut, Encoded, Encoder, cut_of, load_tokenizer
from medembed.runtime.engines import Device, PrecisionSetting
from medembed.runtime.engines.interface import Engine
from medembed.runtime.head import Head
from medembed.runtime.options import How
from medembed.runtime.session import STREAM, Session, warn_of, within
from medembed.runtime.tokenizer import WHOLE, Overlong, Tokenizer

if TYPE_CHECKING:  # asyncio takes as long to load as half of numpy: only who awaits needs it
    from medembed.runtime.microbatch import Batchers, MicroBatcher

Floats = NDArray[np.float32]


class MedEmbed(Session[Encoder]):
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
        revision: Commit, tag or branch of a hub model, None for the pinned one; or the ``sha256-…`` that a folder must have.
        cache_dir: Where downloads are kept; None for the Hugging Face cache.
        local_files_only: Never use the network.
        engine: An engine to use instead of choosing one, for instance ``FakeEngine()``.

    Raises:
        UnknownModelError: No such name or folder.
        ModelNotCachedError: It would have to be downloaded, which is forbidden or failed.
        CheckpointError: Files are missing, damaged or of a kind that no engine reads; weights that are pickles are refused.
        ModelChangedError: The folder is not the one that ``revision`` names.
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
        settings = {
            "model": model, "device": device, "precision": precision, "max_seq_length": max_seq_length,
            "truncate_dim": truncate_dim, "overlong": overlong, "threads": threads, "revision": revision,
            "cache_dir": cache_dir, "local_files_only": local_files_only, "engine": engine,
        }  # fmt: skip
        super().__init__(settings, late_interaction=False)
        spec, positions = self.spec, model_files.position_limit(self._checkpoint.config)
        self._max_seq_length = within("max_seq_length", max_seq_length, spec.max_seq_length, positions)
        self._batchers: Batchers[Floats] = weakref.WeakKeyDictionary()
        self._open()
        self._full_dimension = self._encoder().head.dimension
        self._dimension = within("truncate_dim", truncate_dim, self._full_dimension, self._full_dimension)
        # read now, and not when first asked for: by then the folder may hold another model
        own = self._full_dimension == self.spec.dimension  # and not that of an engine which was passed in
        self._directions, self._no_directions = self._read_directions() if own else (None, None)
        self._check_directions(self._dimension)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse attributes of a SentenceTransformer that would change nothing here."""
        options.check_attribute(name)
        super().__setattr__(name, value)

    def _check_directions(self, dimension: int) -> None:
        """Refuse shorter vectors where the folder's directions are damaged."""
        if self._no_directions is not None and dimension < self._full_dimension:
            raise self._no_directions

    def _read_directions(self) -> tuple[Floats | None, CheckpointError | None]:
        """The directions for shorter vectors, or why there are none. Whole vectors do not need them."""
        try:
            return shortening.read(self.folder, self._full_dimension), None
        except CheckpointError as error:
            return None, error

    def _start(self) -> Encoder:
        tokenizer = load_tokenizer(self._checkpoint, self._max_seq_length)
        engine = self._engine()
        head = Head(self._checkpoint.steps, self._checkpoint.width, engine)
        return Encoder(tokenizer, engine, head, overlong=self.overlong, normalized=self.spec.normalized)

    def _documents(self) -> tuple[Tokenizer, str]:
        return self._encoder().tokenizer, self.spec.prompts["document"]

    def _facts(self) -> dict[str, object]:
        return {"dimension": self.dimension, "max_seq_length": self.max_seq_length}

    @property
    def dimension(self) -> int:
        """Length of a vector, after ``truncate_dim``."""
        return self._dimension

    def get_embedding_dimension(self) -> int:
        """Length of a vector, under sentence-transformers' name."""
        return self._dimension

    def get_sentence_embedding_dimension(self) -> int:
        """Length of a vector, under the former name of ``get_embedding_dimension``, which sentence-transformers still answers to."""
        return self._dimension

    @property
    def max_seq_length(self) -> int:
        """Tokens read of each text, special tokens included."""
        return self._max_seq_length

    @property
    def fingerprint(self) -> str:
        """Short stable hash of what makes vectors comparable, to keep beside them: see :mod:`medembed.stores`.

        Two models with equal fingerprints make vectors that may be compared. It covers weights, tokenizer, prompts, pooling,
        ``max_seq_length``, ``overlong``, dimension and normalization; device, precision, threads and the place of the folder are
        left out, because they change a vector by rounding at most. Sixteen hexadecimal digits.
        """
        return identity.fingerprint(self, self._directions if self.dimension < self._full_dimension else None)

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

    def encode(  # noqa: PLR0913 - the options of sentence-transformers, all keyword-only
        self,
        inputs: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: Literal["float32"] | None = "float32",
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        device: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: None = None,
    ) -> Floats:
        """Encode texts as they are, or with a prompt before each.

        The options are those of sentence-transformers' ``encode``. Those that would change the return type, or that are chosen
        once for a model here, take one value each; another is refused with the line that does what it asks for.

        Args:
            inputs: One text, or a sequence of texts.
            prompt_name: The name of one of the model's own prompts, such as ``"query"``.
            prompt: A prompt of your own; it wins over ``prompt_name``. With neither, the prompt that the model's folder names for
                all texts, mostly none.
            batch_size: Most texts computed at a time; None for as many as fit the engine's budget of tokens, which is faster.
            show_progress_bar: True or False; None shows a bar at a terminal once a call takes longer than two seconds.
            output_value: ``"sentence_embedding"``; token vectors are :class:`medembed.MedColBERT`'s.
            precision: ``"float32"``; see :meth:`quantize` for smaller vectors.
            convert_to_numpy: True.
            convert_to_tensor: False; ``torch.from_numpy(model.encode(...))`` makes a tensor.
            device: None, or the device of this model.
            normalize_embeddings: Scale to unit length also the vectors of a model that does not do so by itself.
            truncate_dim: Components of a vector; None for what the model was made with.
            pool: None.
            chunk_size: None.

        Returns:
            float32. One ``str`` gives *Shape:* ``(dimension,)``, a sequence ``(len(inputs), dimension)``, in input order.

        Raises:
            InputTypeError: An item is not a ``str``.
            SettingError: An option has a value that means nothing here, or none that fits the model.
            OverlongTextError: ``overlong="error"`` and a text is too long.
            ClosedModelError: After ``close``.
        """
        given = {
            "output_value": output_value, "precision": precision, "convert_to_numpy": convert_to_numpy,
            "convert_to_tensor": convert_to_tensor, "device": device, "pool": pool, "chunk_size": chunk_size,
        }  # fmt: skip
        if device is not None and str(device) == self.device:
            given["device"] = None
        options.check_elsewhere(given)
        how = How(
            prompt=self._before(prompt_name, prompt),
            dimension=self._within_full(truncate_dim),
            batch_size=options.checked_batch_size(batch_size),
            unit=normalize_embeddings,
        )
        if isinstance(inputs, str):
            one: Floats = self._encode([inputs], how, False)[0]
            return one
        return self._encode(texts_of.checked_texts(inputs), how, show_progress_bar)

    def _before(self, prompt_name: str | None, prompt: str | None) -> str:
        return options.prompt_of(self.spec.prompts, prompt_name, prompt, self.spec.default_prompt)

    def encode_query(  # noqa: PLR0913 - as encode
        self,
        inputs: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: Literal["float32"] | None = "float32",
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        device: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: None = None,
    ) -> Floats:
        """Encode search queries: ``encode`` with the model's own query prompt, where none is given."""
        return self.encode(
            inputs, prompt_name="query" if prompt_name is None else prompt_name, prompt=prompt, batch_size=batch_size,
            show_progress_bar=show_progress_bar, output_value=output_value, precision=precision, convert_to_numpy=convert_to_numpy,
            convert_to_tensor=convert_to_tensor, device=device, normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim, pool=pool, chunk_size=chunk_size,
        )  # fmt: skip

    def encode_document(  # noqa: PLR0913 - as encode
        self,
        inputs: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: Literal["float32"] | None = "float32",
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        device: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: None = None,
    ) -> Floats:
        """Encode texts to be found: ``encode`` with the model's own document prompt, where none is given."""
        return self.encode(
            inputs, prompt_name="document" if prompt_name is None else prompt_name, prompt=prompt, batch_size=batch_size,
            show_progress_bar=show_progress_bar, output_value=output_value, precision=precision, convert_to_numpy=convert_to_numpy,
            convert_to_tensor=convert_to_tensor, device=device, normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim, pool=pool, chunk_size=chunk_size,
        )  # fmt: skip

    def encode_counted(
        self,
        inputs: Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        overlong: Overlong | None = None,
        show_progress_bar: bool | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Encoded:
        """Encode texts and count what is cut, in place of a warning.

        Args:
            inputs: A sequence of texts.
            prompt_name: The name of one of the model's own prompts.
            prompt: A prompt of your own; it wins over ``prompt_name``.
            truncate_dim: Components of a vector; None for what the model was made with.
            overlong: What to do with texts above the limit in this call; None for what the model was made with.
            show_progress_bar: As for :meth:`encode`.
            progress: Called with numbers of texts as they are done, from any thread; it takes the place of the bar.

        Returns:
            The vectors, the texts and tokens that were cut in this call, and each text's tokens.

        Raises:
            MedEmbedError: As :meth:`encode`.
        """
        how = How(
            prompt=self._before(prompt_name, prompt),
            dimension=self._within_full(truncate_dim),
            overlong=options.checked_overlong(overlong),
        )
        return self._run(texts_of.checked_texts(inputs), how, progress or show_progress_bar)

    def _within_full(self, truncate_dim: int | None) -> int | None:
        return None if truncate_dim is None else within("truncate_dim", truncate_dim, 0, self._full_dimension)

    def encode_stream(
        self, inputs: Iterable[str], *, prompt_name: str | None = None, prompt: str | None = None, window: int = STREAM
    ) -> Iterator[Floats]:
        """Encode any iterable of texts in bounded memory.

        Args:
            inputs: Any iterable of ``str``, also one that never ends.
            prompt_name: The name of one of the model's own prompts, such as ``"query"`` or ``"document"``.
            prompt: A prompt of your own; it wins over ``prompt_name``.
            window: Texts held and computed at a time.

        Yields:
            Matrices in input order, each *Shape:* ``(window, dimension)``; the last may be shorter.

        Raises:
            InputTypeError: An item is not a ``str``.
            SettingError: ``window`` below 1, or an unknown ``prompt_name``.
        """
        how = How(prompt=self._before(prompt_name, prompt))
        if window < 1:
            raise SettingError(f"window={window}: give at least 1 text")
        start = 0
        for group in texts_of.windows(inputs, window):
            yield self._encode(group, how, False, first_index=start)
            start += len(group)

    def _encode(self, texts: list[str], how: How, show: bool | None, *, first_index: int = 0) -> Floats:
        encoded = self._run(texts, how, show, first_index=first_index)
        warn_of(encoded.cut, self.max_seq_length, WHOLE)
        return encoded.vectors

    def _run(self, texts: list[str], how: How, show: Show, *, first_index: int = 0) -> Encoded:
        encoder, dimension = self._encoder(), how.dimension or self.dimension
        self._check_directions(dimension)
        out = np.empty((len(texts), dimension), dtype=np.float32)
        tokens = np.empty(len(texts), dtype=np.int64)
        cuts = (how.overlong or self.overlong) == "truncate"

        def encode_window(window: slice, advance: Any) -> Cut:
            rows, tokens[window] = encoder(
                texts[window],
                how.prompt,
                advance,
                first_index=first_index + window.start,
                batch_size=how.batch_size,
                overlong=how.overlong,
            )
            rows = shortening.shorten(rows, dimension, self._directions)
            out[window] = vectors.normalize(rows) if how.unit and not self.spec.normalized else rows
            return cut_of(tokens[window], self.max_seq_length) if cuts else Cut()

        return Encoded(out, self._in_windows(len(texts), show, encode_window), tokens)

    async def aencode(
        self, inputs: str | Sequence[str], *, prompt_name: str | None = None, prompt: str | None = None
    ) -> Floats:
        """``encode`` without blocking the event loop. Single texts awaited at the same time share a batch.

        Arguments and vectors are those of ``encode``.

        Raises:
            EngineError: The task that batches the calls was cancelled.
            MedEmbedError: As :meth:`encode`.
        """
        import asyncio

        before = self._before(prompt_name, prompt)
        if isinstance(inputs, str):
            return (await self._batcher()([inputs], before))[0]
        return await asyncio.to_thread(partial(self.encode, inputs, prompt=before, show_progress_bar=False))

    async def aencode_query(self, inputs: str | Sequence[str]) -> Floats:
        """``encode_query`` without blocking the event loop. See ``aencode``."""
        return await self.aencode(inputs, prompt_name="query")

    async def aencode_document(self, inputs: str | Sequence[str]) -> Floats:
        """``encode_document`` without blocking the event loop. See ``aencode``."""
        return await self.aencode(inputs, prompt_name="document")

    def _batcher(self) -> "MicroBatcher[str, Floats]":
        """The batcher of this event loop. The loop's own thread is the only one that uses it."""
        from medembed.runtime import microbatch

        with self._lifecycle.lock:
            return microbatch.of_this_loop(self._batchers, self._encode_alike)

    def _encode_alike(self, texts: list[str], prompt: str) -> list[Floats]:
        return list(self._encode(texts, How(prompt=prompt), False))

    def similarity(self, embeddings1: Floats, embeddings2: Floats) -> Floats:
        """Compare all vectors of two sides by the folder's ``similarity_fn_name``; distances are below zero.

        Args:
            embeddings1: *Shape:* ``(n, dimension)`` or ``(dimension,)``.
            embeddings2: *Shape:* ``(m, dimension)`` or ``(dimension,)``.

        Returns:
            *Shape:* ``(n, m)``, float32. For quantized vectors see ``medembed.vectors.similarity``.

        Raises:
            VectorError: Vectors of different lengths, of integers or not finite.
        """
        return comparing.every(embeddings1, embeddings2, self.spec.similarity)

    def similarity_pairwise(self, embeddings1: Floats, embeddings2: Floats) -> Floats:
        """Compare each vector with the one at the same place of the other side, as :meth:`similarity` does.

        Args:
            embeddings1: *Shape:* ``(n, dimension)`` or ``(dimension,)``.
            embeddings2: The same shape.

        Returns:
            *Shape:* ``(n,)``, float32.

        Raises:
            VectorError: Shapes that differ, vectors of integers, or values that are not finite.
        """
        return comparing.pairwise(embeddings1, embeddings2, self.spec.similarity)

    def quantize(self, stored: Floats, kind: vectors.VectorKind) -> NDArray[Any]:
        """Quantize vectors of this model with the model's own ranges. See ``medembed.vectors``.

        Args:
            stored: *Shape:* ``(n, dimension)`` or ``(dimension,)``.
            kind: ``"int8"``, ``"uint8"``, ``"binary"``, ``"ubinary"``, ``"float16"`` or ``"float32"``.

        Returns:
            Array of the kind's dtype; binary kinds have ``dimension / 8`` columns.

        Raises:
            VectorError: Unknown kind, vectors that are not finite floats, or a model without ranges for this dimension.
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
            One number per text, in input order.

        Raises:
            InputTypeError: An item is not a ``str``.
        """
        return self._encoder().tokenizer.count(texts_of.checked_texts(texts), self._before(None, prompt))

    def warm_up(self) -> None:
        """Run one short and one full-length text, so that the first real call pays no start-up cost."""
        long = "pain " * self.max_seq_length
        ids = self._encoder().tokenizer(["pain", long]).ids
        encoder = self._encoder()
        for row in ids:
            encoder.head(encoder.engine, [row], alone=False, lead=0)
