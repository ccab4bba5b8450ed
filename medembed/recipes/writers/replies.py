"""Replies of a language model, read as pairs. Each passage is cut out of the note by offsets."""

import json
import re
from collections.abc import Iterator
from typing import Any

from medembed.border import parse_json
from medembed.errors import MedEmbedError
from medembed.recipes.llm import Llm
from medembed.recipes.records import Failure, Note, Pair, content_id
from medembed.recipes.writers.interface import Written

_MOST_REPLY_CHARS = 1 << 22
_THOUGHT = re.compile(r"^.*</think(?:ing)?>", re.DOTALL)  # models differ in whether they write the opening tag
_LIST = re.compile(r'"pairs"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
CUT = "reply cut at the token limit"  # the reason of a failure
_MOST_LISTS = 8  # places in a reply at which its list may begin; prose about the form may hold others


class _NoJsonError(MedEmbedError):
    """A text that is not JSON. It never leaves this module."""


def parse_reply(note: Note, reply: str, settings: Llm, *, cut: bool = False, declined: bool = False) -> Written:
    """Turn a reply into pairs. Each passage is looked up in the note and cut out of it by offsets.

    Thoughts, words around the JSON and fences are skipped. A reply that ends midway keeps its whole pairs.

    Args:
        note: The note that was asked about.
        reply: The raw reply.
        settings: Allowed query types and lengths.
        cut: The reply ended at the token limit.
        declined: The model, or a filter, declined to answer.

    Returns:
        Pairs and, for everything that is not one, a failure by reason; the raw reply is kept in it.
    """
    items, problem = _items(reply, settings.pairs_per_note)
    if declined:
        problem = "model declined"
    elif cut and problem is not None:
        problem = CUT
    pairs: list[Pair] = []
    failures: list[Failure] = []
    if len(items) > settings.pairs_per_note:
        failures.append(Failure(note.note_id, "more pairs than asked for"))
    for index, item in enumerate(items[: settings.pairs_per_note]):
        parsed = _parse_item(note, item, settings)
        if isinstance(parsed, Pair):
            pairs.append(parsed)
        else:
            failures.append(Failure(f"{note.note_id}:{index}", parsed))
    if problem is not None:
        failures.append(Failure(note.note_id, problem))
    return Written(note.note_id, pairs, failures, reply)


def _items(reply: str, asked_for: int) -> tuple[list[Any], str | None]:
    """The items under ``pairs`` that are whole, and what is wrong with the reply, if anything is."""
    text = _THOUGHT.sub("", reply[:_MOST_REPLY_CHARS]).strip()
    if not text:
        return [], "empty reply"
    try:
        value = _parsed(text)
    except _NoJsonError:
        return _whole_items(text, asked_for)
    items = value.get("pairs") if isinstance(value, dict) else None
    if not isinstance(items, list):
        return [], "reply has no list of pairs"
    return items, None if items else "no pairs in reply"


def _whole_items(text: str, asked_for: int) -> tuple[list[Any], str | None]:
    """The items of the first list that holds any, in a text that is not JSON as a whole."""
    for match, _ in zip(_LIST.finditer(text), range(_MOST_LISTS), strict=False):
        items = []
        end = match.end()
        for item, after in _items_from(text, match.end()):
            items.append(item)
            end = after
            if len(items) > asked_for:
                break
        if items:
            closed = text.startswith("]", _BETWEEN.match(text, end).end())  # type: ignore[union-attr]
            return items, None if closed or len(items) > asked_for else "reply is not JSON"
    return [], "reply is not JSON"


def _items_from(text: str, start: int) -> Iterator[tuple[Any, int]]:
    """Objects one after the other, each with where it ends, up to the first that is not whole."""
    decoder = json.JSONDecoder()
    while True:
        start = _BETWEEN.match(text, start).end()  # type: ignore[union-attr]  # it matches nothing, too
        if not text.startswith("{", start):
            return
        try:
            _, end = decoder.raw_decode(text, start)
            yield _parsed(text[start:end]), end
        except (ValueError, RecursionError, _NoJsonError):
            return
        start = end


def _parsed(text: str) -> object:
    return parse_json(text, source="the reply", error=_NoJsonError, most=_MOST_REPLY_CHARS, surrogates="replace")


def _parse_item(note: Note, item: Any, settings: Llm) -> Pair | str:
    """One pair, or the reason why it is none."""
    checked = _checked(item, settings)
    if isinstance(checked, str):
        return checked
    query, kind, passage, score = checked
    span = find_span(note.text, passage)
    if span is None:
        return "passage not in note"
    found = note.text[slice(*span)]
    source = f"{note.source}:{kind}"
    return Pair(content_id(query, found), note.note_id, note.doc_id, source, query, kind, found, *span, score)


def _checked(item: Any, settings: Llm) -> tuple[str, str, str, int] | str:
    """Query, type, passage and score of an item, or its problem. A schema may have bounded nothing."""
    if not isinstance(item, dict):
        return "pair is no object"
    query, kind, passage, score = (item.get(name) for name in ("query", "query_type", "passage", "relevance_score"))
    if isinstance(score, float) and score.is_integer():
        score = int(score)
    if not isinstance(query, str) or not isinstance(passage, str) or type(score) is not int:
        return "wrong types"
    if kind not in settings.query_types:
        return "unknown query type"
    query = " ".join(query.split())
    if not query or not passage.strip() or not 1 <= score <= 5:
        return "empty text or score outside 1 to 5"
    if len(query) > settings.max_query_chars or len(passage) > _most_passage_chars(settings):
        return "longer than allowed"
    return query, str(kind), passage, score


def _most_passage_chars(settings: Llm) -> int:
    """A sentence of the note may be chosen however long it is."""
    return settings.max_passage_chars if settings.passage == "span" else _MOST_REPLY_CHARS


def find_span(text: str, passage: str) -> tuple[int, int] | None:
    r"""Offsets of a passage in a text. Only blanks may differ. None where it is not verbatim.

    Example:
        >>> find_span("Fever.\nNo cough.", "Fever. No cough.")
        (0, 16)
    """
    exact = text.find(passage)
    if exact >= 0:
        return exact, exact + len(passage)
    words = passage.split()
    if not words or sum(map(len, words)) > len(text):
        return None
    match = re.search(r"\s+".join(map(re.escape, words)), text)
    return match.span() if match else None
