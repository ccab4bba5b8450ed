"""Stage ``pairs``: notes → (query, passage) pairs. ``python -m medembed.recipes.pairs`` runs up to here."""

import dataclasses
import gzip
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from medembed.recipes.generators import load_writer
from medembed.recipes.generators.interface import PairWriter, Written
from medembed.recipes.generators.replies import prompt_text
from medembed.recipes.records import Failure, Note, Pair, content_id, count_rows, read_parquet, write_parquet
from medembed.recipes.schema import PairSource, Recipe
from medembed.recipes.sources import Places, hub_commits, identity, rows
from medembed.recipes.stage import Stage, StageRun, Summary, is_kept

NOTES_A_BLOCK = 256  # a kill loses nothing of a costly writer: its replies are journalled one by one
ROWS_A_BLOCK = 8192
SCALE_FLOOR = 256


def config(recipe: Recipe, places: Places, _round: int) -> Any:
    """The writer's settings, with the prompt's hash where there is one, and the ready pairs' contents."""
    pairs = recipe.pairs
    read = {"format", "query", "positive", "source", "id", "limit"}
    sources = {
        name: source.model_dump(mode="json", include=read) | {"content": identity(source, name, places)}
        for name, source in pairs.sources.items()
    }
    writer: Any = None
    if pairs.writer == "extractive":
        writer = pairs.extractive
    elif pairs.writer != "none":
        prompt = hashlib.sha256(prompt_text(pairs.llm.prompt).encode()).hexdigest()
        writer = {"llm": pairs.llm, "prompt": prompt, "seed": recipe.seed}
    return {"writer": pairs.writer, "settings": writer, "sources": sources, "scale": recipe.scale}


def run(stage: StageRun) -> Summary:
    """Copy the ready pairs, then have every block of notes written; finished blocks are not asked again."""
    blocks = _copy_ready_pairs(stage)
    if stage.recipe.pairs.writer != "none":
        stage.task.expect(count_rows(stage.inputs["notes"].parts("notes")))
        with closing(load_writer(stage.recipe)) as writer:
            for block in _blocks(stage.inputs["notes"].parts("notes")):
                _write_block(stage, writer, blocks, block)
                blocks += 1
    return _summary(stage, blocks)


def _write_block(stage: StageRun, writer: PairWriter, index: int, notes: list[Note]) -> None:
    """Have one block written and stored: pairs, failures and, from language models, the raw replies."""
    if stage.out.part("pairs", index) and stage.out.part("failures", index):
        stage.task.advance(len(notes))
        return
    journal = stage.out.scratch("replies") / f"block-{index:05d}.jsonl"
    written = _resume(journal)
    stage.task.advance(len(written))
    with journal.open("a", encoding="utf-8") as file:
        for result in writer.write([note for note in notes if note.note_id not in written]):
            written[result.note_id] = result
            if writer.costly and not result.transient:
                file.write(json.dumps(dataclasses.asdict(result)) + "\n")
                file.flush()
            stage.task.advance(failed=None if result.pairs or not result.failures else result.failures[0].reason)
    in_order = [written[note.note_id] for note in notes]
    if writer.costly:
        stage.out.write_part("replies", index, "jsonl.gz", lambda path: _write_replies(path, in_order))
    failures = [failure for result in in_order for failure in result.failures]
    pairs = [pair for result in in_order for pair in result.pairs]
    stage.out.write_part("failures", index, "parquet", lambda path: write_parquet(path, failures, Failure))
    stage.out.write_part("pairs", index, "parquet", lambda path: write_parquet(path, pairs, Pair))
    journal.unlink()


def _resume(journal: Path) -> dict[str, Written]:
    """Results a killed run had already received; a torn last line is dropped, so that it is asked again."""
    written: dict[str, Written] = {}
    if not journal.exists():
        return written
    lines = journal.read_bytes().split(b"\n")
    for line in lines[:-1]:  # what follows the last newline is empty, or torn
        value = json.loads(line)
        pairs, failures = (
            [Pair(**pair) for pair in value["pairs"]],
            [Failure(**failure) for failure in value["failures"]],
        )
        written[value["note_id"]] = Written(value["note_id"], pairs, failures, value["reply"])
    os.truncate(journal, sum(len(line) + 1 for line in lines[:-1]))
    return written


def _write_replies(path: Path, results: list[Written]) -> None:
    """Raw replies as gzipped JSON lines; without a time stamp, so that equal replies give equal bytes."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
        for result in results:
            file.write((json.dumps({"note_id": result.note_id, "reply": result.reply}) + "\n").encode())


def _copy_ready_pairs(stage: StageRun) -> int:
    """Ready pairs of all sources, in blocks; returns how many blocks there are."""
    index = 0
    pending: list[Pair] = []
    failures: list[Failure] = []

    def flush() -> None:
        nonlocal index
        if not (stage.out.part("pairs", index) and stage.out.part("failures", index)):
            stage.out.write_part("failures", index, "parquet", lambda path: write_parquet(path, failures, Failure))
            stage.out.write_part("pairs", index, "parquet", lambda path: write_parquet(path, pending, Pair))
        pending.clear()
        failures.clear()
        index += 1

    for name, source in stage.recipe.pairs.sources.items():
        for found in _ready_pairs(stage, name, source):
            if isinstance(found, Failure):
                failures.append(found)
            else:
                pending.append(found)
            if len(pending) == ROWS_A_BLOCK:
                flush()
    if pending or failures:
        flush()
    return index


def _ready_pairs(stage: StageRun, name: str, source: PairSource) -> Iterator[Pair | Failure]:
    for index, row in enumerate(rows(source, name, stage.places)):
        if not is_kept(index, content_id(name, str(index)), stage.recipe.scale, SCALE_FLOOR):
            continue
        query, passage = row.get(source.query), row.get(source.positive)
        if not isinstance(query, str) or not isinstance(passage, str):
            yield Failure(f"{name}:{index}", "not text")
            continue
        query, passage = " ".join(query.split()), " ".join(passage.split())
        if not query or not passage:
            yield Failure(f"{name}:{index}", "empty")
            continue
        origin = str(row.get(source.source) or name) if source.source else name
        doc_id = str(row.get(source.id) or f"{name}:{index}") if source.id else f"{name}:{index}"
        yield Pair(content_id(query, passage), "", doc_id, origin, query, "given", passage, -1, -1, 5)


def _blocks(parts: list[Path]) -> Iterator[list[Note]]:
    block: list[Note] = []
    for note in read_parquet(parts, Note):
        block.append(note)
        if len(block) == NOTES_A_BLOCK:
            yield block
            block = []
    if block:
        yield block


def _summary(stage: StageRun, blocks: int) -> Summary:
    def parts(kind: str) -> list[Path]:
        return [path for path in (stage.out.part(kind, index) for index in range(blocks)) if path is not None]

    failures = Counter(failure.reason for failure in read_parquet(parts("failures"), Failure))
    kinds = Counter(pair.query_type for pair in read_parquet(parts("pairs"), Pair))
    return {
        "rows": sum(kinds.values()),
        "counts": dict(sorted(kinds.items())),
        "failures": dict(sorted(failures.items())),
        "commits": hub_commits(stage.recipe.pairs.sources),
    }


STAGE = Stage("pairs", 1, "queries with the passages that answer them", config, run)

if __name__ == "__main__":
    import sys

    from medembed.recipes.door import stage_main

    sys.exit(stage_main("pairs"))
