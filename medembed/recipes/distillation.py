"""Learning a teacher's order of a whole batch: every query is compared with every passage, and the teacher says how alike they are.

Mined negatives with scores teach a few passages a query. In a batch of related rows the teacher can score all pairs at the cost
of its own vectors, so each row gives as many graded passages as the batch holds, and none is wrongly called a negative.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class InBatchDistillation(torch.nn.Module):
    """Kullback-Leibler divergence of the model's distribution over a batch's passages from the teacher's, a query at a time.

    The model's cosines over ``temperature``, and the teacher's scores as they come, each go through a softmax (Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531).

    Args:
        model: The student.
        temperature: The student's.
    """

    def __init__(self, model: Any, temperature: float) -> None:
        """Keep the model under the name that sentence-transformers' own losses give it: MatryoshkaLoss looks there."""
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            sentence_features: Tokens of queries and of positives.
            labels: The teacher's scores divided by its temperature. *Shape:* ``(rows, rows)``, queries by passages.
        """
        queries, passages = (self.model(features)["sentence_embedding"] for features in sentence_features)
        return divergence(queries, passages, labels, self.temperature)


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
