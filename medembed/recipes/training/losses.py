"""The losses that a recipe can name, on sentence-transformers' own. Imported only when training starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.multi_vector_encoder import losses as multi_vector_losses
from sentence_transformers.multi_vector_encoder import scoring
from sentence_transformers.sentence_transformer import losses

from medembed.recipes.train_settings import Train
from medembed.recipes.training import processes
from medembed.recipes.training.distillation import InBatchDistillation
from medembed.vectors import Floats


def load(model: Any, settings: Train, guide: Path | None, learn: Callable[[], Floats] | None = None) -> Any:
    """The loss a recipe names, Matryoshka around it where dimensions are given.

    Args:
        model: The model to train.
        settings: The recipe's.
        guide: Folder of the model that tells false negatives, for ``cached_gist``.
        learn: Gives directions for shorter vectors, a column each, *shape* ``(dim, dim)``; called where the recipe asks for them.

    Raises:
        RecipeConfigError: A teacher's scores of whole batches, and several processes.
    """
    scale = 1.0 / settings.temperature
    gather = processes.count() > 1
    processes.check(settings)
    if settings.architecture == "colbert":
        return _colbert_loss(model, settings, gather=gather)
    both = (
        {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
        if settings.symmetric
        else {}
    )
    tokens = settings.micro_batch_tokens

    def distillation(kind: Any) -> Any:
        return kind(model)

    makers: dict[str, Callable[[], Any]] = {
        "mnr": lambda: losses.MultipleNegativesRankingLoss(model, scale=scale, gather_across_devices=gather, **both),
        "cached_mnr": lambda: losses.CachedMultipleNegativesRankingLoss(
            model, scale=scale, mini_batch_num_tokens=tokens or None, gather_across_devices=gather, **both
        ),
        "cached_gist": lambda: losses.CachedGISTEmbedLoss(
            model,
            guide=SentenceTransformer(str(guide), device=str(model.device), local_files_only=True),
            temperature=settings.temperature,
            mini_batch_num_tokens=tokens or None,
            gather_across_devices=gather,
        ),
        "margin_mse": lambda: distillation(losses.MarginMSELoss),
        "kl": lambda: losses.DistillKLDivLoss(model, temperature=settings.temperature),
        "batch_kl": lambda: InBatchDistillation(
            model,
            settings.temperature,
            settings.matryoshka_dims[1:],
            torch.from_numpy(learn()) if learn is not None and settings.matryoshka_directions else None,
            settings.teacher if settings.teacher is not None and settings.teacher.model is None else None,
        ),
    }
    loss = makers[settings.loss]()
    if settings.matryoshka_dims and not settings.matryoshka_directions:
        loss = losses.MatryoshkaLoss(model, loss, list(settings.matryoshka_dims))
    return loss


def _colbert_loss(model: Any, settings: Train, *, gather: bool) -> Any:
    """The loss over token vectors. A teacher's scores are cosines, so distillation compares them with the mean of MaxSim."""
    losses_of_tokens: dict[str, Callable[[], Any]] = {
        "mnr": lambda: multi_vector_losses.MultiVectorMultipleNegativesRankingLoss(
            model, scale=1.0, gather_across_devices=gather
        ),
        "cached_mnr": lambda: multi_vector_losses.CachedMultiVectorMultipleNegativesRankingLoss(
            model, scale=1.0, gather_across_devices=gather
        ),
        "margin_mse": lambda: multi_vector_losses.MultiVectorMarginMSELoss(
            model, similarity_fct=scoring.mean_colbert_scores_pairwise
        ),
        "kl": lambda: multi_vector_losses.MultiVectorDistillKLDivLoss(
            model, similarity_fct=scoring.mean_colbert_kd_scores, temperature=settings.temperature
        ),
    }
    return losses_of_tokens[settings.loss]()
