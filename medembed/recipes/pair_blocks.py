"""Blocks of notes: what has come of each note so far, and the files that keep it. They are written by whoever has results."""

import dataclasses
import gzip
import json
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.records import Failure, Note, Pair, write_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.writers import load_writer
from medembed.recipes.writers.interface import Written
from medembed.storage import paths
from medembed.storage.durable import write_whole


class Block:
    """Some notes whose pairs become one part.

    Args:
        out: The stage's folder.
        index: Number of the part.
        notes: In their order, which is the order of their pairs.
        journalled: Keep each result at once, so that a kill loses none of a costly writer's; those of an earlier run are there.
    """

    def __init__(self, out: ArtifactWriter, index: int, notes: list[Note], *, journalled: bool) -> None:
        self.index, self.notes, self._out, self._journalled = index, notes, out, journalled
        self._journal = out.scratch("replies") / f"block-{index:05d}.jsonl"
        found = _resume(self._journal, notes)
        self._written = {result.note_id: result for result in found}
        self._counts = Counter(result.note_id for result in found)  # equal notes may stand in a block: they have one id

    @property
    def missing(self) -> list[Note]:
        """Notes that nothing has come of yet, in their order."""
        left = self._counts.copy()
        missing = []
        for note in self.notes:
            if left[note.note_id]:
                left[note.note_id] -= 1
            else:
                missing.append(note)
        return missing

    def add(self, result: Written) -> None:
        """Take the result of one note. Where nothing came of it, the note stays missing."""
        if result.unanswered:
            return
        self._written[result.note_id] = result
        self._counts[result.note_id] += 1
        if self._journalled:
            with paths.appending(self._journal.parent, self._journal.name) as file:
                file.write(json.dumps(dataclasses.asdict(result)) + "\n")

    @property
    def is_whole(self) -> bool:
        """Tell whether something has come of every note."""
        return self._counts.total() == len(self.notes)

    def store(self) -> None:
        """Write the parts: pairs, failures and, from language models, the raw replies."""
        in_order = [self._written[note.note_id] for note in self.notes]
        failures = [failure for result in in_order for failure in result.failures]
        pairs = [pair for result in in_order for pair in result.pairs]
        if self._journalled:
            self._out.write_part("replies", self.index, "jsonl.gz", lambda path: _write_replies(path, in_order))
        self._out.write_part("failures", self.index, "parquet", lambda path: write_parquet(path, failures, Failure))
        self._out.write_part("pairs", self.index, "parquet", lambda path: write_parquet(path, pairs, Pair))
        paths.remove(self._journal.parent, self._journal.name)


Results = Generator[tuple[Block, Written], None, None]
"""What came of notes, each with its block."""


def write_here(recipe: Recipe, blocks: Iterator[Block]) -> Results:
    """Results of the missing notes of some blocks, written in this process. One block is written after another."""
    with closing(load_writer(recipe)) as writer:
        for block in blocks:
            for result in writer.write(block.missing):
                yield block, result


_RESULT = TypeAdapter(Written)


def _resume(journal: Path, notes: list[Note]) -> list[Written]:
    """Results that an earlier run received for some notes.

    A torn or damaged line is dropped, and its note is asked about again.
    """
    if not journal.exists():
        return []
    paths.check_own(journal)
    open_ids = Counter(note.note_id for note in notes)
    kept: list[bytes] = []
    found: list[Written] = []
    lines = journal.read_bytes().splitlines(keepends=True)
    for line in lines:
        try:
            result = _RESULT.validate_json(line, strict=True)
        except ValidationError:  # its message holds the line
            continue
        if line.endswith(b"\n") and open_ids[result.note_id]:
            open_ids[result.note_id] -= 1
            kept.append(line)
            found.append(result)
    if len(kept) < len(lines):
        write_whole(journal, lambda aside: aside.write_bytes(b"".join(kept)))
    return found


def _write_replies(path: Path, results: list[Written]) -> None:
    """Write raw replies as gzipped JSON lines. There is no time stamp, so that equal replies give equal bytes."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
        for result in results:
            file.write((json.dumps({"note_id": result.note_id, "reply": result.reply}) + "\n").encode())
