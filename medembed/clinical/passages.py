"""Rows of notes → rows of passages. Each passage keeps its note's id, its place in it and its section."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from medembed.clinical.split import Splitting, Tokens, passages
from medembed.errors import CorpusError
from medembed.rows.read import Columns, Row
from medembed.storage.manifest import PASSAGE_COLUMNS, Manifest


def columns_of(kept: Mapping[str, str], splitting: Splitting | None) -> dict[str, str]:
    """Columns of rows: kept ones, and behind them those of passages where notes are split.

    Raises:
        CorpusError: A kept column has the name of one of passages.
    """
    if splitting is None:
        return dict(kept)
    if taken := [name for name in kept if name in PASSAGE_COLUMNS]:
        raise CorpusError(
            f"the column {taken[0]!r} cannot be kept with --split: passages have {', '.join(PASSAGE_COLUMNS)} of their own; "
            "give it another name in your file"
        )
    return {**kept, **PASSAGE_COLUMNS}


def settings_of(manifest: Manifest[Any]) -> tuple[Columns, Splitting | None]:
    """The columns that further rows of a store must bring, and how they are cut."""
    if manifest.splitting is None:
        return Columns(kept=manifest.kept, scope=manifest.scope), None
    own = {name: kind for name, kind in manifest.kept.items() if name not in PASSAGE_COLUMNS}
    return Columns(kept=own, scope=manifest.scope), Splitting(**manifest.splitting)


def told(splitting: Splitting | None, tokenizer: Tokens) -> dict[str, int] | None:
    """The settings as a manifest holds them, with the limit that they mean for a model.

    Raises:
        SettingError: More tokens than the model reads.
    """
    return None if splitting is None else {"max_tokens": splitting.limit(tokenizer), "overlap": splitting.overlap}


def cutter(splitting: Splitting | None, tokenizer: Tokens) -> Callable[[Iterable[Any]], Iterator[Row]] | None:
    """A function from rows of notes to rows of passages. None where rows are taken as they are."""
    return None if splitting is None else partial(passage_rows, tokenizer=tokenizer, splitting=splitting)


def passage_rows(notes: Iterable[Any], tokenizer: Tokens, splitting: Splitting) -> Iterator[Row]:
    """The passages of notes as rows.

    Args:
        notes: Rows of notes, each id once.
        tokenizer: A model.
        splitting: How they are cut.

    Yields:
        Rows with the ids ``NOTE#1``, ``NOTE#2`` …, and the values of :data:`PASSAGE_COLUMNS` behind the note's kept ones.
    """
    for note in notes:
        for number, part in enumerate(passages(note.text, tokenizer, splitting), 1):
            kept = (*note.kept, note.id, part.start, part.end, part.section, part.heading)
            yield Row(f"{note.id}#{number}", part.text, note.source, note.line, kept)
