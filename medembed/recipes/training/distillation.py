"""Learning a teacher's order of a whole batch: every query is compared with every passage, and the teacher says how alike they are.

Mined negatives with scores teach a few passages a query. In a batch of related rows the teacher can score all pairs at the cost
of its own vectors, so each row gives as many graded passages as the batch holds, and none is wrongly called a negative.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


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
    """

    directions: Tensor | None

    def __init__(
        self, model: Any, temperature: float, dims: Sequence[int] = (), directions: Tensor | None = None
    ) -> None:
        """Keep the model under the name that sentence-transformers' own losses give it: MatryoshkaLoss looks there."""
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.dims = tuple(dims)
        self.register_buffer("directions", directions)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            sentence_features: Tokens of queries and of positives.
            labels: The teacher's scores divided by its temperature. *Shape:* ``(rows, rows)``, queries by passages.
        """
        queries, passages = (self.model(features)["sentence_embedding"].float() for features in sentence_features)
        # in bf16 a cosine is right to 0.004, which the temperature makes a tenth of what the softmax sees
        with torch.autocast(queries.device.type, enabled=False):
            loss = divergence(queries, passages, labels, self.temperature)
            if self.directions is not None:
                for size in self.dims:
                    turn = self.directions[:, :size]
                    loss = loss + divergence(queries @ turn, passages @ turn, labels, self.temperature)
        return loss


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
