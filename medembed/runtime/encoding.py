"""Texts → vectors: tokenize, batch, run, put back in order. The work behind MedEmbed.encode, without its conveniences."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medembed import border, vectors
from medembed.checkpoints.checkpoint import Checkpoint
from medembed.errors import BadWeightsError, CorruptFileError, EngineError
from medembed.extras import require
from medembed.runtime import batching, tokenizer_check
from medembed.runtime.engines.interface import Engine
from medembed.runtime.head import Head
from medembed.runtime.streams import Streams
from medembed.runtime.tokenizer import Overlong, Tokenized, Tokenizer
from medembed.runtime.tokenizer_json import MOST_ID

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Cut:
    """Counts of the texts and tokens that truncation left out.

    Attributes:
        texts: How many texts were cut.
        tokens: How many tokens were left out in all.
    """

    texts: int = 0
    tokens: int = 0

    def __add__(self, other: "Cut") -> "Cut":
        """Sum over groups of texts."""
        return Cut(self.texts + other.texts, self.tokens + other.tokens)


@dataclass(frozen=True)
class Encoded:
    """Vectors of several texts, and what the model did not read of them.

    Attributes:
        vectors: float32, in input order. *Shape:* ``(n, dimension)``.
        cut: Texts that were cut, and the tokens left out of them.
        tokens: Tokens of each text before anything was cut, prompt and special tokens included. *Shape:* ``(n,)``.
    """

    vectors: NDArray[np.float32]
    cut: Cut
    tokens: NDArray[np.int64]


def cut_of(tokens: NDArray[np.int64], limit: int) -> Cut:
    """Count what a limit leaves out of texts.

    Args:
        tokens: Tokens of each text before anything is cut. *Shape:* ``(n,)``.
        limit: Tokens that are read of each.
    """
    beyond = tokens[tokens > limit] - limit
    return Cut(len(beyond), int(beyond.sum()))


def load_tokenizer(checkpoint: Checkpoint, max_seq_length: int) -> Tokenizer:
    """A model's tokenizer, checked against its configuration.

    Args:
        checkpoint: The model.
        max_seq_length: Tokens to read of each text.

    Returns:
        The tokenizer.

    Raises:
        CheckpointError: It cannot be read, knows tokens that the model has no embedding for, or leaves no room for text.
    """
    folder, config = checkpoint.files.encoder, checkpoint.config
    tokenizer = Tokenizer(checkpoint.files, max_seq_length, checkpoint.tokenizer)
    known = tokenizer.vocabulary_size
    vocabulary = border.whole_number(
        config.get("vocab_size", known),
        named=f"vocab_size of {folder / 'config.json'}",
        least=1,
        most=MOST_ID,
        error=CorruptFileError,
    )
    if known > vocabulary:
        raise BadWeightsError(
            f"{folder}: the tokenizer knows {known} tokens, but config.json only {vocabulary}: they do not belong together"
        )
    if tokenizer.room < 1:
        raise CorruptFileError(
            f"{folder}: a limit of {max_seq_length} tokens leaves no room for text beside the special tokens: give max_seq_length, "
            "or download the model again"
        )
    if checkpoint.tokenizer.build == "by transformers" and importlib.util.find_spec("transformers") is not None:
        tokenizer_check.check(tokenizer, checkpoint, require("transformers"))
    return tokenizer


class Encoder:
    """A tokenizer and an engine working together.

    Args:
        tokenizer: The model's.
        engine: What computes.
        head: What makes vectors of the engine's states.
        overlong: What to do with texts above the limit.
        normalized: Whether vectors are scaled to unit length.
    """

    def __init__(
        self, tokenizer: Tokenizer, engine: Engine, head: Head, *, overlong: Overlong, normalized: bool
    ) -> None:
        """Threads start with the first call that needs them."""
        self.tokenizer, self.engine, self.head = tokenizer, engine, head
        self._overlong, self._normalized = overlong, normalized
        self._streams = Streams(engine)

    def __call__(
        self,
        texts: Sequence[str],
        prompt: str,
        progress: Progress,
        *,
        first_index: int = 0,
        batch_size: int | None = None,
        overlong: Overlong | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Encode one window of texts.

        Args:
            texts: Already checked to be strings.
            prompt: Put before each.
            progress: Called with a number of texts as they are done, from any thread.
            first_index: Where the window begins in the caller's input, for error messages.
            batch_size: Most texts of a batch; None for as many as fit the engine's budget.
            overlong: What to do with texts above the limit; None for the encoder's own way.

        Returns:
            Vectors in input order, *Shape:* ``(len(texts), dimension)``, and the tokens of each text before anything is cut.

        Raises:
            OverlongTextError: ``overlong="error"`` and a text is too long.
            EngineError: The engine failed, or gave a vector that is not finite.
        """
        out = np.empty((len(texts), self.head.dimension), dtype=np.float32)
        tokens = np.zeros(len(texts), dtype=np.int64)
        units = self._streams.units(texts, prompt)

        def run(unit: list[int]) -> None:
            some, places = [texts[i] for i in unit], [first_index + i for i in unit]
            tokenized = self.tokenizer(some, prompt=prompt, overlong=overlong or self._overlong, places=places)
            tokens[unit] = tokenized.tokens
            out[unit] = self._vectors(
                tokenized,
                progress,
                places,
                alone=len(units) == 1,
                lead=self.tokenizer.lead(prompt),
                batch_size=batch_size,
            )

        self._streams.run(run, units)
        return out, tokens

    def _vectors(
        self,
        tokenized: Tokenized,
        progress: Progress,
        places: Sequence[int],
        *,
        alone: bool,
        lead: int,
        batch_size: int | None,
    ) -> NDArray[np.float32]:
        """A vector for each text of a unit. *Shape:* ``(len(places), dimension)``."""
        each = progress if len(tokenized.ids) == len(places) else None
        rows = self._rows(tokenized, each, alone=alone, lead=lead, batch_size=batch_size)
        if not np.isfinite(rows).all():
            owner = places[tokenized.owners[int(np.argmin(np.isfinite(rows).all(axis=1)))]]
            raise EngineError(
                f"the {self.engine.name} engine gave a vector that is not finite for text {owner}: its weights may be damaged"
            )
        if self._normalized:
            rows = vectors.normalize(rows)
        if len(rows) > len(places):
            rows = self._joined(rows, tokenized, len(places))
            progress(len(places))
        return rows

    def _rows(
        self, tokenized: Tokenized, progress: Progress | None, *, alone: bool, lead: int, batch_size: int | None
    ) -> NDArray[np.float32]:
        """A raw vector for each row of ids."""
        engine = self.engine
        rows = np.empty((len(tokenized.ids), self.head.dimension), dtype=np.float32)
        lengths = [len(ids) for ids in tokenized.ids]
        for batch in batching.plan_batches(
            lengths, engine.max_batch_tokens, multiple=engine.width_multiple, max_rows=batch_size
        ):
            rows[batch] = self.head(engine, [tokenized.ids[i] for i in batch], alone=alone, lead=lead)
            if progress is not None:
                progress(len(batch))
        return rows

    def _joined(self, rows: NDArray[np.float32], tokenized: Tokenized, n_texts: int) -> NDArray[np.float32]:
        """Windows of one text → one vector: their mean, weighted by tokens, so a short last window counts for little."""
        weights = np.array([len(ids) for ids in tokenized.ids], dtype=np.float32)
        joined = np.zeros((n_texts, rows.shape[1]), dtype=np.float32)
        total = np.zeros(n_texts, dtype=np.float32)
        np.add.at(joined, tokenized.owners, rows * weights[:, None])
        np.add.at(total, tokenized.owners, weights)
        joined /= total[:, None]
        return vectors.normalize(joined) if self._normalized else joined

    def close(self) -> None:
        """Stop the threads and the engine."""
        self._streams.close()
