"""Requests to a language model: the prompt, the form of the reply, and the dialect of the server."""

import functools
import json
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from medembed.clinical.sentences import sentence_spans
from medembed.errors import RecipeConfigError
from medembed.recipes.records import Note
from medembed.recipes.schema import Llm

Message = dict[str, str]

_FORM = (
    "The form of the JSON, with one object for each query: "
    '{"pairs": [{"query": "...", "query_type": "...", "passage": "...", "relevance_score": 5}]}'
)


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
    """The prompt file as it is. Its hash enters the fingerprint of the pairs.

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
    # a schema tells the names of the fields and of their list; without one the prompt has to
    form = "" if settings.response_format == "json_schema" else f"\n\n{_FORM}"
    return [{"role": "system", "content": prompt.system + form}, {"role": "user", "content": request}]


def request_body(note: Note, settings: Llm, seed: int) -> bytes:
    """Build a chat completion request in the dialect of the server.

    Args:
        note: The note that is asked about.
        settings: Model, prompt, sampling and dialect.
        seed: Seed of the sampling.

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
        schema = {"name": "pairs", "strict": True, "schema": reply_schema(note, settings)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif settings.response_format == "json_object":
        body["response_format"] = {"type": "json_object"}
    return json.dumps(body).encode()


def reply_schema(note: Note, settings: Llm) -> dict[str, Any]:
    """Build the JSON schema of a reply.

    Lengths are bounded, since a weak model would otherwise never stop; ``schema_bounds = false`` leaves that out for servers
    that refuse it. With ``passage = "sentence"`` the schema lists the note's own sentences, so that nothing but a verbatim
    one can be answered; that costs one grammar per note.
    """

    def bounded(kind: str, **bounds: int) -> dict[str, Any]:
        return {"type": kind} | (bounds if settings.schema_bounds else {})

    passage = bounded("string", minLength=1, maxLength=settings.max_passage_chars)
    if settings.passage == "sentence":
        passage = {"type": "string", "enum": [note.text[start:end] for start, end in sentence_spans(note.text)]}
    fields = {
        "query": bounded("string", minLength=1, maxLength=settings.max_query_chars),
        "query_type": {"type": "string", "enum": list(settings.query_types)},
        "passage": passage,
        "relevance_score": bounded("integer", minimum=1, maximum=5),
    }
    item = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    pairs = bounded("array", minItems=1, maxItems=settings.pairs_per_note) | {"items": item}
    return {"type": "object", "properties": {"pairs": pairs}, "required": ["pairs"], "additionalProperties": False}
