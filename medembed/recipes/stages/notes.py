"""Stage ``notes``: sources → cleaned, deduplicated windows of text."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from medembed.clinical.sentences import clean, windows
from medembed.recipes.fingerprint import told
from medembed.recipes.records import Failure, Note, content_id, count_rows, write_parquet
from medembed.recipes.schema import Notes, Recipe
from medembed.recipes.source_settings import NoteSource
from medembed.recipes.sources import Places, Row, hub_commits, identity, rows
from medembed.recipes.stage import Stage, StageRun, Summary, is_kept
from medembed.recipes.words import Words

ROWS_A_PART = 4096
SCALE_FLOOR = 24  # documents that even scale=0.001 keeps of each source


def config(recipe: Recipe, places: Places, _round: int) -> Any:
    """Settings and contents that the notes depend on. The places of files are not among them."""
    sources = {
        name: source.read_with({"text", "id", "title"}) | {"content": identity(source, name, places)}
        for name, source in recipe.notes.sources.items()
    }
    return {
        "notes": recipe.notes.model_dump(mode="json", exclude={"sources"}),
        "sources": sources,
        "scale": recipe.scale,
        **told(recipe.words.model_dump(include={"abbreviations"})),
    }


def run(stage: StageRun) -> Summary:
    """Read every source and write its notes in parts. Parts that are there already are not written again."""
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    pending: list[Note] = []
    part = 0

    def flush() -> None:
        nonlocal part
        if stage.out.part("notes", part) is None:
            stage.out.write_part("notes", part, "parquet", lambda path: write_parquet(path, pending, Note))
        pending.clear()
        part += 1

    for found in _found(stage):
        if isinstance(found, Failure):
            counts[found.reason] += 1
            failures.append(found)
            stage.task.advance(failed=found.reason)
            continue
        counts[f"kept:{found.source}"] += 1
        pending.append(found)
        stage.task.advance()
        if len(pending) == ROWS_A_PART:
            flush()
    if pending or part == 0:
        flush()
    stage.out.write_part("failures", 0, "parquet", lambda path: write_parquet(path, failures, Failure))
    total = count_rows([path for path in (stage.out.part("notes", index) for index in range(part)) if path])
    return {"rows": total, "counts": dict(sorted(counts.items())), "commits": hub_commits(stage.recipe.notes.sources)}


def _found(stage: StageRun) -> Iterator[Note | Failure]:
    """Notes of all sources, and one failure for each text that gave none."""
    seen: set[str] = set()
    settings = stage.recipe.notes
    for name, source in settings.sources.items():
        for index, row in enumerate(rows(source, name, stage.places, _columns(source, name))):
            if not is_kept(index, content_id(name, str(index)), stage.recipe.scale, SCALE_FLOOR):
                continue
            for note in cut_row(settings, name, source, index, row, stage.recipe.words):
                if isinstance(note, Note) and note.note_id in seen:
                    yield Failure(note.doc_id, "duplicate")
                    continue
                if isinstance(note, Note):
                    seen.add(note.note_id)
                yield note


def cut_row(
    settings: Notes, name: str, source: NoteSource, index: int, row: Row, words: Words
) -> Iterator[Note | Failure]:
    """Windows of one row of a source, and one failure for each of its texts that gave none."""
    read = _article_texts if source.format == "articles" else _plain_texts
    for doc_id, title, heading, text in read(source, f"{name}:{index}", row):
        yield from _cut(settings, words, name, doc_id, title, heading, text)


def _columns(source: NoteSource, name: str) -> dict[str, str]:
    """Columns that the rows of a source must have, with the settings that name them."""
    if source.format in ("text", "articles"):
        return {"sections": f"notes.sources.{name}.format"} if source.format == "articles" else {}
    named = {"text": source.text, "id": source.id, "title": source.title}
    return {column: f"notes.sources.{name}.{what}" for what, column in named.items() if column}


def _cut(
    settings: Notes, words: Words, source: str, doc_id: str, title: str, heading: str, raw: Any
) -> Iterator[Note | Failure]:
    """Windows of one text. A value that is not a text, is empty or is too short gives a failure with the reason."""
    if not isinstance(raw, str):
        yield Failure(doc_id, "not text")
        return
    text = clean(raw)
    if not text:
        yield Failure(doc_id, "empty")
        return
    for start, end in windows(text, settings.max_words, words.abbreviated):
        window = text[start:end]
        if len(window.split()) < settings.min_words:
            yield Failure(doc_id, "too short")
        else:
            yield Note(content_id(window), doc_id, source, title, heading, window)


def _plain_texts(source: NoteSource, fallback_id: str, row: Row) -> Iterator[tuple[str, str, str, Any]]:
    named = row.get(source.id) if source.id else row.get("id")
    title = row.get(source.title) if source.title else None
    yield str(named) if named not in (None, "") else fallback_id, clean(str(title or "")), "", row.get(source.text)


def _article_texts(_source: NoteSource, fallback_id: str, row: Row) -> Iterator[tuple[str, str, str, Any]]:
    doc_id, title = str(row.get("doc_id") or fallback_id), clean(str(row.get("title") or ""))
    sections = row.get("sections") or []
    for section in sections if isinstance(sections, list) else [None]:
        if isinstance(section, Mapping):
            yield doc_id, title, clean(str(section.get("heading") or "")), section.get("text")
        else:
            yield doc_id, title, "", None  # counted as not text


STAGE = Stage("notes", 1, "cleaned, deduplicated windows of text", config, run)
