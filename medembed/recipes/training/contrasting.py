"""Learning what a text asserts: beside each batch of rows, contrasts that differ in a single respect.

A model of one vector per text learns them in a loss of their own. A late-interaction model reads them as rows with a hard negative.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from medembed.recipes.records import Triplet
from medembed.recipes.train_settings import Contrasts
from medembed.recipes.training.distillation import InBatchDistillation, Start
from medembed.recipes.writers.contrasts import (
    Contrast,
    from_frames,
    from_sentences,
    is_held_out,
    load_rules,
    with_names,
)

# Contrasts written from frames, of which each batch draws: more than 900 batches of 64 see.
FRAMES = 60_000
# Shares of a batch: changed sentences of notes, and negation. The rest is of any frame.
SENTENCE_SHARE, NEGATION_SHARE = 0.3, 0.3
# The source of contrasts that are rows themselves.
SOURCE = "contrasts"
# Tokens of a contrast's texts: the longest frame behind a sentence of a note.
TOKENS = 96
# Characters of the sentences that are changed, and of those that are put before frames.
LONGEST_SENTENCE, SHORTEST_CONTEXT, LONGEST_CONTEXT = 300, 20, 120


@dataclass(frozen=True)
class Supply:
    """The contrasts that batches are drawn from.

    Attributes:
        frames: Written from frames.
        sentences: Sentences of notes with one word changed; may be empty.
    """

    frames: Sequence[Contrast]
    sentences: Sequence[Contrast]

    @cached_property
    def _negated(self) -> list[Contrast]:
        """The frames that negate, gathered once for all batches."""
        return [item for item in self.frames if item.kind == "negation"]

    def draw(self, count: int, seed: int) -> list[Contrast]:
        """A batch of contrasts, the same for the same seed."""
        rng = random.Random(seed)  # noqa: S311
        kinds = rng.choices(
            (self.sentences or self.frames, self._negated or self.frames, self.frames),
            (SENTENCE_SHARE, NEGATION_SHARE, 1 - SENTENCE_SHARE - NEGATION_SHARE),
            k=count,
        )
        return [rng.choice(kind) for kind in kinds]


def supply(sentences: Sequence[tuple[str, str]], names: Mapping[str, Sequence[str]], seed: int) -> Supply:
    """Write the contrasts of a training run.

    Args:
        sentences: Ids of notes and their sentences. Notes that contrasts are measured with are left out.
        names: List of words → names that are added to it.
        seed: Of every choice.
    """
    rules = with_names(load_rules("training"), names)
    read = [(note, text) for note, text in sentences if not is_held_out(note) and len(text) < LONGEST_SENTENCE]
    contexts = [text for _, text in read if SHORTEST_CONTEXT <= len(text) <= LONGEST_CONTEXT]
    return Supply(list(islice(from_frames(rules, seed, contexts), FRAMES)), list(from_sentences(rules, read, seed)))


def as_rows(contrasts: Supply, count: int, seed: int) -> list[Triplet]:
    """Contrasts as training rows: the passage that differs is the hard negative of the one that fits."""
    return [
        Triplet(item.query, item.fits, [item.differs], [], SOURCE, item.origin) for item in contrasts.draw(count, seed)
    ]


class BesideRows(torch.nn.Module):
    """The loss of the rows, and beside it that of contrasts and of moving away from the start.

    The contrasts of a batch are drawn by a number made of its tokens: a run that goes on at a checkpoint draws the same ones.

    Args:
        model: The model to train.
        loss: The rows' own loss.
        contrasts: What is drawn from.
        settings: The recipe's.
        prompts: Put before queries and documents.
    """

    def __init__(
        self, model: Any, loss: Any, contrasts: Supply, settings: Contrasts, prompts: Mapping[str, str]
    ) -> None:
        """Copy the model as it is now, if its vectors are to be kept."""
        super().__init__()
        self.model, self.loss, self.contrasts, self.settings, self.prompts = model, loss, contrasts, settings, prompts
        # where the start teaches the rows, it has read them before it is asked here
        self._taught_by = loss.start if isinstance(loss, InBatchDistillation) else None
        self._start = self._taught_by or (Start(model) if settings.kept else None)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The loss of a batch of rows and of its contrasts."""
        columns = list(sentence_features)
        seed = int(sum(int(column["input_ids"].sum()) for column in columns))
        # the rows' loss encodes the columns; what it got is taken, so that nothing is encoded twice
        given = [dict(column) for column in columns]
        with _vectors_of(self.model) as vectors:
            value: Tensor = self.loss(columns, labels)
        value = value + self.settings.weight * self._of_contrasts(seed)
        if self._start is not None and self.settings.kept:
            if self._start is not self._taught_by:
                self._start.read(given)
            value = value + self.settings.kept * _moved(vectors[: len(given)], self._start.vectors)
        return value

    def _of_contrasts(self, seed: int) -> Tensor:
        """Cross-entropy of each query's passages among all passages of the batch, those that differ included.

        The claim in other words is a passage of its own: it has to rank above the one that differs just as the first does.
        """
        drawn = self.contrasts.draw(self.settings.batch_size, seed)
        said_again = [place for place, item in enumerate(drawn) if item.also_fits]
        texts = [item.fits for item in drawn] + [item.differs for item in drawn]
        queries = self._encoded([item.query for item in drawn], "query")
        passages = self._encoded(texts + [drawn[place].also_fits for place in said_again], "document")
        with torch.autocast(queries.device.type, enabled=False):
            return contrastive(queries @ passages.T / self.settings.temperature, said_again)

    def _encoded(self, texts: list[str], role: str) -> Tensor:
        how = {"text": {"max_length": TOKENS, "truncation": True}}
        tokens = self.model.preprocess(texts, prompt=self.prompts[role] or None, processing_kwargs=how)
        moved = {
            name: value.to(self.model.device) if isinstance(value, Tensor) else value for name, value in tokens.items()
        }
        return functional.normalize(self.model(moved)["sentence_embedding"].float(), dim=-1)


def _moved(vectors: Sequence[Tensor], before: Sequence[Tensor]) -> Tensor:
    """Mean over columns of one less the cosine with the start's vectors."""
    pairs = zip(vectors, before, strict=True)
    return torch.stack([(1 - functional.cosine_similarity(now.float(), then)).mean() for now, then in pairs]).sum()


def contrastive(scores: Tensor, said_again: Sequence[int]) -> Tensor:
    """Mean cross-entropy of each query's passages; one that fits is no negative of the other.

    Args:
        scores: Queries by passages, divided by the temperature: first those that fit, then those that differ, then the same claims in
            other words. *Shape:* ``(n, 2 * n + len(said_again))``.
        said_again: The queries that the last passages belong to.
    """
    own = torch.arange(len(scores), device=scores.device)
    again = torch.tensor(said_again, dtype=torch.long, device=scores.device)
    second = 2 * len(scores) + torch.arange(len(again), device=scores.device)
    first, other = scores.clone(), scores[again]
    first[again, second] = -torch.inf
    other[torch.arange(len(again), device=scores.device), again] = -torch.inf
    return functional.cross_entropy(torch.cat([first, other]), torch.cat([own, second]))


@contextmanager
def _vectors_of(model: Any) -> Iterator[list[Tensor]]:
    """The vectors that a model gives while the block runs, in order."""
    vectors: list[Tensor] = []
    hook = model.register_forward_hook(lambda _model, _given, out: vectors.append(out["sentence_embedding"]))
    try:
        yield vectors
    finally:
        hook.remove()
