"""From a request to its answer: who asks, what may be asked for, what it took, and the line that tells of it."""

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from medembed.errors import (
    ClosedModelError,
    CorpusBusyError,
    CorpusDamagedError,
    CorpusError,
    CorpusUnfinishedError,
    InputTypeError,
    MedEmbedError,
    OverlongTextError,
    RefusedError,
    SettingError,
    VectorError,
)
from medembed.runtime.encoding import Cut
from medembed.serving import bodies
from medembed.serving.keys import ANYBODY, Key
from medembed.serving.served import Served

log = logging.getLogger("medembed.serving")

# error → status, the first that fits; what is not named here is the server's own failure
STATUSES: tuple[tuple[type[MedEmbedError], int], ...] = (
    (CorpusDamagedError, 503),
    (CorpusUnfinishedError, 503),
    (CorpusBusyError, 503),
    (ClosedModelError, 503),
    (OverlongTextError, 422),
    (InputTypeError, 422),
    (SettingError, 422),
    (VectorError, 422),
    (CorpusError, 422),
)
# nginx's number for a client that went away: nobody reads it but the log
GONE = 499
JSON = "application/json"

Use = Literal["embed", "rerank", "search", "look"]


@dataclass
class Asked:
    """A request on its way.

    Attributes:
        served: What the server has.
        key: Who asks.
        body: The checked body; for a request without one, an empty one.
        told: What the audit log will say of it.
    """

    served: Served
    key: Key
    body: Any
    told: dict[str, Any] = field(default_factory=dict)

    def took(self, route: str, texts: int, tokens: int, cut: Cut) -> None:
        """Note what was encoded."""
        self.told.update(texts=texts, tokens=tokens, truncated_texts=cut.texts, truncated_tokens=cut.tokens)
        metrics = self.served.metrics
        metrics.texts.labels(route).inc(texts)
        metrics.tokens.labels(route).inc(tokens)
        metrics.truncated_texts.labels(route).inc(cut.texts)
        metrics.truncated_tokens.labels(route).inc(cut.tokens)


@dataclass(frozen=True)
class Answer:
    """What is answered.

    Attributes:
        content: The body.
        media: Its media type.
        headers: Further headers.
    """

    content: bytes
    media: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


Handle = Callable[[Asked], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """One thing that can be asked for.

    Attributes:
        method: ``"GET"`` or ``"POST"``.
        path: The path.
        handle: What answers.
        summary: What it gives, for the OpenAPI document.
        body: Model of the body; None without one.
        answer: Model of the answer; None where it is no JSON of ours.
        use: What a key has to be for; None where none is needed.
        many: Whether the answer is a list of ``answer``.
    """

    method: Literal["GET", "POST"]
    path: str
    handle: Handle
    summary: str
    body: type[BaseModel] | None = None
    answer: Any = None
    use: Use | None = "look"
    many: bool = False


def status_of(error: BaseException) -> int:
    """The HTTP status that an error is answered with."""
    if isinstance(error, RefusedError):
        return error.status
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def failure(error: BaseException) -> Response:
    """The answer that an error becomes. Errors that are not ours are told by their type alone."""
    status = status_of(error)
    failed = f"the server failed ({type(error).__name__}); its log says where"
    message = str(error) if isinstance(error, MedEmbedError) else failed
    told = {"message": message, "type": type(error).__name__, "code": status}
    headers = {}
    if isinstance(error, RefusedError) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (408, 413, 415):
        headers["Connection"] = "close"  # the rest of the body is not read
    return Response(orjson.dumps({"error": told, "message": message}), status, headers, JSON)


class Endpoint:
    """What Starlette calls for a route.

    Args:
        served: What the server has.
        route: What is asked for.
    """

    def __init__(self, served: Served, route: Route) -> None:
        """Hold what is given."""
        self._served, self._route = served, route

    async def __call__(self, request: Request) -> Response:
        """Answer, count, log, and write the audit line before anything is given out."""
        served, route, started = self._served, self._route, time.perf_counter()
        asked = Asked(served, ANYBODY, None)
        served.begin()
        with served.tracing.request(route.method, route.path, request.headers) as span:
            try:
                response = await self._response(request, asked)
            finally:
                served.end()
            seconds = time.perf_counter() - started
            response = self._audited(asked, response, seconds)
            span.tell({"http.response.status_code": response.status_code})
        served.metrics.requests.labels(route.path, str(response.status_code)).inc()
        served.metrics.seconds.labels(route.path).observe(seconds)
        if served.serving.access_log:
            log.info("%s %s %d %.1f ms", route.method, route.path, response.status_code, seconds * 1000)
        return response

    async def _response(self, request: Request, asked: Asked) -> Response:
        try:
            return await self._answered(request, asked)
        except ClientDisconnect:
            return Response(status_code=GONE)
        except Exception as error:  # noqa: BLE001 - every failure is an answer
            if status_of(error) >= 500 and not isinstance(error, RefusedError):
                # no traceback: its last line quotes the error's words, which may be a patient's
                log.error("%s %s failed: %s", self._route.method, self._route.path, where(error))  # noqa: TRY400
            return failure(error)

    def _audited(self, asked: Asked, response: Response, seconds: float) -> Response:
        """The answer, once a line tells of it."""
        if self._route.use is None:
            return response
        try:
            self._served.audit.write(
                {
                    "key": asked.key.name,
                    "route": self._route.path,
                    "status": response.status_code,
                    **asked.told,
                    "ms": round(seconds * 1000, 1),
                }
            )
        except RefusedError as error:
            return failure(error)
        return response

    async def _answered(self, request: Request, asked: Asked) -> Response:
        served, route = self._served, self._route
        if route.use is None:
            answer = await route.handle(asked)
            return Response(answer.content, 200, dict(answer.headers), answer.media)
        served.check_host(request.headers.get("host", ""))
        served.check_running()
        asked.key = served.keyring.find(request.headers.get("authorization"))
        if route.use != "look":
            asked.key.check_use(route.use)
        served.audit.check()
        if route.body is not None:
            served.check_queue(route.use)
            asked.body = bodies.parse(await bodies.read(request, served.serving.limits), route.body)
        answer = await self._unless_gone(request, asked)
        return Response(answer.content, 200, dict(answer.headers), answer.media)

    async def _unless_gone(self, request: Request, asked: Asked) -> Answer:
        """The answer, unless it takes too long or nobody waits for it any longer: then its work is left undone."""
        limit = self._served.serving.limits.answer_s
        work = asyncio.ensure_future(self._route.handle(asked))
        watch = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({work, watch}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if watch.done():
                raise ClientDisconnect
            raise RefusedError(503, f"not answered within {limit:g} seconds; nothing more is done for it", 1)
        finally:
            for task in (work, watch):
                task.cancel()


async def _gone(request: Request) -> None:
    """Wait until the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def where(error: BaseException) -> str:
    """Type of an error and the places it came through. Its words may quote what was sent."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return f"{type(error).__name__} in " + " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
