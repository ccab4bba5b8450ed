"""The OpenAPI document, made of the routes and their models."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from medembed import __version__
from medembed.serving.answering import JSON, Route
from medembed.serving.schemas import Failure

REF = "#/components/schemas/{model}"
ERRORS = {
    "400": "The body cannot be read as JSON.",
    "401": "No key, or one that is not this server's.",
    "403": "The key does not reach this.",
    "404": "No such model, corpus or row.",
    "408": "The body did not arrive in time.",
    "413": "More than one request may have.",
    "415": "The body is not JSON.",
    "422": "A field is missing, unknown, or has a value that means nothing here.",
    "429": "Too much waits; Retry-After says when to come again.",
    "500": "The server failed.",
    "501": "The server was started without this.",
    "503": "The server is stopping, overloaded, or cannot write its audit log.",
}


def document(routes: Sequence[Route], *, keys: bool) -> dict[str, Any]:
    """The document.

    Args:
        routes: What can be asked for.
        keys: Whether a key is needed.
    """
    models = {Failure, *(model for route in routes for model in (route.body, route.answer) if model is not None)}
    _, schemas = models_json_schema([(model, "validation") for model in sorted(models, key=_name)], ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, keys=keys)
    told: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "medembed",
            "version": __version__,
            "description": "Medical text embeddings, ranking and search.",
        },
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }
    if keys:
        told["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return told


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}


def _operation(route: Route, *, keys: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.path.strip("/").replace("/", "_").replace(".", "_") or "page",
        "responses": {"200": {"description": route.summary, "content": _content(route)}},
    }
    if route.body is not None:
        told["requestBody"] = {"required": True, "content": {JSON: {"schema": _reference(route.body)}}}
    for status, description in ERRORS.items():
        told["responses"][status] = {"description": description, "content": {JSON: {"schema": _reference(Failure)}}}
    if keys and route.use is not None:
        told["security"] = [{"key": []}]
    return told


def _content(route: Route) -> dict[str, Any]:
    if route.use == "embed" and route.answer is None:
        return {JSON: {"schema": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}}}
    if route.answer is not None:
        one = _reference(route.answer)
        return {JSON: {"schema": {"type": "array", "items": one} if route.many else one}}
    return {{"/metrics": "text/plain", "/": "text/html"}.get(route.path, JSON): {"schema": {}}}
