"""Directions for short vectors: a matrix whose first columns keep the order that a model's whole vectors give.

Matryoshka training asks the encoder for this at the cost of its whole vectors; a matrix learnt afterwards leaves them as they are.
"""

import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints import shortening
from medembed.errors import RecipeConfigError
from medembed.extras import require
from medembed.recipes import models
from medembed.recipes.records import Triplet
from medembed.recipes.reporting import Task
from medembed.recipes.schema import Recipe
from medembed.vectors import Floats

ROWS = 4_000  # a query and a passage each: more changed the share kept at 128 dimensions by less than noise
STEPS, BATCH, LEARNING_RATE, TEMPERATURE = 600, 512, 1e-3, 0.1


def learn_for(folder: Path, rows: Iterable[Triplet], dims: Sequence[int], recipe: Recipe, task: Task) -> None:
    """Learn directions from training rows, and put them into a model's folder."""
    shortening.write(of_model(folder, rows, dims, recipe, task), folder)


def of_model(folder: Path, rows: Iterable[Triplet], dims: Sequence[int], recipe: Recipe, task: Task) -> Floats:
    """Directions learnt from what a model makes of training rows.

    Args:
        folder: The model's.
        rows: Training rows, of which at most ``ROWS`` are taken.
        dims: Dimensions that matter.
        recipe: Its prompts, seed, device and threads.
        task: Where to log.

    Returns:
        A direction a column. *Shape:* ``(dim, dim)``.
    """
    started = time.perf_counter()
    chosen = sorted(rows, key=lambda row: (row.query, row.positive))
    random.Random(recipe.seed).shuffle(chosen)  # noqa: S311  a sample, no secret
    chosen = chosen[:ROWS]
    with models.load_encoder(folder, recipe.execution, max_seq_length=recipe.score.max_seq_length) as encoder:
        prompts = encoder.spec.prompts
        queries = models.encode(encoder, [row.query for row in chosen], prompt=prompts["query"])
        passages = models.encode(encoder, [row.positive for row in chosen], prompt=prompts["document"])
    learnt = learn(queries, passages, dims, recipe.seed)
    task.log("directions", rows=len(chosen), dims=list(dims), seconds=round(time.perf_counter() - started, 1))
    return learnt


def learn(queries: Floats, passages: Floats, dims: Sequence[int], seed: int) -> Floats:
    """Learn a matrix from a model's vectors alone, no judgement needed.

    It starts as the passages' principal directions. Each step takes a batch of passages, with their queries or, in turn, with
    other passages, and lowers the Kullback-Leibler divergence of the short vectors' softmax over the batch from the whole ones'.

    Args:
        queries: Unit vectors. *Shape:* ``(n, dim)``.
        passages: Unit vectors of their passages. *Shape:* ``(n, dim)``.
        dims: Dimensions at which the orders are compared; below ``dim``.
        seed: Of the batches.

    Returns:
        float32, *Shape:* ``(dim, dim)``.

    Raises:
        RecipeConfigError: A dimension that is not below the vectors'.
    """
    if max(dims) >= passages.shape[1]:
        raise RecipeConfigError(
            f"publish.short_dims or train.matryoshka_dims has {max(dims)}, but the model's vectors have {passages.shape[1]} dimensions: name fewer"
        )
    torch = require("torch")
    from medembed.recipes.training.distillation import divergence

    asked, found = torch.from_numpy(queries), torch.from_numpy(passages)
    matrix = torch.nn.Parameter(torch.from_numpy(principal(passages.T @ passages)))
    optimiser = torch.optim.Adam([matrix], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    draw = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        batch = torch.randperm(len(found), generator=draw)[:BATCH]
        others = torch.randperm(len(found), generator=draw)[:BATCH]
        a, b = (asked[batch] if step % 2 else found[others]), found[batch]
        whole = a @ b.T / TEMPERATURE
        loss = sum(divergence(a @ matrix[:, :size], b @ matrix[:, :size], whole, TEMPERATURE) for size in dims)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return np.asarray(matrix.detach().numpy(), dtype=np.float32)


def principal(moments: NDArray[np.floating[Any]]) -> Floats:
    """Orthonormal directions in the order of how much of some vectors' squared length lies in them.

    Args:
        moments: The sum of the vectors' products with themselves, ``vectors.T @ vectors``. *Shape:* ``(dim, dim)``.

    Returns:
        A direction a column. *Shape:* ``(dim, dim)``.
    """
    _, directions = np.linalg.eigh(moments)  # ascending
    return np.ascontiguousarray(directions[:, ::-1], dtype=np.float32)
