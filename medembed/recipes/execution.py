"""The settings of a run that change no result: places, speed, servers and secrets."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from medembed.recipes.section import Positive, Section
from medembed.recipes.vllm_options import VllmOptions


class Execution(Section):
    """Places and speed: nothing in here changes a result or enters a fingerprint.

    A recipe may come from anybody. So its file sets only what is named in `FILE_MAY_SET`, which is speed. Addresses, names of
    secrets and places are the choice of whoever starts the run. A setting added later is closed to files until it is named.

    Attributes:
        work: Folder of what the stages make.
        data: Folder of the sources; left out, the recipe's own.
        out: Folder that the published model goes to.
        models: Folder of models that recipes made before, to be used again.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: CPU threads.
        endpoint: Address of the server that writes pairs.
        api_key_env: Name of the variable that holds its key; left out, none is sent.
        concurrency: Requests at once at most; a server that bears less is asked for less.
        timeout_s: Seconds that one answer may take.
        retries: Times that a note is asked again.
        patience_s: Seconds that a server may take no request.
        tensor_parallel: GPUs of one vLLM.
        llm_batch: Notes handed to vLLM at once.
        ray: ``local``, ``auto`` or a cluster's address; pairs are then written by Ray actors.
        ray_workers: Actors, each with a writer, concurrency and, for vLLM, GPUs of its own.
        lock_wait_s: Seconds to wait for another run in the same folder.
        report_to: Where the trainer logs, for instance ``tensorboard``.
        save_every_steps: Batches between checkpoints.
        push_to_hub: Hub repository that the model is pushed to.
        progress: Whether progress is shown.
        hourly_price: Price of this machine an hour, for ``--dry-run``.
        llm_tokens_per_s: Speed of the writer, for ``--dry-run``.
        train_pairs_per_s: Speed of training, for ``--dry-run``.
    """

    FILE_MAY_SET: ClassVar[frozenset[str]] = frozenset(
        {
            "device",
            "threads",
            "concurrency",
            "timeout_s",
            "retries",
            "patience_s",
            "tensor_parallel",
            "llm_batch",
            "vllm_options",
            "ray_workers",
            "lock_wait_s",
            "save_every_steps",
            "progress",
            "hourly_price",
            "llm_tokens_per_s",
            "train_pairs_per_s",
        }
    )

    work: Path = Path("work")
    data: Path | None = None
    out: Path | None = None
    models: Path | None = None
    device: str = "auto"
    threads: Positive | None = None
    endpoint: str = "http://127.0.0.1:8000/v1"
    api_key_env: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 64
    timeout_s: Annotated[float, Field(gt=0.0, le=86_400.0)] = 120.0
    retries: Annotated[int, Field(ge=0, le=100)] = 6
    patience_s: Annotated[float, Field(gt=0.0, le=86_400.0)] = 600.0
    tensor_parallel: Positive = 1
    llm_batch: Positive = 256
    vllm_options: VllmOptions = VllmOptions()
    ray: str | None = None
    ray_workers: Annotated[int, Field(ge=1, le=10_000)] = (
        2  # each with a writer, concurrency and, for vllm_local, tensor_parallel GPUs of its own
    )
    lock_wait_s: Annotated[float, Field(ge=0.0)] = 0.0
    report_to: str = "none"
    save_every_steps: Positive = 200
    push_to_hub: str | None = None
    progress: bool = True
    hourly_price: Annotated[float, Field(ge=0.0)] = 0.0
    llm_tokens_per_s: Annotated[float, Field(gt=0.0)] = 1500.0
    train_pairs_per_s: Annotated[float, Field(gt=0.0)] = 30.0
