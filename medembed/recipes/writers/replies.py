"""What a language model is asked, in which form it must answer, and how its answer becomes pairs."""

import functools
import json
import re
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from medembed.errors import RecipeConfigError
from medembed.recipes.records import Failure, Note, Pair, content_id
from medembed.recipes.schema import Llm
from medembed.recipes.sentences import sentence_spans
from medembed.recipes.writers.interface import Written

Message = dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """A versioned prompt file: instructions and a request with ``$count``, ``$types`` and ``$note``."""

    system: str
    user: Template


@functools.cache
def load_prompt(name: str) -> Prompt:
    """Read ``prompts/<name>.txt``.

    Raises:
        RecipeConfigError: There is no such prompt.
    """
    system, _, user = prompt_text(name).partition("\n---\n")
    return Prompt(system.strip(), Template(user.strip()))


def prompt_text(name: str) -> str:
    """The prompt file as it is; its hash enters the fingerprint of the pairs.

    Raises:
        RecipeConfigError: There is no such prompt.
    """
    folder = resources.files("medembed.recipes") / "prompts"
    file = folder / f"{name}.txt"
    if not file.is_file():
        known = sorted(item.name.removesuffix(".txt") for item in folder.iterdir() if item.name.endswith(".txt"))
        raise RecipeConfigError(f"pairs.llm.prompt: no prompt named '{name}'; there are {', '.join(known)}")
    return file.read_text(encoding="utf-8")


def messages(note: Note, settings: Llm) -> list[Message]:
    """The conversation that asks for a note's pairs."""
    prompt = load_prompt(settings.prompt)
    request = prompt.user.substitute(
        count=settings.pairs_per_note, types=", ".join(settings.query_types), note=note.text
    )
    return [{"role": "system", "content": prompt.system}, {"role": "user", "content": request}]


def reply_schema(note: Note, settings: Llm) -> dict[str, Any]:
    """JSON schema of an answer; lengths are bounded, since a weak model would otherwise never stop.

    With ``passage = "sentence"`` the schema lists the note's own sentences, so that nothing but a verbatim one can be
    answered; that costs one grammar a note.
    """
    passage: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": settings.max_passage_chars}
    if settings.passage == "sentence":
        passage = {"type": "string", "enum": [note.text[start:end] for start, end in sentence_spans(note.text)]}
    fields = {
        "query": {"type": "string", "minLength": 1, "maxLength": settings.max_query_chars},
        "query_type": {"type": "string", "enum": list(settings.query_types)},
        "passage": passage,
        "relevance_score": {"type": "integer", "minimum": 1, "maximum": 5},
    }
    item = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    pairs = {"type": "array", "items": item, "minItems": 1, "maxItems": settings.pairs_per_note}
    return {"type": "object", "properties": {"pairs": pairs}, "required": ["pairs"], "additionalProperties": False}


def parse_reply(note: Note, reply: str, settings: Llm) -> Written:
    """Turn an answer into pairs; each passage is looked up in the note and cut out of it by offsets.

    Args:
        note: The note that was asked about.
        reply: The raw answer.
        settings: Allowed query types and lengths.

    Returns:
        Pairs and, for everything that is not one, a failure by reason; the raw answer is kept in it.
    """
    items = _items(reply)
    if isinstance(items, str):
        return Written(note.note_id, failures=[Failure(note.note_id, items)], reply=reply)
    pairs: list[Pair] = []
    failures: list[Failure] = []
    for index, item in enumerate(items):
        parsed = _parse_item(note, item, settings)
        if isinstance(parsed, Pair):
            pairs.append(parsed)
        else:
            failures.append(Failure(f"{note.note_id}:{index}", parsed))
    if not items:
        failures.append(Failure(note.note_id, "no pairs in reply"))
    return Written(note.note_id, pairs, failures, reply)


def _items(reply: str) -> list[Any] | str:
    """The list under ``pairs``, or the reason why there is none."""
    if not reply.strip():
        return "empty reply"
    try:
        value = json.loads(_FENCE.sub("", reply.strip()))
    except ValueError:
        return "reply is not JSON"
    items = value.get("pairs") if isinstance(value, dict) else None
    return items if isinstance(items, list) else "reply has no list of pairs"


_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")


def _parse_item(note: Note, item: Any, settings: Llm) -> Pair | str:
    """One pair, or the reason why it is none."""
    if not isinstance(item, dict):
        return "pair is no object"
    query, kind, passage, score = (item.get(name) for name in ("query", "query_type", "passage", "relevance_score"))
    if (
        not isinstance(query, str)
        or not isinstance(passage, str)
        or not isinstance(score, int)
        or isinstance(score, bool)
    ):
        return "wrong types"
    if kind not in settings.query_types:
        return "unknown query type"
    query = " ".join(query.split())
    if not query or not passage.strip() or not 1 <= score <= 5:
        return "empty text or score outside 1 to 5"
    span = find_span(note.text, passage)
    if span is None:
        return "passage not in note"
    found = note.text[slice(*span)]
    return Pair(
        content_id(query, found),
        note.note_id,
        note.doc_id,
        f"{note.source}:{kind}",
        query,
        str(kind),
        found,
        *span,
        score,
    )


def find_span(text: str, passage: str) -> tuple[int, int] | None:
    r"""Offsets of a passage in a text; only blanks may differ. None where it is not verbatim.

    Example:
        >>> find_span("Fever.\nNo cough.", "Fever. No cough.")
        (0, 16)
    """
    exact = text.find(passage)
    if exact >= 0:
        return exact, exact + len(passage)
    words = [re.escape(word) for word in passage.split()]
    match = re.search(r"\s+".join(words), text) if words else None
    return match.span() if match else None
