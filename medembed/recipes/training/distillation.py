"""Learning a teacher's order of a whole batch: every query is compared with every passage, and the teacher says how alike they are.

Mined negatives with scores teach a few passages a query. In a batch of related rows the teacher can score all pairs at the cost
of its own vectors, so each row gives as many graded passages as the batch holds, and none is wrongly called a negative.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from sentence_transformers.multi_vector_encoder import scoring
from torch import Tensor
from torch.nn import functional

from medembed.recipes.train_settings import Teacher


class InBatchDistillation(torch.nn.Module):
    """Kullback-Leibler divergence of the model's distribution over a batch's passages from the teacher's, a query at a time.

    The model's cosines over ``temperature``, and the teacher's scores as they come, each go through a softmax (Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531).

    With directions, shorter vectors learn the same beside the whole ones: not first components, which the encoder would have to
    rearrange its space for, but the directions that keep most of what it knows already.

    Args:
        model: The student.
        temperature: The student's.
        dims: Dimensions of shorter vectors that learn too; read with ``directions`` only.
        directions: A direction a column, the first ones for the shorter vectors. *Shape:* ``(dim, dim)``.
        own: Settings of a teacher that is the model as it is now; None where every score is in the labels.
    """

    directions: Tensor | None

    def __init__(
        self,
        model: Any,
        temperature: float,
        dims: Sequence[int] = (),
        directions: Tensor | None = None,
        own: Teacher | None = None,
    ) -> None:
        """Keep the model under the name that sentence-transformers' own losses give it: MatryoshkaLoss looks there."""
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.dims = tuple(dims)
        self.register_buffer("directions", directions)
        self.own = own
        self.start = None if own is None else Start(model, with_tokens=own.maxsim > 0)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            sentence_features: Tokens of queries and of positives.
            labels: The teacher's scores divided by its temperature. *Shape:* ``(rows, rows)``, queries by passages.
        """
        columns = list(sentence_features)
        if self.start is not None and self.own is not None:
            labels = labels + scores_of(self.start.read(columns), self.own)
        queries, passages = (self.model(features)["sentence_embedding"].float() for features in columns)
        # in bf16 a cosine is right to 0.004, which the temperature makes a tenth of what the softmax sees
        with torch.autocast(queries.device.type, enabled=False):
            loss = divergence(queries, passages, labels, self.temperature)
            if self.directions is not None:
                for size in self.dims:
                    turn = self.directions[:, :size]
                    loss = loss + divergence(queries @ turn, passages @ turn, labels, self.temperature)
        return loss


class Start:
    """The model that training starts from, frozen.

    It is no module: a loss that holds it trains and saves none of its weights.

    Args:
        model: The model to train, as it is now.
        with_tokens: Whether its token states are read too. Without, a batch is packed by length.

    Attributes:
        vectors: Its vectors of the columns read last. *Shape:* ``(rows, dim)`` each.
    """

    def __init__(self, model: Any, *, with_tokens: bool = False) -> None:
        """Copy the model."""
        # as the model in training, nothing of it is random; packed rows give no token states
        self._model = copy.deepcopy(model).requires_grad_(False).train(not with_tokens)
        self.vectors: list[Tensor] = []

    def read(self, columns: Sequence[Mapping[str, Tensor]]) -> list[Mapping[str, Tensor]]:
        """The output for each column of tokens."""
        with torch.no_grad():
            found = [self._model(dict(column)) for column in columns]
        self.vectors = [side["sentence_embedding"].float() for side in found]
        return found


def scores_of(sides: Sequence[Mapping[str, Tensor]], settings: Teacher) -> Tensor:
    """A model's scores of a batch's queries with its passages, divided by the teacher's temperature.

    Args:
        sides: What the model gives for the queries and for the passages.
        settings: The shares and the temperature.

    Returns:
        *Shape:* ``(queries, passages)``.
    """
    queries, passages = sides
    with torch.autocast(queries["sentence_embedding"].device.type, enabled=False):
        asked, told = (functional.normalize(side["sentence_embedding"].float(), dim=-1) for side in sides)
        found = settings.cosine * (asked @ told.T)
        if settings.maxsim:
            found = found + settings.maxsim * mean_maxsim(queries, passages)
    return found / settings.temperature


def mean_maxsim(queries: Mapping[str, Tensor], passages: Mapping[str, Tensor]) -> Tensor:
    """Mean over a query's tokens of the highest cosine with a passage's token (Khattab and Zaharia 2020, arXiv:2004.12832).

    Args:
        queries: ``token_embeddings``, *shape* ``(n, tokens, dim)``, and ``attention_mask``, *shape* ``(n, tokens)``.
        passages: The same of m passages.

    Returns:
        *Shape:* ``(n, m)``.
    """
    asked, told = (functional.normalize(side["token_embeddings"].float(), dim=-1) for side in (queries, passages))
    asked_mask, told_mask = (side["attention_mask"].bool() for side in (queries, passages))
    # the library takes groups of documents, here one passage a group
    return scoring.mean_colbert_scores(asked, told[:, None], queries_mask=asked_mask, documents_mask=told_mask[:, None])


def divergence(queries: Tensor, passages: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Mean over queries of the Kullback-Leibler divergence of ``softmax(cosines / temperature)`` from ``softmax(wanted)``.

    Args:
        queries: *Shape:* ``(n, dim)``.
        passages: *Shape:* ``(m, dim)``.
        wanted: Scores divided by their own temperature. *Shape:* ``(n, m)``.
        temperature: Of the cosines.
    """
    queries, passages = functional.normalize(queries, dim=-1), functional.normalize(passages, dim=-1)
    found = functional.log_softmax(queries @ passages.T / temperature, dim=1)
    return functional.kl_div(found, functional.softmax(wanted, dim=1), reduction="batchmean")
