"""Starts workers and gives them jobs in turn, so that a slow minute of the machine strikes every side alike."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from tests.benchmarks import models
from tests.benchmarks.engines import ENGINES

PEERS = models.ROOT / ".venv-peers" / "bin" / "python"
# Threads of the last engine may spin for some milliseconds after its job.
PAUSE_S = 0.2
ERROR_TAIL = 2000


class BenchmarkError(RuntimeError):
    """A worker could not be started or failed at a job; the message ends with what it wrote."""


@dataclass(frozen=True)
class Setting:
    """What all engines of a comparison share.

    Attributes:
        model: A name of ``models.NAMES``.
        threads: CPU threads.
        device: ``"cpu"`` or a torch device.
    """

    model: str = "minilm"
    threads: int = 2
    device: str = "cpu"


class Worker:
    """An engine's process.

    Args:
        engine: A name of ``ENGINES``.
        setting: Model, threads and device.

    Raises:
        BenchmarkError: It did not start.
    """

    def __init__(self, engine: str, setting: Setting) -> None:
        self.engine = engine
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the worker
        command = [str(python_of(engine)), "-m", "tests.benchmarks.worker", engine]
        command += [str(folder_of(engine, setting.model)), str(setting.threads), setting.device]
        self._process = subprocess.Popen(
            command, cwd=models.ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )
        try:
            self.info = self._answer()
        except BenchmarkError:
            self._end()
            raise

    def ask(self, **job: Any) -> dict[str, Any]:
        """Have one job done.

        Returns:
            The worker's answer, and under ``other_load`` how much of the machine other processes used meanwhile, 0 to 1.
        """
        assert self._process.stdin is not None
        before, started = busy_s(), time.perf_counter()
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        wall = time.perf_counter() - started
        others = busy_s() - before - answer["cpu_s"]
        return {**answer, "other_load": round(max(0.0, others) / wall / (psutil.cpu_count() or 1), 3)}

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._process.wait()
        self._log.seek(0)
        said = self._log.read()[-ERROR_TAIL:]
        raise BenchmarkError(f"{self.engine} ended with exit code {self._process.returncode}:\n{said}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.communicate()  # closes its standard input, which ends its loop
        self._log.close()


def python_of(engine: str) -> Path:
    """The interpreter of the engine's environment.

    Raises:
        BenchmarkError: The peers' environment is not there.
    """
    if ENGINES[engine].environment == "own":
        return Path(sys.executable)
    if not PEERS.exists():
        raise BenchmarkError(f"{engine} needs the peers' environment, and {PEERS} is missing: make .venv-peers/.ready")
    return PEERS


def folder_of(engine: str, model: str) -> Path:
    """The engine's form of the model."""
    export = ENGINES[engine].export
    return models.folder(model) if export is None else models.exported(model, export, python_of(engine))


def busy_s() -> float:
    """CPU seconds the whole machine has worked since it started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _others_s() -> float:
    """CPU seconds that all other processes have worked."""
    own = psutil.Process().cpu_times()
    return busy_s() - own.user - own.system


@dataclass
class Watch:
    """Wall time, and the share of the machine that other processes took meanwhile."""

    started: float = field(default_factory=time.perf_counter)
    others: float = field(default_factory=_others_s)

    def seconds(self) -> float:
        """Since it was made."""
        return time.perf_counter() - self.started

    def other_load(self) -> float:
        """The share so far, 0 to 1."""
        share = (_others_s() - self.others) / self.seconds() / (psutil.cpu_count() or 1)
        return round(max(0.0, share), 3)


@dataclass
class Rounds:
    """Answers of every engine, round by round; answers of one round belong together.

    Attributes:
        answers: By engine.
        vectors: What each engine made of the texts: an engine that reads less of them shows here.
        versions: Of packages, by engine.
        ready: What each worker said when it had loaded.
    """

    answers: dict[str, list[dict[str, Any]]]
    vectors: dict[str, NDArray[np.float32]]
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    ready: dict[str, dict[str, Any]] = field(default_factory=dict)

    def seconds(self, engine: str) -> list[float]:
        """Wall time of each round."""
        return [answer["seconds"] for answer in self.answers[engine]]

    def paired(self, engine: str, other: str, key: str = "seconds") -> list[float]:
        """``other`` over ``engine`` in each round: how many times faster ``engine`` is."""
        pairs = zip(self.answers[other], self.answers[engine], strict=True)
        return [theirs[key] / ours[key] for theirs, ours in pairs]

    def speedup(self, engine: str, other: str, key: str = "seconds") -> float:
        """The median of the paired ratios."""
        return median(self.paired(engine, other, key))

    @property
    def other_load(self) -> float:
        """The most that other processes used during any job, 0 to 1 of the machine."""
        return max(answer["other_load"] for answers in self.answers.values() for answer in answers)


def in_turn(engines: Sequence[str], setting: Setting, rounds: int, **job: Any) -> Rounds:
    """Give every engine the same job, round after round, beginning with another engine each time.

    Each does it once more before, not timed: engines compile, caches fill.

    Raises:
        BenchmarkError: An engine failed.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = [stack.enter_context(Worker(engine, setting)) for engine in engines]
        answers: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
        vectors = {worker.engine: _warm_up(worker, job, scratch) for worker in workers}
        for number in range(rounds):
            first = number % len(workers)
            for worker in workers[first:] + workers[:first]:
                time.sleep(PAUSE_S)
                answers[worker.engine].append(worker.ask(**job))
        ready = {worker.engine: worker.info for worker in workers}
    return Rounds(answers, vectors, {engine: info.pop("versions") for engine, info in ready.items()}, ready)


def _warm_up(worker: Worker, job: dict[str, Any], scratch: Path) -> NDArray[np.float32]:
    """The job once, not timed, and its vectors."""
    path = scratch / f"{worker.engine}.npy"
    worker.ask(**job, save=str(path))
    vectors: NDArray[np.float32] = np.load(path)
    return vectors
