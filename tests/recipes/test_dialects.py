"""Every dialect of OpenAI-compatible servers: strict stand-ins that refuse what their originals refuse."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from medembed.errors import PairWriterError, RecipeConfigError
from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.load import load_recipe
from medembed.recipes.records import Note
from medembed.recipes.writers.openai_endpoint import EndpointWriter
from medembed.recipes.writers.prompts import request_body
from tests.recipes.conftest import make_recipe
from tests.recipes.endpoint_server import Answer, Server, completion, good

Serve = Callable[..., Server]
# what a server says of a request, or None where it takes it
Rule = Callable[[dict[str, Any]], str | None]

ASKED = ("model", "messages", "max_tokens", "seed", "response_format")
BOUNDS = ("minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum")


def takes_only(*names: str) -> Rule:
    """The body may hold nothing else, as pydantic servers with ``extra="forbid"`` have it."""

    def check(body: dict[str, Any]) -> str | None:
        unknown = sorted(set(body) - set(names))
        return f"Extra inputs are not permitted: {unknown[0]}" if unknown else None

    return check


def reasons(body: dict[str, Any]) -> str | None:
    """Models of the o-series and of GPT-5."""
    if "max_tokens" in body:
        return (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
    for name in ("temperature", "top_p"):
        if name in body:
            return f"Unsupported value: '{name}' does not support {body[name]} with this model."
    return None


def bounds_nothing(body: dict[str, Any]) -> str | None:
    """Structured outputs that know a part of JSON schema only."""
    schema = json.dumps(body.get("response_format", {}))
    found = [name for name in BOUNDS if f'"{name}"' in schema]
    return f"Invalid schema for response_format 'pairs': '{found[0]}' is not permitted." if found else None


def knows_objects_only(body: dict[str, Any]) -> str | None:
    """JSON mode without schemas, which wants the word in the prompt."""
    if body.get("response_format", {}).get("type") not in (None, "json_object"):
        return "response_format.type: expected 'text' or 'json_object', found 'json_schema'"
    text = " ".join(message["content"] for message in body["messages"])
    return None if "json" in text.lower() else "messages must contain the word 'json'"


def knows_objects_alone(body: dict[str, Any]) -> str | None:
    """The same, and strict about what stands beside the type."""
    extra = set(body.get("response_format", {})) - {"type"}
    return f"Unrecognized request argument: response_format.{min(extra)}" if extra else knows_objects_only(body)


def knows_no_form(body: dict[str, Any]) -> str | None:
    """Servers without any grammar."""
    return "unknown field: response_format" if "response_format" in body else None


def draws_otherwise(body: dict[str, Any]) -> str | None:
    """Another name for the seed."""
    return "Extra inputs are not permitted: seed" if "seed" in body else None


def plain(note: str) -> Answer:
    return good(note)


def fenced(note: str) -> Answer:
    return completion(f"Here are the pairs:\n\n```json\n{_text(note)}\n```\nI hope that helps.")


def thought(note: str) -> Answer:
    return completion(f'<think>The form is {{"pairs": [...]}}. Well.</think>\n\n{_text(note)}')


def _text(note: str) -> str:
    return str(json.loads(good(note)[1])["choices"][0]["message"]["content"])


# server → what it checks, how it replies, the settings that are refused, and those that the refusal advises
DIALECTS: dict[str, tuple[Rule, Callable[[str], Answer], dict[str, Any], list[str]]] = {
    "vLLM": (takes_only(*ASKED), plain, {}, []),
    "reasoning, limit": (reasons, plain, {}, ["limit_name=max_completion_tokens"]),
    "reasoning, temperature": (
        reasons,
        plain,
        {"temperature": 0.8, "limit_name": "max_completion_tokens"},
        ["temperature"],
    ),
    "reasoning, top_p": (reasons, plain, {"top_p": 0.9, "limit_name": "max_completion_tokens"}, ["top_p"]),
    "no bounds": (bounds_nothing, plain, {}, ["schema_bounds=false"]),
    "schema in JSON mode": (knows_objects_only, plain, {}, ["response_format=json_object_schema"]),
    "JSON mode": (
        knows_objects_alone,
        plain,
        {"response_format": "json_object_schema"},
        ["response_format=json_object"],
    ),
    "JSON mode, fenced": (
        knows_objects_alone,
        fenced,
        {"response_format": "json_object_schema"},
        ["response_format=json_object"],
    ),
    "no grammar": (knows_no_form, fenced, {"response_format": "json_object"}, ["response_format=none"]),
    "no grammar, thinking": (knows_no_form, thought, {}, ["response_format=json_object", "response_format=none"]),
    "other seed": (draws_otherwise, plain, {}, ["seed_name=none"]),
}


def serving(serve: Serve, rule: Rule, reply: Callable[[str], Answer]) -> Server:
    def answer(note: str, attempt: int) -> Answer:
        refusal = rule(server.last)
        return (400, json.dumps({"error": {"message": refusal}}).encode()) if refusal else reply(note)

    server = serve(answer)
    return server


def pairs(server: Server, notes: list[Note], settings: dict[str, Any]) -> int:
    execution = Execution(endpoint=server.url, concurrency=1, retries=1)
    writer = EndpointWriter(Llm(model="m", **settings), execution, seed=7)
    try:
        written = list(writer.write(notes))
    finally:
        writer.close()
    assert not [failure for item in written for failure in item.failures]
    return sum(len(item.pairs) for item in written)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_refusal_names_the_settings_that_a_server_takes(serve: Serve, notes: list[Note], name: str) -> None:
    rule, reply, settings, advised = DIALECTS[name]
    server = serving(serve, rule, reply)
    for advice in advised:
        key, _, value = advice.partition("=")
        expected = f"pairs.llm.{advice}" if value else f"Leave pairs.llm.{key} out"
        with pytest.raises(PairWriterError, match=expected):
            pairs(server, notes, settings)
        settings = {**settings, key: {"false": False}.get(value, value)} if value else settings | {key: None}
    assert pairs(server, notes, settings) == len(notes)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, {"max_tokens", "seed", "response_format"}),
        ({"temperature": 0.0, "top_p": 1.0}, {"max_tokens", "seed", "response_format", "temperature", "top_p"}),
        ({"limit_name": "max_completion_tokens"}, {"max_completion_tokens", "seed", "response_format"}),
        ({"seed_name": "random_seed"}, {"max_tokens", "random_seed", "response_format"}),
        ({"seed_name": "none", "response_format": "none"}, {"max_tokens"}),
    ],
    ids=["defaults", "sampling", "limit", "seed", "bare"],
)
def test_a_request_holds_what_its_dialect_has_and_nothing_else(
    notes: list[Note], settings: dict[str, Any], names: set[str]
) -> None:
    body = json.loads(request_body(notes[0], Llm(model="m", **settings), 7))
    assert set(body) == {"model", "messages"} | names


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("json_schema", "json_schema"),
        ("json_object_schema", "json_object"),
        ("json_object", "json_object"),
        ("none", None),
    ],
)
def test_the_form_is_asked_for_as_set(notes: list[Note], form: str, expected: str | None) -> None:
    body = json.loads(request_body(notes[0], Llm(response_format=form), 7))  # type: ignore[arg-type]
    assert body.get("response_format", {}).get("type") == expected


def test_the_prompt_alone_says_the_form(notes: list[Note]) -> None:
    """Without a schema nothing else tells a model the names of the fields and that of their list."""
    system = json.loads(request_body(notes[0], Llm(response_format="none"), 7))["messages"][0]["content"]
    for name in ("pairs", "query", "query_type", "passage", "relevance_score"):
        assert f'"{name}"' in system


def test_a_schema_without_bounds_has_none(notes: list[Note]) -> None:
    for passage in ("span", "sentence"):
        settings = Llm(schema_bounds=False, passage=passage)
        assert bounds_nothing(json.loads(request_body(notes[0], settings, 7))) is None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("pairs.llm.max_tokens=999999999", "less than or equal to 131072"),
        ("pairs.llm.pairs_per_note=100000", "less than or equal to 100"),
        ("pairs.llm.limit_name=max_output", "'max_tokens' or 'max_completion_tokens'"),
        ("pairs.llm.response_format=xml", "'json_schema', 'json_object_schema', 'json_object' or 'none'"),
        ("execution.concurrency=100000", "less than or equal to 1024"),
        ("execution.timeout_s=1e9", "less than or equal to 86400"),
        ("execution.patience_s=0", "greater than 0"),
    ],
    ids=lambda value: value.partition("=")[0],
)
def test_numbers_and_names_are_bounded(tmp_path: Any, setting: str, said: str) -> None:
    with pytest.raises(RecipeConfigError, match=said):
        load_recipe(make_recipe(tmp_path / "recipe") / "recipe.toml", [setting])


def test_sentences_as_passages_need_the_schema(tmp_path: Any) -> None:
    settings = ["pairs.llm.passage=sentence", "pairs.llm.response_format=json_object"]
    with pytest.raises(RecipeConfigError, match="say response_format = 'json_schema'"):
        load_recipe(make_recipe(tmp_path / "recipe") / "recipe.toml", settings)
