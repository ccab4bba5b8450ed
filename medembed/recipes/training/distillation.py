"""Learning a teacher's order of a whole batch: every query is compared with every passage, and the teacher says how alike they are.

Mined negatives with scores teach a few passages a query. In a batch of related rows the teacher can score all pairs at the cost
of its own vectors, so each row gives as many graded passages as the batch holds, and none is wrongly called a negative.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from medembed.recipes.train_settings import Teacher

# passages compared with all queries at once: 64 queries of 64 tokens, 16 passages of 384, are 100 MB of products
PASSAGES_AT_A_TIME = 16


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
        self.start = None if own is None else Start(model, own)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            sentence_features: Tokens of queries and of positives.
            labels: The teacher's scores divided by its temperature. *Shape:* ``(rows, rows)``, queries by passages.
        """
        columns = list(sentence_features)
        if self.start is not None:
            labels = labels + self.start.scores(columns)
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
    """The model that training starts from, as the teacher: its token states know more of a text than its one vector.

    Args:
        model: The model to train, as it is now.
        settings: The teacher's shares and temperature.

    Attributes:
        vectors: Its vectors of the last batch, a column each. *Shape:* ``(rows, dim)``.
    """

    def __init__(self, model: Any, settings: Teacher) -> None:
        """Copy the model. The copy is no part of the loss: none of its weights is trained."""
        self._model, self._settings = copy.deepcopy(model).requires_grad_(False), settings
        self._model.train(not settings.maxsim)  # packed by length while training, which gives no token states
        self.vectors: list[Tensor] = []

    def scores(self, columns: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Scores of a batch's queries with its passages, divided by the teacher's temperature.

        Args:
            columns: Tokens of queries and of passages.

        Returns:
            *Shape:* ``(queries, passages)``.
        """
        with torch.no_grad():
            queries, passages = (self._model(dict(column)) for column in columns)
        self.vectors = [side["sentence_embedding"].float() for side in (queries, passages)]
        with torch.autocast(self.vectors[0].device.type, enabled=False):
            asked, told = (functional.normalize(side, dim=-1) for side in self.vectors)
            found = self._settings.cosine * (asked @ told.T)
            if self._settings.maxsim:
                found = found + self._settings.maxsim * mean_maxsim(queries, passages)
        return found / self._settings.temperature


def mean_maxsim(queries: Mapping[str, Tensor], passages: Mapping[str, Tensor]) -> Tensor:
    """Mean over a query's tokens of the highest cosine with a passage's token (Khattab and Zaharia 2020, arXiv:2004.12832).

    Args:
        queries: ``token_embeddings``, *shape* ``(n, tokens, dim)``, and ``attention_mask``, *shape* ``(n, tokens)``.
        passages: The same of m passages.

    Returns:
        *Shape:* ``(n, m)``.
    """
    asked, told = (functional.normalize(side["token_embeddings"].float(), dim=-1) for side in (queries, passages))
    kept, padding = queries["attention_mask"].float(), passages["attention_mask"] == 0
    found = []
    for first in range(0, len(told), PASSAGES_AT_A_TIME):
        some = slice(first, first + PASSAGES_AT_A_TIME)
        cosines = torch.einsum("qid,pjd->qpij", asked, told[some])
        best = cosines.masked_fill(padding[some][None, :, None, :], -torch.inf).amax(dim=-1)
        found.append((best * kept[:, None, :]).sum(dim=-1) / kept.sum(dim=-1)[:, None])
    return torch.cat(found, dim=1)


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
