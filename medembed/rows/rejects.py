"""Rows that were left out. They are a file with line and reason, and counts by reason."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from medembed.rows.read import Row
from medembed.rows.seen import SeenIds
from medembed.rows.source import Reject
from medembed.storage import paths
from medembed.storage.durable import whole

REJECTS = "rejects.jsonl"


class Rejects:
    """The file of rows that were left out. It appears when the run has come to its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.counts: Counter[str] = Counter()
        self.ids: set[str] = set()

    def __enter__(self) -> Self:
        self._lasting = ExitStack()
        made = self._lasting.enter_context(whole(self._folder / REJECTS))
        self._file = self._lasting.enter_context(made.open("w", encoding="utf-8"))
        return self

    def write(self, reject: Reject) -> None:
        """Add one reject. Its text is not written."""
        told = {"source": reject.source, "line": reject.line, "reason": reject.reason, "id": reject.id}
        self._file.write(json.dumps(told, ensure_ascii=False) + "\n")
        self.counts[reject.reason] += 1
        if reject.id is not None:
            self.ids.add(reject.id)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lasting.__exit__(kind, error, trace)
        if kind is None and not self.counts:
            paths.remove(self._folder, REJECTS)


def accepted(stream: Iterable[Row | Reject], seen: SeenIds, rejects: Rejects) -> Iterator[Row]:
    """The rows of a stream whose ids are new. All else goes to the rejects."""
    for item in stream:
        if isinstance(item, Reject):
            rejects.write(item)
        elif seen.add(item.id):
            yield item
        else:
            rejects.write(Reject(item.source, item.line, "duplicate id", item.id))
