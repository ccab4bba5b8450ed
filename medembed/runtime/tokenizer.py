"""Texts → token ids, unpadded, and what was too long for the model."""

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints.files import ModelFiles
from medembed.checkpoints.tokenizer_settings import TokenizerSettings
from medembed.errors import CorruptFileError, InputTypeError, OverlongTextError
from medembed.runtime.tokenizer_json import load_tokenizer_json

Overlong = Literal["truncate", "error", "chunk"]
"""What to do with a text above the model's limit: cut it, refuse it, or embed it in overlapping windows."""

# a quarter of each window is seen again in the next, so that a sentence cut at one edge stands whole in the other
OVERLAP_SHARE = 4
AS_IT_IS = TokenizerSettings()
# characters whose tokens are held at a time where their places are asked for: a token's takes about 300 bytes
BLOCK = 1 << 18
_HALVES = re.compile("[\ud800-\udfff]")
WHOLE = "MedEmbed(..., overlong='chunk') embeds them whole"


class TruncationWarning(UserWarning):
    """Texts were longer than the model reads and were cut.

    Attributes:
        n_texts: How many texts were cut in this call.
        n_tokens: How many tokens were left out in all.

    Args:
        limit: Tokens that were read of each.
        remedy: The sentence that says how to have them read whole.
    """

    def __init__(self, n_texts: int, n_tokens: int, limit: int, *, remedy: str = WHOLE) -> None:
        """Word the warning. Texts are never part of it."""
        self.n_texts, self.n_tokens = n_texts, n_tokens
        super().__init__(
            f"{n_texts} text{'s were' if n_texts > 1 else ' was'} cut to {limit} tokens, leaving out {n_tokens} tokens in all. "
            f"{remedy}; overlong='error' refuses them."
        )


@dataclass(frozen=True)
class Tokenized:
    """Token ids of a group of texts, ready to be batched.

    Attributes:
        ids: One row of ids per window, special tokens included, unpadded.
        owners: For each row, the position of its text in the group. Rows of one text are adjacent.
        tokens: Tokens per text before anything was cut, special tokens included.
    """

    ids: list[list[int]]
    owners: list[int]
    tokens: list[int]


class Tokenizer:
    """A model's tokenizer, safe to use from several threads at once.

    Args:
        files: A model's files, ``tokenizer.json`` among them.
        max_seq_length: Tokens the model reads, special tokens included.
        settings: What is done to ``tokenizer.json`` before it is used.

    Raises:
        CorruptFileError: ``tokenizer.json`` cannot be read.
        UnsupportedModelError: It cuts texts at random, or its settings name tokens that it lacks.
    """

    def __init__(self, files: ModelFiles, max_seq_length: int, settings: TokenizerSettings = AS_IT_IS) -> None:
        """Read the tokenizer and learn which special tokens it puts around a text."""
        self._fast = load_tokenizer_json(files, settings)
        self._cut_left = settings.truncation_side == "left"
        self.max_seq_length = max_seq_length
        self._prefix, self._suffix = self._special_tokens(files.encoder / "tokenizer.json")
        self._special_ids = {id_ for id_, token in self._fast.get_added_tokens_decoder().items() if token.special}

    def _special_tokens(self, path: Path) -> tuple[list[int], list[int]]:
        """The tokens put before and after a text. They are the same for every text."""
        around = []
        for text in ("a", "b"):
            bare, full = self._fast.encode(text, add_special_tokens=False).ids, self._fast.encode(text).ids
            starts = (i for i in range(len(full) + 1) if full[i : i + len(bare)] == bare)
            start = next(starts, None)
            if start is None:
                raise CorruptFileError(
                    f"{path} changes a text's own tokens when it puts special tokens around it: download the model again"
                )
            around.append((full[:start], full[start + len(bare) :]))
        if around[0] != around[1]:
            raise CorruptFileError(f"{path} puts other special tokens around each text: download the model again")
        return around[0]

    def with_limit(self, max_seq_length: int) -> "Tokenizer":
        """The same tokenizer for texts of another length. The vocabulary is shared.

        Args:
            max_seq_length: Tokens to read, special tokens included.
        """
        other = copy.copy(self)
        other.max_seq_length = max_seq_length
        return other

    def keep_whole(self, marker: str) -> None:
        """Have a token of the vocabulary, such as ``[unused0]``, recognised in texts instead of cut into pieces.

        Args:
            marker: The token, or a prompt that begins with it; one that the vocabulary lacks stays ordinary text.
        """
        from tokenizers import AddedToken

        for token in (marker, *marker.split(maxsplit=1)[:1]):
            if self.token_id(token) is not None:
                if self._fast.encode(token, add_special_tokens=False).tokens != [token]:
                    self._fast.add_special_tokens([AddedToken(token, normalized=False, special=True)])
                return

    def token_id(self, token: str) -> int | None:
        """The id of a token of the vocabulary. None for any other text."""
        found: int | None = self._fast.token_to_id(token)
        return found

    @property
    def unknown_id(self) -> int | None:
        """The id of the token for what the vocabulary lacks. None where there is no such token."""
        token = getattr(self._fast.model, "unk_token", None)
        return None if token is None else self.token_id(str(token))

    @property
    def room(self) -> int:
        """Tokens of text that fit beside the special tokens."""
        return self.max_seq_length - len(self._prefix) - len(self._suffix)

    @property
    def vocabulary_size(self) -> int:
        """One more than the highest id this tokenizer can produce. Ids can have gaps."""
        ids = self._fast.get_vocab(with_added_tokens=True).values()
        return 1 + max((*ids, *self._prefix, *self._suffix), default=-1)

    def count(self, texts: Sequence[str], prompt: str = "") -> list[int]:
        """Tokens per text with its prompt and special tokens, before anything is cut."""
        around = len(self._prefix) + len(self._suffix)
        return [len(ids) + around for ids in self._bare([prompt + text for text in texts])]

    def spans(self, text: str, prompt: str = "") -> list[tuple[int, tuple[int, int] | None]]:
        """The ids of a text as the model reads it, cut to its limit, and where each stands in the text.

        Args:
            text: The text, without prompt.
            prompt: Put before it.

        Returns:
            For each token its id and its first and last character; None for one that is not of the text.
        """
        found = self._fast.encode(prompt + text, add_special_tokens=False)
        before = len(prompt)
        row = [
            (id_, (start - before, end - before) if start >= before and end > start else None)
            for id_, (start, end) in zip(found.ids, found.offsets, strict=True)
        ]
        kept = row[-self.room :] if self._cut_left else row[: self.room]
        return [*((id_, None) for id_ in self._prefix), *kept, *((id_, None) for id_ in self._suffix)]

    def lead(self, prompt: str) -> int:
        """Tokens of a row that come before the text itself, as sentence-transformers counts them.

        Args:
            prompt: Put before the text.

        Returns:
            The tokens of the prompt and of what stands before it; 0 without a prompt.
        """
        if not prompt:
            return 0
        row = [*self._prefix, *self._bare([prompt])[0][: self.room], *self._suffix]
        return len(row) - (1 if row and row[-1] in self._special_ids else 0)

    def __call__(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        overlong: Overlong = "truncate",
        places: Sequence[int] = (),
    ) -> Tokenized:
        """Tokenize a group of texts.

        Args:
            texts: The texts, without prompt.
            prompt: Put before each text.
            overlong: What to do with texts above the limit.
            places: Position of each text in the caller's input, for error messages; their own positions if empty.

        Returns:
            Ids per window, and how many tokens each text had.

        Raises:
            OverlongTextError: ``overlong="error"`` and a text is too long.
            InputTypeError: A text of no tokens, such as a blank one, where there are no special tokens.
        """
        bare = self._bare([prompt + text for text in texts])
        around = len(self._prefix) + len(self._suffix)
        rows: list[list[int]] = []
        owners: list[int] = []
        for owner, ids in enumerate(bare):
            if len(ids) > self.room and overlong != "truncate":
                if overlong == "error":
                    raise self._too_long(places[owner] if places else owner, len(ids) + around)
                windows = self._windows(texts[owner], prompt)
            else:
                windows = [ids[-self.room :] if self._cut_left else ids[: self.room]]
            rows += [[*self._prefix, *window, *self._suffix] for window in windows]
            owners += [owner] * len(windows)
            if not rows[-1]:
                raise InputTypeError(
                    f"text {places[owner] if places else owner} has no tokens, and this model's tokenizer puts none around it: leave it out"
                )
        return Tokenized(rows, owners, [len(ids) + around for ids in bare])

    def _too_long(self, index: int, tokens: int) -> OverlongTextError:
        return OverlongTextError.of(
            index,
            f"has {tokens} tokens, but the model reads {self.max_seq_length}: shorten it, "
            "or use overlong='chunk' (embeds it whole in windows) or overlong='truncate'",
        )

    def _windows(self, text: str, prompt: str) -> list[list[int]]:
        """Overlapping windows of one text, the prompt repeated before each."""
        lead, body = self._bare([prompt, text])
        # a prompt that leaves less than half the room for text is cut, or windows would not move forward
        lead = lead[: self.room // 2]
        width = self.room - len(lead)
        step = max(1, width - width // OVERLAP_SHARE)
        starts = range(0, max(1, len(body) - width + step), step)
        return [[*lead, *body[start : start + width]] for start in starts]

    def ends(self, text: str) -> NDArray[np.int64]:
        """The end of each token in a text, in characters. *Shape:* ``(tokens,)``, ascending."""
        whole = _HALVES.sub("\ufffd", text)  # a character each, so that places stay
        found = [np.zeros(0, dtype=np.int64)]
        for start, block in _blocks(whole):
            offsets = self._fast.encode(block, add_special_tokens=False).offsets
            found.append(np.fromiter((end for _, end in offsets), np.int64, len(offsets)) + start)
        return np.concatenate(found)

    def _bare(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids without special tokens."""
        try:
            return self._encode(texts)
        except (TypeError, UnicodeEncodeError):
            # lone surrogates (from broken UTF-16) have no UTF-8 form; they become U+FFFD as a decoder would write it
            return self._encode([text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts])

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        # One call per text: each call runs on one core and releases the interpreter lock, so the streams of an engine
        # tokenize side by side and never use more cores than they were given.
        encode: Any = self._fast.encode_batch_fast
        return [encode([text], add_special_tokens=False)[0].ids for text in texts]


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """A text in parts that begin at a blank, and where each begins."""
    start = 0
    while len(text) - start > BLOCK:
        blank = next(re.compile(r"\s").finditer(text, start + BLOCK), None)
        if blank is None:
            break
        yield start, text[start : blank.start()]
        start = blank.start()
    yield start, text[start:]
