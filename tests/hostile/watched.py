"""A worker process that meets one attack after another: limited in memory, watched for hangs, made anew when it dies.

``python -m tests.hostile.watched MODULE`` is the worker: it calls ``MODULE.prepare()``, then ``MODULE.attempt(line)`` for each line.
"""

import contextlib
import importlib
import queue
import resource
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

# above what an honest input of an attack needs (an interpreter with OpenVINO takes 2 GB of address space), below any bomb
MEMORY = 6 << 30
LONGEST_SECONDS = 10.0
FINE = ("right", "refused")


class Watched:
    """Sends lines to a worker and says what each came to.

    Attributes:
        peak: The largest resident memory of a worker so far, in bytes.
    """

    def __init__(self, module: str) -> None:
        self.peak = 0
        self._module = module
        self._process: subprocess.Popen[str] | None = None
        self._warm = False
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread()

    def __call__(self, line: str) -> str:
        """What the worker answers; ``"hang"``, ``"signal NUMBER"`` or ``"raw exit CODE"`` where it does not."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        try:
            # the first answer of a process pays for its imports
            answer = self._answer(process.pid, LONGEST_SECONDS * (1 if self._warm else 12))
        except queue.Empty:
            self.close()
            return "hang"
        self._warm = True
        if answer is None:
            status = self._gone(process)
            return f"signal {-status}" if status < 0 else f"raw exit {status}"
        used, _, told = answer.partition(" ")
        self.peak = max(self.peak, int(used) << 10)
        return told

    def _answer(self, pid: int, most: float) -> str | None:
        """The worker's next line, waited for ``most`` seconds of its own: those in which it computes, or waits for nothing.

        On a busy machine a worker may stand still because others have the processor. That is no hang.
        """
        worker = psutil.Process(pid)
        spent, before = 0.0, 0.0
        while spent < most:
            try:
                return self._lines.get(timeout=1.0)
            except queue.Empty:
                with contextlib.suppress(psutil.NoSuchProcess):
                    now = sum(worker.cpu_times()[:2])
                    spent += min(1.0, now - before) if _wants_processor(pid) else 1.0
                    before = now
        raise queue.Empty

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.hostile.watched", self._module]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._process, self._lines, self._warm = process, queue.Queue(), False
        self._reader = threading.Thread(target=self._read, args=(process, self._lines), daemon=True)
        self._reader.start()
        return process

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: "queue.Queue[str | None]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("= "):
                lines.put(line[2:].strip())
        lines.put(None)

    def close(self) -> None:
        """End the worker."""
        if self._process is not None:
            self._process.kill()
            self._gone(self._process)

    def _gone(self, process: subprocess.Popen[str]) -> int:
        """Wait for a worker that ends, and give back its pipes and its exit status."""
        status = process.wait()
        self._reader.join()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process = None
        return status


def _wants_processor(pid: int) -> bool:
    """Whether any thread of a process could go on if it were let (R), or waits for a disk (D)."""
    states = set()
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states.add(thread.read_text().rpartition(")")[2].split()[0])
    return bool(states & {"R", "D"})


class Tally:
    """Counts outcomes and keeps the names of attacks that were neither refused nor harmless."""

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self.faults: dict[str, str] = {}

    def add(self, name: str, outcome: str) -> None:
        """Count one attack."""
        kind = outcome.partition(" ")[0]
        self._outcomes[kind] += 1
        if kind not in FINE:
            self.faults[name] = outcome

    def counts(self, memory: float | None = None) -> dict[str, Any]:
        """Counts by kind of outcome, the faults, and the peak of memory beside what an honest input needs."""
        names = {
            "right": "right", "refused": "refused", "raw": "raw", "wrong": "wrong", "signal": "signals", "hang": "hangs",
        }  # fmt: skip
        told = {shown: self._outcomes[kind] for kind, shown in names.items()}
        return {**told, **({} if memory is None else {"memory": round(memory, 2)}), "faults": self.faults}


def _work(name: str) -> None:
    module = importlib.import_module(name)
    if hasattr(module, "prepare"):
        module.prepare()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        outcome = module.attempt(line.rstrip("\n"))
        print("=", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, outcome, flush=True)


if __name__ == "__main__":
    _work(sys.argv[1])
