"""Progress for people and a run log as JSON lines: counts, rates and ids, never text."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from medembed.console import Terminal

LINE_EVERY_S = 30.0


class Task:
    """One stage's progress: how many items are done, how many of them failed and why."""

    def __init__(self, reporter: "Reporter", name: str, unit: str, bar: TaskID | None) -> None:
        self.name, self.unit, self.done = name, unit, 0
        self.failures: Counter[str] = Counter()
        self.reporter, self._bar = reporter, bar
        self._started = self._told = time.perf_counter()
        self._total: int | None = None

    @property
    def rate(self) -> float:
        """Items per second since the task began."""
        return self.done / max(time.perf_counter() - self._started, 1e-9)

    def expect(self, total: int) -> None:
        """Tell how many items there are, once that is known."""
        self._total = total
        self.reporter.show(self._bar, total=total)

    def advance(self, count: int = 1, failed: str | None = None) -> None:
        """Count items as done. ``failed`` names the reason when they failed."""
        self.done += count
        if failed is not None:
            self.failures[failed] += count
        note = f"{self.rate:,.1f} {self.unit}/s" + (f", {self.failures.total():,} failed" if self.failures else "")
        self.reporter.show(self._bar, advance=count, note=note)
        if self.reporter.in_lines and time.perf_counter() - self._told >= LINE_EVERY_S:
            self._told = time.perf_counter()
            of = "" if self._total is None else f" of {self._total:,}"
            self.reporter.say(f"{self.name}: {self.done:,}{of} {self.unit}, {note}")

    def log(self, event: str, **values: Any) -> None:
        """Write one line to the run log. Values are counts, figures and ids, never texts."""
        self.reporter.log(event, stage=self.name, **values)


class Reporter:
    """Progress for people, and the run log.

    Args:
        log_path: File of JSON lines, appended to; None writes none.
        progress: Show bars on a terminal; elsewhere, a line where a stage begins and ends and every half minute between.
    """

    def __init__(self, log_path: Path | None = None, *, progress: bool = True) -> None:
        self.console = Terminal(stderr=True)
        self._log: IO[str] | None = None
        if log_path is not None:
            log_path.parent.mkdir(parents=True, exist_ok=True)
            self._log = log_path.open("a", encoding="utf-8")
        self._progress = _bars(self.console) if progress and self.console.is_terminal else None
        self.in_lines = progress and not self.console.is_terminal

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        if self._log is not None:
            self._log.close()
            self._log = None

    @contextmanager
    def task(self, name: str, unit: str = "items") -> Iterator[Task]:
        """Progress of one stage, with its beginning, end and failure in the log."""
        bar = self._progress.add_task(name, total=None, note="") if self._progress is not None else None
        task = Task(self, name, unit, bar)
        self.log("stage_started", stage=name)
        if self.in_lines:
            self.say(f"{name}: begins")
        started = time.perf_counter()
        try:
            yield task
        except BaseException as error:
            self.log("stage_failed", stage=name, error=type(error).__name__, done=task.done)
            raise
        seconds = round(time.perf_counter() - started, 3)
        self.log("stage_finished", stage=name, seconds=seconds, done=task.done, failures=dict(task.failures))
        if self.in_lines:
            self.say(f"{name}: {task.done:,} {unit} in {seconds:,.1f} s")

    def show(self, bar: TaskID | None, *, total: int | None = None, advance: int = 0, note: str | None = None) -> None:
        """Move a bar. Without a terminal nothing happens."""
        if self._progress is None or bar is None:
            return
        if total is not None:
            self._progress.update(bar, total=total)
        if note is not None:
            self._progress.update(bar, advance=advance, note=note)

    def log(self, event: str, **values: Any) -> None:
        """Append one line to the run log."""
        if self._log is not None:
            line = {"time": round(time.time(), 3), "event": event, **values}
            self._log.write(json.dumps(line, sort_keys=True) + "\n")
            self._log.flush()

    def say(self, text: str) -> None:
        """One line for a person, on standard error."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _bars(console: Terminal) -> Progress:
    columns = (TextColumn("{task.description:<12}"), BarColumn(bar_width=30), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    return Progress(*columns, *times, console=console)
