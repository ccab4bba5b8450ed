"""Requests to a language model: the prompt, the form of the reply, and the dialect of the server."""

import functools
import json
from importlib import resources
from string import Template
from typing import Any

from medembed.clinical.sentences import sentence_spans
from medembed.errors import RecipeConfigError
from medembed.recipes.llm import Llm
from medembed.recipes.records import Note
from medembed.recipes.words import ENGLISH, Words

Message = dict[str, str]

_FORM = (
    "The form of the JSON, with one object for each query: "
    '{"pairs": [{"query": "...", "query_type": "...", "passage": "...", "relevance_score": 5}]}'
)


_BETWEEN = "\n---\n"
_PLACES = {"count", "types", "explained", "note"}


def explained(settings: Llm) -> str:
    """The prompt's file with the explanations of the query types in it. Its hash enters the fingerprint of the pairs.

    Raises:
        RecipeConfigError: There is no such prompt, or it lacks a part.
    """
    return Template(_prompt(settings)).safe_substitute(explained=_explanations(settings))


def messages(note: Note, settings: Llm) -> list[Message]:
    """The conversation that asks for a note's pairs."""
    system, _, user = _prompt(settings).partition(_BETWEEN)
    named = {
        "count": settings.pairs_per_note,
        "types": ", ".join(settings.query_types),
        "explained": _explanations(settings),
    }
    # a schema tells the names of the fields and of their list; the prompt has to where there is none, or one that may be ignored
    form = "" if settings.response_format == "json_schema" else f"\n\n{_FORM}"
    return [
        {"role": "system", "content": Template(system.strip()).substitute(named) + form},
        {"role": "user", "content": Template(user.strip()).substitute(named, note=note.text)},
    ]


def _explanations(settings: Llm) -> str:
    return ", ".join(f"{name} ({meaning})" for name, meaning in settings.query_types.items())


def _prompt(settings: Llm) -> str:
    """The text of the recipe's own prompt, or of ours."""
    return _checked(settings.prompt, _shipped(settings.prompt) if settings.own_prompt is None else settings.own_prompt)


@functools.cache
def _checked(name: str, text: str) -> str:
    template, request = Template(text), Template(text.partition(_BETWEEN)[2])
    unknown = [place for place in template.get_identifiers() if place not in _PLACES] if template.is_valid() else [""]
    if unknown or "note" not in request.get_identifiers():
        found = f" (found ${unknown[0]})" if unknown else ""
        raise RecipeConfigError(
            f"pairs.llm.prompt: '{name}' is no prompt{found}: it has instructions, a line '---', and a request with $note. $count, $types "
            "and $explained, the types with their explanations, may stand in it; a dollar is written $$"
        )
    return text


@functools.cache
def _shipped(name: str) -> str:
    """The text of one of our own prompts."""
    folder = resources.files("medembed.recipes") / "prompts"
    file = folder / f"{name}.txt"
    if not file.is_file():
        known = sorted(item.name.removesuffix(".txt") for item in folder.iterdir() if item.name.endswith(".txt"))
        raise RecipeConfigError(
            f"pairs.llm.prompt: no prompt named '{name}': put {name}.txt beside the recipe, or take one of {', '.join(known)}"
        )
    return file.read_text(encoding="utf-8")


def request_body(note: Note, settings: Llm, seed: int, words: Words = ENGLISH) -> bytes:
    """Build a chat completion request in the dialect of the server.

    Args:
        note: The note that is asked about.
        settings: Model, prompt, sampling and dialect.
        seed: Seed of the sampling.
        words: Their abbreviations end no sentence.

    Returns:
        UTF-8 JSON.
    """
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": messages(note, settings),
        settings.limit_name: settings.max_tokens,
    }
    sampling = {"temperature": settings.temperature, "top_p": settings.top_p}
    body |= {name: value for name, value in sampling.items() if value is not None}
    if settings.seed_name != "none":
        body[settings.seed_name] = seed
    if settings.response_format == "json_schema":
        schema = {"name": "pairs", "strict": True, "schema": reply_schema(note, settings, words)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif settings.response_format == "json_object_schema":
        body["response_format"] = {"type": "json_object", "schema": reply_schema(note, settings, words)}
    elif settings.response_format == "json_object":
        body["response_format"] = {"type": "json_object"}
    return json.dumps(body).encode()


def reply_schema(note: Note, settings: Llm, words: Words = ENGLISH) -> dict[str, Any]:
    """Build the JSON schema of a reply.

    Lengths are bounded, since a weak model would otherwise never stop; ``schema_bounds = false`` leaves that out for servers
    that refuse it. With ``passage = "sentence"`` the schema lists the note's own sentences, so that nothing but a verbatim
    one can be answered; that costs one grammar per note.
    """

    def bounded(kind: str, **bounds: int) -> dict[str, Any]:
        return {"type": kind} | (bounds if settings.schema_bounds else {})

    passage = bounded("string", minLength=1, maxLength=settings.max_passage_chars)
    if settings.passage == "sentence":
        sentences = [note.text[start:end] for start, end in sentence_spans(note.text, words.abbreviated)]
        passage = {"type": "string", "enum": sentences}
    fields = {
        "query": bounded("string", minLength=1, maxLength=settings.max_query_chars),
        "query_type": {"type": "string", "enum": list(settings.query_types)},
        "passage": passage,
        "relevance_score": bounded("integer", minimum=1, maximum=5),
    }
    item = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    pairs = bounded("array", minItems=1, maxItems=settings.pairs_per_note) | {"items": item}
    return {"type": "object", "properties": {"pairs": pairs}, "required": ["pairs"], "additionalProperties": False}
