"""A request's body: bytes within bounds of size and time → JSON → a checked model. Errors name fields, never values."""

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from medembed import border
from medembed.errors import RefusedError
from medembed.serving.settings import Limits

B = TypeVar("B", bound=BaseModel)


async def read(request: Request, limits: Limits) -> bytes:
    """A body, as far as it is allowed to be long and late.

    Raises:
        RefusedError: It is too long, too late, or of another media type than JSON.
        ClientDisconnect: The client went away.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "the body has to be JSON: send the header Content-Type: application/json")
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > limits.body_bytes:
        raise too_long(limits)
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.body_s):
            async for part in request.stream():
                size += len(part)
                if size > limits.body_bytes:
                    raise too_long(limits)
                parts.append(part)
    except TimeoutError:
        raise RefusedError(408, f"the body did not arrive within {limits.body_s:g} seconds") from None
    return b"".join(parts)


def too_long(limits: Limits) -> RefusedError:
    """The error for a body above the limit."""
    return RefusedError(
        413, f"the body has more than the {limits.body_bytes:,} bytes that were expected: send fewer texts at a time"
    )


def parse(content: bytes, model: type[B]) -> B:
    """The checked body.

    Raises:
        RefusedError: Not JSON, or fields that are missing, unknown or of another type.
    """
    value = border.parse_json(content, source="the body", error=_bad_request, surrogates="replace")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        known = _fields(model)
        problems = error.errors(include_input=False, include_url=False)
        told = [_told([*problem["loc"]], problem["type"], problem["msg"], known) for problem in problems[:3]]
        raise RefusedError(422, "; ".join(dict.fromkeys(told))) from None


def _told(place: list[int | str], kind: str, message: str, known: set[str]) -> str:
    """A problem in words. A key that is not one of our fields may be the user's data, and is left out."""
    if kind == "extra_forbidden":
        return f"a field that is not known here; the fields are {', '.join(sorted(known))}"
    names = [str(part) for part in place if isinstance(part, int) or part in known]
    # where several types are allowed, pydantic tells about each: they share the place
    return f"{'.'.join(names) or 'the body'}: {message.removeprefix('Value error, ')}"


def _fields(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def _bad_request(message: str) -> RefusedError:
    return RefusedError(400, message)


__all__ = ["ClientDisconnect", "parse", "read", "too_long"]
