"""Learning what a text asserts: beside each batch of rows, claims that differ in a single respect, in several wordings each.

A model of one vector per text learns them in a loss of their own. A late-interaction model reads them as rows with a hard negative.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from medembed.recipes.records import Triplet
from medembed.recipes.train_settings import Contrasts
from medembed.recipes.training.distillation import InBatchDistillation, Start
from medembed.recipes.writers.claims import ClaimSet, of_contrast, of_frame
from medembed.recipes.writers.contrasts import (
    Contrast,
    Rules,
    from_sentences,
    is_held_out,
    load_rules,
    with_names,
)

# Shares of a batch: changed sentences of notes, and negation. The rest is shared out evenly among the other kinds: severity has
# one frame of eighteen, and learnt nothing while frames were drawn alike.
SENTENCE_SHARE, NEGATION_SHARE = 0.2, 0.25
# Changed sentences in the place of one set of a frame: one question and two passages each.
SENTENCES = 4
# The source of contrasts that are rows themselves.
SOURCE = "contrasts"
# Tokens of a contrast's texts: the longest frame behind a sentence of a note.
TOKENS = 96
# Characters of the sentences that are changed, and of those that are put before frames.
LONGEST_SENTENCE, SHORTEST_CONTEXT, LONGEST_CONTEXT = 300, 20, 120


@dataclass(frozen=True)
class Supply:
    """The claims that batches are drawn from.

    Attributes:
        rules: Their frames and words.
        sentences: Sentences of notes with one word changed; may be empty.
        contexts: Sentences of notes that may stand before a frame.
    """

    rules: Rules
    sentences: Sequence[Contrast]
    contexts: Sequence[str]

    @cached_property
    def _frames(self) -> dict[str, list[int]]:
        """The numbers of each kind's frames."""
        kinds: dict[str, list[int]] = {}
        for number, frame in enumerate(self.rules.frames):
            kinds.setdefault(frame["kind"], []).append(number)
        return kinds

    def draw(self, questions: int, seed: int) -> list[ClaimSet]:
        """Sets with that many questions in all, the same for the same seed."""
        rng = random.Random(seed)  # noqa: S311
        others = [kind for kind in self._frames if kind != "negation"]
        kinds = ["sentence", "negation", *others]
        shares = [
            SENTENCE_SHARE if self.sentences else 0.0,
            NEGATION_SHARE,
            *([(1 - SENTENCE_SHARE - NEGATION_SHARE) / len(others)] * len(others)),
        ]
        drawn: list[ClaimSet] = []
        left = questions
        while left > 0:
            kind = rng.choices(kinds, shares)[0]
            if kind == "sentence":
                found = [of_contrast(rng.choice(self.sentences)) for _ in range(min(left, SENTENCES))]
            else:
                found = [of_frame(self.rules, rng.choice(self._frames[kind]), rng, self.contexts)]
            drawn += found
            left -= sum(len(item.questions) for item in found)
        return drawn


def supply(sentences: Sequence[tuple[str, str]], names: Mapping[str, Sequence[str]], seed: int) -> Supply:
    """Gather what the contrasts of a training run are written from.

    Args:
        sentences: Ids of notes and their sentences. Notes that contrasts are measured with are left out.
        names: List of words → names that are added to it.
        seed: Of the choice of questions.
    """
    rules = with_names(load_rules("training"), names)
    read = [(note, text) for note, text in sentences if not is_held_out(note) and len(text) < LONGEST_SENTENCE]
    contexts = [text for _, text in read if SHORTEST_CONTEXT <= len(text) <= LONGEST_CONTEXT]
    return Supply(rules, list(from_sentences(rules, read, seed)), contexts)


def as_rows(contrasts: Supply, count: int, seed: int) -> list[Triplet]:
    """Contrasts as training rows: a passage of another claim is the hard negative of one that makes the claim."""
    rng = random.Random(seed)  # noqa: S311
    return [
        Triplet(question, rng.choice(item.making(claim)), [rng.choice(item.differing(claim))], [], SOURCE, item.origin)
        for item in contrasts.draw(count, seed)
        for claim, question in item.questions
    ][:count]


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
        """Cross-entropy of each question's passages among all passages of the batch: those of its claim in any words above all others."""
        drawn = self.contrasts.draw(self.settings.batch_size, seed)
        asked = [(item, claim, text) for item in drawn for claim, text in item.questions]
        told = list(dict.fromkeys(text for item in drawn for _, text in item.passages))
        fitting = [set(item.making(claim)) for item, claim, _ in asked]
        fits = torch.tensor([[text in texts for text in told] for texts in fitting])
        queries = self._encoded([text for *_, text in asked], "query")
        passages = self._encoded(told, "document")
        with torch.autocast(queries.device.type, enabled=False):
            return contrastive(queries @ passages.T / self.settings.temperature, fits.to(queries.device))

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


def contrastive(scores: Tensor, fits: Tensor) -> Tensor:
    """Mean over questions of the cross-entropy of each passage that fits, among it and all that do not.

    Passages that fit are no negatives of each other: a question has to rank each of them above all others.

    Args:
        scores: Cosines divided by the temperature. *Shape:* ``(questions, passages)``.
        fits: Whether the passage makes the claim that is asked for; at least one does. *Shape:* ``(questions, passages)``.
    """
    others = torch.logsumexp(scores.masked_fill(fits, -torch.inf), dim=1, keepdim=True)
    lost = functional.softplus(others - scores)
    return (lost.masked_fill(~fits, 0.0).sum(dim=1) / fits.sum(dim=1)).mean()


@contextmanager
def _vectors_of(model: Any) -> Iterator[list[Tensor]]:
    """The vectors that a model gives while the block runs, in order."""
    vectors: list[Tensor] = []
    hook = model.register_forward_hook(lambda _model, _given, out: vectors.append(out["sentence_embedding"]))
    try:
        yield vectors
    finally:
        hook.remove()
