"""Shards embedded by Ray Data actors on one machine or many.

The driver reads and numbers the rows, as a local run does, and stages the rows of each shard that is missing as an Arrow file on storage
that all nodes share. Actors run the same :func:`medembed.corpus.embed.encode` and write shards under the same names, so a
run may be begun on a laptop and finished on a cluster. The shards are the checkpoint: see docs/decisions/0033.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medembed import errors
from medembed.corpus import embed
from medembed.corpus.embedder import Embedder
from medembed.corpus.layout import CorpusManifest
from medembed.corpus.ray_connection import connected
from medembed.errors import CorpusError, MedEmbedError, SettingError
from medembed.extras import require
from medembed.model import MedEmbed
from medembed.storage import arrow_files, paths, shards
from medembed.storage.durable import write_whole
from medembed.storage.manifest import Manifest, Shard
from medembed.storage.places import SHARDS, STAGING
from medembed.storage.shards import Job, Runner


@dataclass(frozen=True)
class Cluster:
    """Number of actors, and what Ray gives to each.

    Attributes:
        actors: At most; each holds one model.
        least: At least; fewer than ``actors`` lets Ray start more as work waits, and the cluster grow.
        cpus: Cores an actor reserves, and the threads of its model.
        gpus: GPUs an actor reserves; 0 for the CPU.
        address: Address of a running cluster, ``"auto"`` for the one this machine belongs to; None to start Ray here.

    Raises:
        SettingError: A value that cannot be.
    """

    actors: int = 2
    least: int | None = None
    cpus: int = 1
    gpus: float = 0
    address: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if not 1 <= (self.actors if self.least is None else self.least) <= self.actors:
            raise SettingError(f"actors={self.actors}, least={self.least}: give 1 ≤ least ≤ actors")
        if self.cpus < 1 or self.gpus < 0:
            raise SettingError(
                f"cpus={self.cpus}, gpus={self.gpus}: an actor takes at least one core, and zero or more GPUs"
            )


def on_ray(model: MedEmbed, cluster: Cluster) -> Runner:
    """A runner that embeds on a Ray cluster.

    Args:
        model: Whose settings each actor starts a model with; texts are not embedded by this one.
        cluster: Actors and what each reserves.

    Returns:
        For :func:`medembed.corpus.embed.index`. The corpus's folder has to lie on storage that all nodes see under one path.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    ray = require("ray")
    require("ray.data")

    def run(jobs: Iterable[Job], folder: Path, manifest: Manifest[Any]) -> Iterator[Shard]:
        folder = folder.absolute()
        staging = folder / SHARDS / STAGING
        staging.mkdir(parents=True, exist_ok=True)
        staged = {job.id: _stage(staging, job) for job in jobs}
        if not staged:
            return
        try:
            # enough logical cores for all actors and for the task that lists the shards
            with connected(cluster.address, cluster.actors * cluster.cpus + 1):
                for receipt in _receipts(ray, model, cluster, folder, manifest, sorted(staged)):
                    yield Shard.model_validate_json(receipt)
        except ray.exceptions.RayError as error:
            raise CorpusError(
                f"Ray stopped with an error ({type(error).__name__}): shards that are whole are kept; run the same command again to go on"
            ) from error
        finally:
            paths.remove_folder(folder, f"{SHARDS}/{STAGING}")

    return run


def _stage(staging: Path, job: Job) -> Path:
    path = staging / f"{job.id}.arrow"
    write_whole(path, lambda aside: arrow_files.save(aside, job.rows))
    return path


def _receipts(
    ray: Any, model: MedEmbed, cluster: Cluster, folder: Path, manifest: Manifest[Any], names: list[str]
) -> Iterator[str]:
    """Manifest entries of the shards, as actors finish them. They come in any order, each once.

    Raises:
        MedEmbedError: As an actor raised it, for instance for a text that is too long.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    embedder = Embedder(model, device="cuda" if cluster.gpus else "cpu", threads=cluster.cpus)
    least = cluster.actors if cluster.least is None else cluster.least
    # one row per block: a block is what Ray hands to an actor, and does again where the actor dies
    shard_names = ray.data.from_items([{"shard": name} for name in names], override_num_blocks=len(names))
    done = shard_names.map_batches(
        _ShardMaker,
        fn_constructor_args=(embedder, manifest.model_dump_json(), str(folder)),
        batch_size=1,
        num_cpus=cluster.cpus,
        num_gpus=cluster.gpus or None,
        compute=ray.data.ActorPoolStrategy(min_size=least, max_size=cluster.actors),
    )
    for row in done.iter_rows():
        if row["error"]:
            raise getattr(errors, row["error"])(row["told"])
        yield row["told"]


class _ShardMaker:
    """An actor with one model. Shards go straight to the corpus's folder. Only their receipts go through Ray."""

    def __init__(self, embedder: Embedder, manifest: str, folder: str) -> None:
        self._model = embedder.model
        self._manifest, self._folder = CorpusManifest.model_validate_json(manifest), Path(folder)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        [name] = batch["shard"]
        try:
            return {"told": [self._embed(str(name)).model_dump_json()], "error": [""]}
        except MedEmbedError as error:
            # Ray hands on an error as text of its own, without the one that says file and line
            return {"told": [str(error)], "error": [type(error).__name__]}

    def _embed(self, name: str) -> Shard:
        index, content = name.split(".")
        job = Job(int(index), content, arrow_files.mapped(self._folder / SHARDS / STAGING / f"{name}.arrow"))
        existing = shards.find_shard(self._folder, job)  # an actor may have died after writing it
        return existing or shards.made(
            self._folder, job, embed.encode(self._model, job, self._manifest), self._manifest
        )
