"""The processes that train together, as torchrun tells each of them. Imports no torch: runs are checked before they begin."""

import os

from medembed.errors import RecipeConfigError
from medembed.recipes.train_settings import Train


def count() -> int:
    """Their number, 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check(settings: Train) -> None:
    """Refuse to train in several processes what they would cut apart.

    Raises:
        RecipeConfigError: A teacher's scores of whole batches, and several processes.
    """
    if settings.loss == "batch_kl" and count() > 1:
        raise RecipeConfigError(
            "train.loss='batch_kl' learns what a teacher said of whole batches, which several processes would cut apart: train in one process"
        )
