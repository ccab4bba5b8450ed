"""Stage ``pairs``: notes → (query, passage) pairs."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from medembed.errors import PairWriterError
from medembed.recipes.decontamination import normal_words
from medembed.recipes.fingerprint import told
from medembed.recipes.llm import GIVEN
from medembed.recipes.pair_blocks import Block, write_here
from medembed.recipes.records import Failure, Note, Pair, content_id, count_rows, read_parquet, write_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.source_settings import PairSource
from medembed.recipes.sources import Places, Row, hub_commits, identity, rows
from medembed.recipes.stage import Stage, StageRun, Summary, is_kept
from medembed.recipes.writers.prompts import explained

NOTES_A_BLOCK = 256  # a kill loses nothing of a costly writer: its replies are journalled one by one
ROWS_A_BLOCK = 8192
SCALE_FLOOR = 256


def config(recipe: Recipe, places: Places, _round: int) -> Any:
    """The writer's settings, with its words or the prompt's hash, and the ready pairs' contents."""
    pairs = recipe.pairs
    columns = {"query", "positive", "source", "id"}
    sources = {
        name: source.read_with(columns | ({"negatives"} if source.negatives else set()))
        | {"content": identity(source, name, places)}
        for name, source in pairs.sources.items()
    }
    writer: Any = None
    words: dict[str, Any] = {}
    if pairs.writer == "extractive":
        writer = pairs.extractive
        words = told(recipe.words.model_dump(include={"common", "vague", "questions"}))
    elif pairs.asks_model:
        # the explanations of the types stand in the prompt
        asked = pairs.llm.model_dump(mode="json") | {"query_types": list(pairs.llm.query_types)}
        prompt = hashlib.sha256(explained(pairs.llm).encode()).hexdigest()
        writer = {"llm": asked, "prompt": prompt, "seed": recipe.seed}
    return {"writer": pairs.writer, "settings": writer, "sources": sources, "scale": recipe.scale, **words}


def run(stage: StageRun) -> Summary:
    """Copy the ready pairs, then have every block of notes written. Finished blocks are not asked again."""
    blocks = _copy_ready_pairs(stage)
    if stage.recipe.pairs.writer != "none":
        blocks = _write_notes(stage, blocks)
    return _summary(stage, blocks)


def _write_notes(stage: StageRun, first: int) -> int:
    """Have the notes' pairs written, as parts from ``first`` on.

    This process or Ray writes them. Returns how many parts there are then.
    """
    parts = stage.inputs["notes"].parts("notes")
    n_notes = count_rows(parts)
    stage.task.expect(n_notes)
    unfinished = _unfinished(stage, parts, first)
    if stage.recipe.execution.ray is None:
        results = write_here(stage.recipe, unfinished)
    else:
        from medembed.recipes.pairs_ray import write_on_ray

        results = write_on_ray(stage.recipe, unfinished, stage.task.reporter.say)
    unanswered: Counter[str] = Counter()
    with closing(results):
        for block, result in results:
            block.add(result)
            if result.unanswered:
                unanswered[result.failures[0].reason] += 1
                continue
            stage.task.advance(failed=None if result.pairs or not result.failures else result.failures[0].reason)
            if block.is_whole:
                block.store()
    if unanswered:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(unanswered.items()))
        raise PairWriterError(
            f"{unanswered.total():,} of {n_notes:,} notes got no answer, while others did ({reasons}). Run the same command: it asks "
            "for these alone"
        )
    return first + math.ceil(n_notes / NOTES_A_BLOCK)


def _unfinished(stage: StageRun, parts: list[Path], first: int) -> Iterator[Block]:
    """Blocks of notes that are not all written. What an earlier run has left behind is counted as done."""
    for index, notes in enumerate(_blocks(parts), first):
        if stage.out.part("pairs", index) and stage.out.part("failures", index):
            stage.task.advance(len(notes))
            continue
        block = Block(stage.out, index, notes, journalled=stage.recipe.pairs.asks_model)
        stage.task.advance(len(notes) - len(block.missing))
        if block.is_whole:
            block.store()
        else:
            yield block


def _copy_ready_pairs(stage: StageRun) -> int:
    """Copy the ready pairs of all sources, in blocks. Returns how many blocks there are."""
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
    for index, row in enumerate(rows(source, name, stage.places, _columns(source, name))):
        if not is_kept(index, content_id(name, str(index)), stage.recipe.scale, SCALE_FLOOR):
            continue
        query, positives = _texts(row, (source.query,)), _texts(row, (source.positive,))
        negatives = _texts(row, [column for column in source.negative_columns if row.get(column) is not None])
        if query is None or positives is None or negatives is None:
            yield Failure(f"{name}:{index}", "not text")
            continue
        if len(query) != 1 or not positives:
            yield Failure(f"{name}:{index}", "empty")
            continue
        answers = {content_id(*normal_words(text)) for text in positives}
        wrong = [text for text in negatives if content_id(*normal_words(text)) not in answers]
        if len(wrong) < len(negatives):
            yield Failure(f"{name}:{index}", "negative that is a positive")
        origin = str(row.get(source.source) or name) if source.source else name
        doc_id = str(row.get(source.id) or f"{name}:{index}") if source.id else f"{name}:{index}"
        for passage in positives:
            key = content_id(query[0], passage)
            yield Pair(key, "", doc_id, origin, query[0], GIVEN, passage, -1, -1, 5, wrong)


def _texts(row: Row, columns: Iterable[str]) -> list[str] | None:
    """Texts of a row's columns, each a text or a list of texts, blanks collapsed and empty ones left out.

    None where something is no text.
    """
    found: list[str] = []
    for value in (row.get(column) for column in columns):
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                return None
            found.append(" ".join(text.split()))
    return [text for text in dict.fromkeys(found) if text]


def _columns(source: PairSource, name: str) -> dict[str, str]:
    """Columns that the rows of a source must have.

    Each comes with the setting that names it. The usual source and id need not be there.
    """
    chosen = {"query": source.query, "positive": source.positive}
    chosen |= {what: getattr(source, what) for what in ("source", "id") if what in source.model_fields_set}
    named = {column: f"pairs.sources.{name}.{what}" for what, column in chosen.items() if column}
    return named | dict.fromkeys(source.negative_columns, f"pairs.sources.{name}.negatives")


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
