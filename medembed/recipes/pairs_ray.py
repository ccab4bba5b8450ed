"""Pairs written by Ray actors, on one machine or many, each with a writer of its own.

Actors get notes and give back what came of them, one note at a time; the driver alone keeps files. So nothing but memory has
to be shared between machines, and an actor or a driver may die at any moment: see docs/decisions/0034.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from medembed.corpus.ray_connection import connected
from medembed.errors import MedEmbedError, PairWriterError, RecipeConfigError
from medembed.recipes.pair_blocks import Block, Results
from medembed.recipes.records import Note
from medembed.recipes.schema import Recipe
from medembed.recipes.writers import load_writer
from medembed.recipes.writers.api_key import api_key
from medembed.recipes.writers.interface import PairWriter, Written

# how long to wait for the first actor before saying what it waits for
PATIENCE_S = 60.0


def write_on_ray(recipe: Recipe, blocks: Iterator[Block], say: Callable[[str], None]) -> Results:
    """Results of the missing notes of some blocks, written by actors. Several blocks are written at a time.

    Args:
        recipe: ``execution.ray`` names the cluster, ``execution.ray_workers`` how many actors there are at most.
        blocks: Blocks with at least one missing note; as many are held as actors are at work.
        say: Tells a person what is waited for.

    Yields:
        A block and what came of one of its notes; each missing note exactly once.

    Raises:
        PairWriterError: Actors die again and again, or nobody answers them.
        RecipeConfigError: Ray runs on this machine alone, and it has too few GPUs.
    """
    first = next(blocks, None)
    if first is None:
        return  # all is written: no cluster is needed
    execution = recipe.execution
    address = None if execution.ray == "local" else execution.ray
    with connected(address, execution.ray_workers + 1) as ray:
        crew = _Crew(ray, recipe, say)
        try:
            yield from crew.write(chain([first], blocks))
        finally:
            crew.dismiss()


class _Crew:
    """Actors, of which each is starting, idle, or writing one block."""

    def __init__(self, ray: Any, recipe: Recipe, say: Callable[[str], None]) -> None:
        self._ray, self._recipe, self._say = ray, recipe, say
        self._gpus = recipe.execution.tensor_parallel if _needs_gpu(recipe) else 0
        self._check_gpus()
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Block | None]] = {}  # by what tells that there is news of it
        self._deaths = 0
        for _ in range(recipe.execution.ray_workers):
            self._hire()

    def _check_gpus(self) -> None:
        there = self._ray.cluster_resources().get("GPU", 0)
        if self._recipe.execution.ray == "local" and there < self._gpus:
            raise RecipeConfigError(
                f"execution.ray=local: each worker of 'vllm_local' takes {self._gpus} GPU(s), and Ray sees {there:g} on this machine. "
                "Name a cluster that has them (execution.ray=ADDRESS), or have the CPU write (execution.device=cpu)"
            )

    def _hire(self) -> None:
        actor = self._ray.remote(_Worker).options(num_cpus=1, num_gpus=self._gpus)
        worker = actor.remote(self._recipe, api_key(self._recipe.execution))
        self._busy[worker.ready.remote()] = worker, None

    def write(self, blocks: Iterator[Block]) -> Results:
        """Give each idle actor a block, and pass on the results. A block whose actor died is given to another."""
        while True:
            while self._idle and (block := next(blocks, None)) is not None:
                worker = self._idle.pop()
                stream = worker.write.options(num_returns="streaming").remote(block.missing)
                self._busy[stream] = worker, block
            if self._idle and not any(block for _, block in self._busy.values()):
                return
            news = self._wait()
            worker, block = self._busy[news]
            try:
                results = self._read(news, block)
            except self._ray.exceptions.RayTaskError as error:
                # ours say what to do, and where in the actor they were raised helps nobody
                raise error.cause if isinstance(error.cause, MedEmbedError) else error from None
            except self._ray.exceptions.RayError as error:
                self._bury(news, error)
                blocks = chain([block] if block else [], blocks)
                continue
            if results is None:
                del self._busy[news]
                self._idle.append(worker)
            elif block is not None:
                self._deaths = 0
                yield from ((block, result) for result in results)

    def _wait(self) -> Any:
        """Wait for the next news of an actor, and return its reference. A person is told once where no actor starts."""
        ready, _ = self._ray.wait(list(self._busy), timeout=PATIENCE_S)
        if not ready:
            if all(block is None for _, block in self._busy.values()):
                there = self._ray.cluster_resources()
                self._say(
                    f"waiting for a Ray worker, which takes 1 CPU and {self._gpus} GPU(s); the cluster has {there.get('CPU', 0):g} "
                    f"CPUs and {there.get('GPU', 0):g} GPUs, other work included"
                )
            ready, _ = self._ray.wait(list(self._busy))
        return ready[0]

    def _read(self, news: Any, block: Block | None) -> list[Written] | None:
        """Results of an actor, or None where it is free for a block."""
        reference = next(news, None) if block else news
        results: list[Written] | None = None if reference is None else self._ray.get(reference)
        return results

    def _bury(self, news: Any, error: Exception) -> None:
        """Replace an actor that died, unless none lives long enough to give a result."""
        worker, _ = self._busy.pop(news)
        self._kill(worker)  # where it is only out of reach
        self._deaths += 1
        if self._deaths > 2 * self._recipe.execution.ray_workers:
            raise PairWriterError(
                f"{self._deaths} Ray workers died without a result ({type(error).__name__}): look into Ray's logs for the reason, memory in "
                "most cases. Then run the same command: it goes on with what is missing"
            ) from error
        self._hire()

    def dismiss(self) -> None:
        """End all actors, which frees their GPUs for the stages to come."""
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            self._kill(worker)

    def _kill(self, worker: Any) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker)


class _Worker:
    """An actor. Its writer is loaded with the first block, so that an error in that reaches the driver as it is."""

    def __init__(self, recipe: Recipe, key: str | None) -> None:
        self._recipe = recipe
        name = recipe.execution.api_key_env
        if key is not None and name is not None:
            os.environ[name] = key  # the driver's: other machines need not have it

    def ready(self) -> None:
        """Return once the actor runs."""

    @functools.cached_property
    def _writer(self) -> PairWriter:
        return load_writer(self._recipe)

    def write(self, notes: Sequence[Note]) -> Iterator[list[Written]]:
        """Results of some notes.

        Each comes at once where a language model answers. They come together where a rule does.
        """
        results = self._writer.write(notes)
        if self._recipe.pairs.asks_model:
            yield from ([result] for result in results)
        else:
            yield list(results)


def _needs_gpu(recipe: Recipe) -> bool:
    return recipe.pairs.writer == "vllm_local" and recipe.execution.device != "cpu"
