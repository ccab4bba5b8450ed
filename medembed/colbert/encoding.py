"""Texts → token vectors.

The steps are tokenize, fill up, batch, run, project, leave out, put back in order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.checkpoints.checkpoint import Checkpoint
from medembed.colbert.carried import Span
from medembed.colbert.layouts import Layout
from medembed.colbert.token_pooling import pool_tokens
from medembed.errors import EngineError, InputTypeError, UnsupportedModelError
from medembed.runtime import batching
from medembed.runtime.encoding import load_tokenizer
from medembed.runtime.engines.interface import Engine
from medembed.runtime.options import How
from medembed.runtime.streams import Streams
from medembed.runtime.tokenizer import Overlong, Tokenized, Tokenizer

Floats = NDArray[np.float32]
Role = Literal["query", "document"]


class TokenEncoder:
    """The encoder of a late-interaction model.

    Args:
        checkpoint: The model's files.
        layout: How it reads texts, lengths as they shall be.
        engine: What computes.
        overlong: What to do with texts above the limit.

    Raises:
        CheckpointError: Its tokenizer cannot be used.
    """

    def __init__(self, checkpoint: Checkpoint, layout: Layout, engine: Engine, *, overlong: Overlong) -> None:
        """Set up. Threads start with the first call that needs them."""
        self.engine, self._layout, self._overlong = engine, layout, overlong
        documents = load_tokenizer(checkpoint, layout.document_length)
        for marker in layout.markers:
            documents.keep_whole(marker)
        self._tokenizers = {"query": documents.with_limit(layout.query_length), "document": documents}
        self._fill = _fill_token(checkpoint, layout, documents)
        found = [documents.token_id(word) for word in layout.skipped]
        unknown = documents.unknown_id
        # a word the vocabulary lacks must not take every unknown word of the documents with it
        self._skipped = np.array([i for i in found if i is not None and i != unknown], dtype=np.int64)
        self._streams = Streams(engine)

    def tokenizer(self, role: Role) -> Tokenizer:
        """The tokenizer of queries or documents."""
        return self._tokenizers[role]

    def count(self, role: Role, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with its prompt and special tokens.

        They are counted before anything is cut, filled up or left out.
        """
        return self._tokenizers[role].count(texts, self._layout.prompts[role])

    def spans(self, text: str) -> list[Span]:
        """Where the tokens of a document stand that get a vector, in the order of the vectors."""
        row = self._tokenizers["document"].spans(text, self._layout.prompts["document"])
        skipped = set(self._skipped.tolist()) if "document" in self._layout.skipped_in else set()
        return [span for id_, span in row if id_ not in skipped]

    def __call__(
        self,
        role: Role,
        texts: Sequence[str],
        how: How,
        progress: Callable[[int], object],
        *,
        pool_factor: float = 1.0,
        first_index: int = 0,
    ) -> tuple[list[Floats], NDArray[np.int64]]:
        """Encode one window of texts.

        Args:
            role: What the texts are.
            texts: Already checked to be strings.
            how: Prompt, batch size, and what to do with texts above the limit.
            progress: Called with a number of texts as they are done, from any thread.
            pool_factor: Token pooling on top of the model's own.
            first_index: Where the window begins in the caller's input, for error messages.

        Returns:
            Token vectors in input order, each *Shape:* ``(tokens, dimension)``, and the tokens of each text before anything is cut.

        Raises:
            OverlongTextError: A text is too long and may not be cut.
            InputTypeError: A document of which every token is left out.
            EngineError: The engine failed, or gave a vector that is not finite.
        """
        out: list[Floats] = [np.empty((0, 0), dtype=np.float32)] * len(texts)
        tokens = np.zeros(len(texts), dtype=np.int64)
        run = partial(self._run_unit, role, texts, how, (out, tokens), progress, pool_factor, first_index)
        self._streams.run(run, self._streams.units(texts, how.prompt))
        return out, tokens

    def treatment(self, role: Role, how: How) -> Overlong:
        """The treatment of texts above the limit.

        Windows of a query overlap, and its score is a sum over tokens: some would count twice, so a long query is refused.
        """
        asked = how.overlong or self._overlong
        return "error" if role == "query" and asked == "chunk" else asked

    def _run_unit(
        self,
        role: Role,
        texts: Sequence[str],
        how: How,
        into: tuple[list[Floats], NDArray[np.int64]],
        progress: Callable[[int], object],
        pool_factor: float,
        first_index: int,
        unit: Sequence[int],
    ) -> None:
        tokenizer, places = self._tokenizers[role], [first_index + i for i in unit]
        overlong = self.treatment(role, how)
        tokenized = tokenizer([texts[i] for i in unit], prompt=how.prompt, overlong=overlong, places=places)
        out, tokens = into
        tokens[list(unit)] = tokenized.tokens
        parts: list[list[Floats]] = [[] for _ in unit]
        told = progress if len(tokenized.ids) == len(unit) else _nobody
        rows = self._rows(role, tokenized, told, how.batch_size)
        for owner, row in zip(tokenized.owners, rows, strict=True):
            parts[owner].append(row)
        for index, place, windows in zip(unit, places, parts, strict=True):
            row = windows[0] if len(windows) == 1 else np.concatenate(windows)
            _check(row, role, place, self.engine.name)
            out[index] = self._pooled(row, pool_factor) if role == "document" else row
        if len(tokenized.ids) > len(unit):
            progress(len(unit))

    def _rows(
        self, role: Role, tokenized: Tokenized, progress: Callable[[int], object], batch_size: int | None
    ) -> list[Floats]:
        """Token vectors of each row of ids."""
        ids, attended = self._filled(tokenized.ids) if role == "query" else (tokenized.ids, None)
        rows: list[Floats] = [np.empty((0, 0), dtype=np.float32)] * len(ids)
        engine = self.engine
        lengths = [len(row) for row in ids]
        for batch in batching.plan_batches(
            lengths, engine.max_batch_tokens, multiple=engine.width_multiple, max_rows=batch_size
        ):
            some = [ids[i] for i in batch]
            states = engine.tokens(some, attended=None if attended is None else [attended[i] for i in batch])
            for index, row in zip(batch, self._projected(role, some, states), strict=True):
                rows[index] = row
            progress(len(batch))
        return rows

    def _filled(self, ids: list[list[int]]) -> tuple[list[list[int]], list[int] | None]:
        """Short queries filled up with mask tokens. The second value is how many tokens of each the others see."""
        expansion = self._layout.expansion
        if expansion is None:
            return ids, None
        filled = [[*row, *[self._fill] * (expansion.length - len(row))] for row in ids]
        return filled, None if expansion.attend else [len(row) for row in ids]

    def _projected(self, role: Role, ids: list[list[int]], states: list[Floats]) -> list[Floats]:
        """States of one batch → vectors of the tokens that count."""
        kept = np.ones(sum(map(len, ids)), dtype=bool)
        if len(self._skipped) and role in self._layout.skipped_in:
            kept = ~np.isin(np.concatenate(ids), self._skipped)
        out = np.concatenate(states)[kept]
        for projection in self._layout.projections:
            out = projection(out)
        if self._layout.normalized:
            out = vectors.normalize(out)
        counts = np.add.reduceat(kept, np.cumsum([0, *map(len, ids[:-1])]), dtype=np.intp)
        return np.split(out, np.cumsum(counts)[:-1])

    def _pooled(self, row: Floats, factor: float) -> Floats:
        layout = self._layout
        if layout.pool_factor > 1:
            row = pool_tokens(row, layout.pool_factor, protected=layout.protected, normalize=layout.pooled_normalized)
        return pool_tokens(row, factor) if factor > 1 else row

    def close(self) -> None:
        """Stop the threads and the engine."""
        self._streams.close()


def _fill_token(checkpoint: Checkpoint, layout: Layout, tokenizer: Tokenizer) -> int:
    """The token that fills up queries."""
    if layout.expansion is None:
        return 0
    told = checkpoint.files.json(checkpoint.files.encoder / "tokenizer_config.json").get("mask_token", "[MASK]")
    token = layout.expansion.token or (told.get("content") if isinstance(told, dict) else told)
    found = tokenizer.token_id(str(token))
    if found is None:
        raise UnsupportedModelError(
            f"{checkpoint.folder} fills up its queries with {token!r}, which its tokenizer does not know: "
            "name another token in query_expansion"
        )
    return found


def _check(row: Floats, role: Role, place: int, engine: str) -> None:
    if not len(row):
        raise InputTypeError(
            f"{role} {place} has no tokens left: the model's skip list leaves out all of them; leave the text out"
        )
    if not np.isfinite(row).all():
        raise EngineError(
            f"the {engine} engine gave a vector that is not finite for text {place}: its weights may be damaged"
        )


def _nobody(_: int) -> None:
    """Ignore progress. It is told once the windows of all texts are joined."""
